"""The encoder of a run in the files of other libraries."""

import json
from pathlib import Path
from typing import Any

import timm
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_model
from torch import Tensor, nn
from torchvision.models import ResNet

from ssl_lightning.config.build import facts_for, load_config
from ssl_lightning.errors import InputError, first_line
from ssl_lightning.modules.backbones.audio import AudioEncoder
from ssl_lightning.modules.backbones.vit import ViT
from ssl_lightning.runs.folder import RunFolder, write_json
from ssl_lightning.runs.load import load_method

BACKBONE = "ssl_lightning.backbone"
"""In the metadata of an exported file: the config of its network, as JSON."""
_OPENS = {
    "safetensors": "ssl-evaluate encoder={folder}/model.safetensors data=...",
    "timm": 'timm.create_model("local-dir:{folder}", pretrained=True)',
    "transformers": 'transformers.AutoModel.from_pretrained("{folder}").eval()(pixel_values=x).pooler_output',
    "sound": 'transformers.AutoModel and AutoFeatureExtractor.from_pretrained("{folder}")',
    "torchvision": 'torchvision.models.{name}().load_state_dict(load_file("{folder}/model.safetensors"), strict=False)',
    "onnx": 'onnxruntime.InferenceSession("{folder}/model.onnx").run(None, {{"input": x}})',
}


def export_encoder(run: RunFolder, checkpoint: str, form: str, folder: Path) -> dict[str, str]:
    """Writes the encoder of a run as `form` into `folder`; what is written, and what opens it.

    Raises:
        InputError: no checkpoint, or a network that the library does not have.
    """
    method, data = load_method(run, checkpoint)
    settings = settings_of_encoder(run, data)
    folder.mkdir(parents=True, exist_ok=True)
    network, file = method.encoder, folder / "model.safetensors"
    if form == "safetensors":
        save_model(network, str(file), {BACKBONE: json.dumps(settings)})
    elif form == "torchvision":
        if not isinstance(network, ResNet):
            raise _lacks(form, network)
        save_model(network, str(file), {"format": "pt"})
    elif form == "onnx":
        _write_onnx(method, data, folder / "model.onnx")
    elif form == "transformers" and isinstance(network, AudioEncoder):
        form = "sound"
        network.save_pretrained(folder)
    else:
        _write_timm(network, settings, data, folder, form)
    return {"wrote": str(folder), "open": _OPENS[form].format(folder=folder, name=settings.get("name"))}


def settings_of_encoder(run: RunFolder, data: Any) -> dict[str, Any]:
    """What the image, sound or other encoder of a run was built from, the facts of its data included."""
    config = load_config(run.config).backbone
    settings: Any = OmegaConf.to_container(config, resolve=True)
    return settings | facts_for(config, data)


def _lacks(form: str, network: nn.Module) -> InputError:
    return InputError(f"{form} has no {type(network).__name__} like this one; give format=safetensors or format=onnx")


def _write_timm(network: Any, settings: dict[str, Any], data: Any, folder: Path, form: str) -> None:
    """As timm writes its models for the hub; transformers opens them too."""
    name, options, weights = as_timm(network, settings, form)
    pixels = {"input_size": data.modality.sample_shape, "mean": data.modality.mean, "std": data.modality.std}
    model = timm.create_model(name, num_classes=0, pretrained_cfg_overlay=pixels, **options)
    model.load_state_dict(weights)
    timm.models.save_for_hf(model, str(folder), model_args=options, safe_serialization=True)
    stored = json.loads((folder / "config.json").read_text())
    stored["model_args"].pop("num_classes", None)  # which transformers gives a second time
    write_json(folder / "config.json", stored)


def as_timm(network: Any, settings: dict[str, Any], form: str) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Name, options and weights of the same network in timm."""
    weights = network.state_dict()
    if isinstance(network, ViT):
        first: Any = network.blocks[0]
        options = {
            "img_size": network.image_size,
            "in_chans": network.in_channels,
            "patch_size": network.patch_size,
            "embed_dim": network.out_dim,
            "depth": len(network.blocks) - 1,
            "num_heads": first.attn.num_heads,
            "mlp_ratio": first.mlp.fc1.out_features / network.out_dim,
            "no_embed_class": True,
            "fc_norm": False,
            "class_token": network.class_token is not None,
            "global_pool": {"class": "token", "mean": "avg"}[network.pool],
        }
        last = f"blocks.{options['depth']}."
        named = {
            key.replace(last, "norm.").replace("embed.", "patch_embed."): value
            for key, value in weights.items()
            if key not in ("class_token", "position")
        }
        token = {} if network.class_token is None else {"cls_token": network.class_token[None, None].detach()}
        return "vit_tiny_patch16_224", options, {**named, **token, "pos_embed": network.position[None].detach()}
    if isinstance(network, ResNet) and settings["stem"] == "imagenet":
        return settings["name"], {"in_chans": settings["in_channels"]}, weights
    if not hasattr(network, "pretrained_cfg"):
        raise _lacks(form, network)
    own = ("_target_", "name", "in_channels", "image_size", "pretrained")
    options = {key: value for key, value in settings.items() if key not in own}
    return settings["name"], {"in_chans": settings["in_channels"], **options}, weights


def _write_onnx(method: nn.Module, data: Any, file: Path) -> None:
    """The whole way from inputs of evaluation (B, ...) to embeddings (B, D), of any B."""
    if data.modality.sample_shape is None:
        raise InputError("format=onnx is for images and clips; of a language model, give format=transformers")
    inputs = torch.zeros(2, *data.modality.sample_shape)
    names: dict[str, Any] = {"input_names": ["input"], "output_names": ["embedding"]}
    shapes: Any = ({0: torch.export.Dim("batch")},)
    try:
        torch.onnx.export(_Embedding(method).eval(), (inputs,), file, dynamic_shapes=shapes, verbose=False, **names)
    except ModuleNotFoundError as error:
        raise InputError(f"format=onnx needs the extra onnx: pip install 'ssl-lightning[onnx]' ({error})") from error
    except torch.onnx.errors.OnnxExporterError as error:
        raise InputError(f"torch cannot write this network as ONNX: {first_line(error)}") from error


class _Embedding(nn.Module):
    """Of a method, what embeds."""

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.method = method

    def forward(self, x: Tensor) -> Tensor:
        return self.method(x)
