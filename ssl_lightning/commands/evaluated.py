"""What is evaluated: the encoder of a run, a public one, or an exported file; each beside itself without training."""

import json
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model
from torch import Tensor, nn

from ssl_lightning.commands.exported_encoder import BACKBONE
from ssl_lightning.commands.study import Study
from ssl_lightning.commands.text_model import text_model
from ssl_lightning.config.build import build_backbone, build_data, build_method, facts_for, load_config
from ssl_lightning.config.choices import load_choice
from ssl_lightning.config.trust import refuse_places, validate_targets
from ssl_lightning.config.validate import validate_arguments
from ssl_lightning.errors import InputError, causes, described, first_line
from ssl_lightning.modules.backbones.image import transformers_model
from ssl_lightning.modules.backbones.language_model import LanguageModel
from ssl_lightning.runs.checkpoints import Checkpoint, read_checkpoint
from ssl_lightning.runs.description import title
from ssl_lightning.runs.folder import RunFolder, find_run
from ssl_lightning.runs.load import load_data

_OF_DATA = ("source", "root", "val_size", "batch_size", "num_workers", "probe", "probe_val_size")
"""What another data set brings along; all else is the preprocessing of the run."""


class FrozenNetwork(nn.Module):
    """A network that none of our methods trained, as judges take it."""

    token_loss = None

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    @classmethod
    def declares(cls, hook: str) -> bool:
        """It does nothing but embed."""
        return False

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x)

    def embed(self, batch: dict[str, Tensor], key: str) -> Tensor:
        return self(batch[key])


def evaluated(config: DictConfig, device: torch.device) -> Study:
    """That of `config.run` or `config.encoder`, on the data of the run or of `config.data`.

    Raises:
        InputError: neither or both are given, or one that is not there or does not fit the data.
    """
    if (config.run is None) == (config.encoder is None):
        both = "run= and encoder= are both given: give one" if config.run else "run is missing"
        raise InputError(f"{both}: ssl-evaluate run=..., or ssl-evaluate encoder=timm:resnet18 data=digits")
    return _of_encoder(config, device) if config.run is None else _of_run(find_run(config.run), config, device)


def _of_run(run: RunFolder, config: DictConfig, device: torch.device) -> Study:
    composed = config_on(run, config.data)
    data = load_data(run, composed)
    untrained, trained = (build_method(composed, data).to(device) for _ in range(2))
    checkpoint = run.checkpoint(str(config.checkpoint))
    Checkpoint(checkpoint, read_checkpoint(checkpoint, device)).load_into(trained)
    name = title(run, composed.seed) + (f" on {chosen_data()}" if chosen_data() else "")
    return Study(trained, untrained, data, name, composed, str(checkpoint), run)


def _of_encoder(config: DictConfig, device: torch.device) -> Study:
    """A fresh network that was not trained either is its own control."""
    if "_target_" not in config.data:
        raise InputError(f"encoder={config.encoder} needs data: data=digits, or data=image_folder data.root=FOLDER")
    composed = OmegaConf.create({"seed": config.seed, "transform": None, "data": config.data})
    validate_targets(composed)
    validate_arguments(composed)
    data = build_data(composed)
    data.setup("test")
    networks = []
    for pretrained in (False, config.pretrained):
        lightning.seed_everything(config.seed, verbose=False)
        networks.append(FrozenNetwork(_network(config.encoder, pretrained, composed, data)).to(device).eval())
        _refuse_other_inputs(config.encoder, networks[-1], data)
    return Study(networks[1], networks[0], data, f"{config.encoder} on {chosen_data()}", composed, config.encoder)


@torch.no_grad()
def _refuse_other_inputs(encoder: str, network: FrozenNetwork, data: Any) -> None:
    if (shape := data.modality.sample_shape) is None:
        return
    try:
        network(torch.zeros(2, *shape, device=network.device))
    except Exception as error:  # whatever a network of others stumbles over
        raise InputError(f"encoder={encoder} does not take inputs of {shape}: {first_line(error)}") from error


def _network(encoder: str, pretrained: bool, composed: DictConfig, data: Any) -> nn.Module:
    """Of an exported file, or of LIBRARY:NAME."""
    library, _, name = encoder.partition(":")
    file: Path | None = None
    if library == "transformers" and name:
        if "vocab_size" in data.modality.facts:
            return _language_model(name, pretrained, data)
        return transformers_model(name, data.modality.facts["channels"], pretrained)
    if library in ("timm", "torchvision") and name:
        choice = load_choice("backbone", {"timm": "timm", "torchvision": "resnet18"}[library])
        settings: Any = OmegaConf.to_container(choice, resolve=False)
        settings |= {"name": name, "pretrained": pretrained}
    else:
        settings, file = _exported(Path(encoder).expanduser())
    composed.backbone = settings
    validate_targets(composed)
    refuse_places(composed)
    validate_arguments(composed)
    try:
        network = build_backbone(composed.backbone, facts_for(composed.backbone, data))
        if file and pretrained:
            load_model(network, file)
    except Exception as error:
        if file is None:
            raise
        raise InputError(f"{file} holds no encoder that can be built ({described(causes(error)[-1])})") from error
    return network


def _language_model(name: str, pretrained: bool, data: Any) -> nn.Module:
    """Of a checkpoint of transformers, whose tokenizer the data must have."""
    data.refuse_other_tokenizer(name)
    text = text_model(None, name, "")
    model = text.model if pretrained else type(text.model)(text.model.config)
    return LanguageModel(model, data.modality.facts["pad_id"], text.head == "causal")


def _exported(place: Path) -> tuple[dict[str, Any], Path]:
    """The config of the network in a file that `ssl-export format=safetensors` wrote, or in its folder; the file."""
    file = place / "model.safetensors" if place.is_dir() else place
    if not file.is_file():
        raise InputError(
            f"encoder={place} is no file; give one that ssl-export wrote, or timm:NAME, torchvision:NAME or"
            " transformers:NAME"
        )
    try:
        with safe_open(file, "pt") as opened:
            settings = json.loads((opened.metadata() or {})[BACKBONE])
        if "${" in str(settings):  # it may come from a stranger, and resolves nothing
            raise ValueError("its config holds an interpolation")
        return {key: value for key, value in settings.items() if key != "pretrained"}, file
    except (SafetensorError, OSError, KeyError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{file} was not written by ssl-export format=safetensors ({first_line(error)})") from error


def config_on(run: RunFolder, given: DictConfig) -> DictConfig:
    """The config of a run with what is given of another data set, or with another place or batch size.

    Raises:
        InputError: a data set of another kind.
    """
    composed = load_config(run.config)
    own, plain = composed.data, OmegaConf.to_container(given, resolve=False)
    assert isinstance(plain, dict)
    if plain.get("_target_", own._target_) != own._target_:
        kinds = [target.rpartition(".")[2] for target in (given._target_, own._target_)]
        raise InputError(
            f"data={chosen_data()} is a {kinds[0]}, but the run reads a {kinds[1]}: choose data of its kind"
        )
    for key in _OF_DATA:
        if plain.get(key) is not None or (key in plain and "_target_" in plain):
            OmegaConf.update(own, key, plain[key], merge=False)
    return composed


def chosen_data() -> str:
    """The choice of data on the command line; empty without one."""
    return HydraConfig.get().runtime.choices.get("data") or ""
