"""Each method of conf/method/ as its config makes it, with a tiny backbone, and a batch that it reads."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import numpy as np
import torch
from composition import task
from hydra.utils import get_class, get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.utils.data import DataLoader

from ssl_lightning.launch.trainer import make_trainer
from ssl_lightning.methods.base import Method
from ssl_lightning.optim.schedules import constant
from ssl_lightning.randomness import seed_generators

CONFIG_DIR = Path(__file__).parents[2] / "conf"
METHODS = sorted(file.stem for file in (CONFIG_DIR / "method").glob("[!_]*.yaml"))
VOCABULARY, LENGTH = 40, 24
TINY = {
    "ssl_lightning.modules.backbones.image.ConvNet": {"width": 4, "stages": 2},
    "ssl_lightning.modules.backbones.simvp.SimVPEncoder": {"width": 4, "hidden_dim": 16, "depth": 1},
    "ssl_lightning.modules.backbones.vit.ViT": {"width": 16, "layers": 2, "heads": 2},
    "ssl_lightning.modules.backbones.text.language_model": {
        "width": 16,
        "layers": 2,
        "heads": 2,
        "max_length": LENGTH,
        "vocab_size": VOCABULARY,
        "pad_id": 0,
        "cls_id": 2,
        "sep_id": 3,
    },
    "ssl_lightning.modules.backbones.audio.audio_encoder": {
        "width": 16,
        "layers": 2,
        "heads": 2,
        "intermediate_size": 32,
        "conv_dim": [8, 8, 8],
        "conv_kernel": [10, 4, 2],
        "conv_stride": [10, 4, 2],
        "num_conv_pos_embeddings": 6,
        "num_conv_pos_embedding_groups": 2,
        "sample_rate": 8000,
    },
}
"""By target of a backbone: what makes it small, and what a tokenizer would tell it."""
SMALL = {
    "barlow_twins": {"out_dim": 8},
    "colorization": {"hidden_dim": 16},
    "wmse": {"out_dim": 4, "group_size": 8},
    "deepcluster_v2": {"clusters": [6, 5]},
    "wav2vec2": {"codes": 6, "code_dim": 8, "out_dim": 8, "negatives": 5},
    "hubert": {"clusters": 9, "out_dim": 8, "alpha": 0.75},
}
"""By method: what suits batches of 16."""
_CONFIGS: dict[str, DictConfig] = {}


def compose_method(name: str) -> DictConfig:
    if name not in _CONFIGS:
        _CONFIGS[name] = task(f"method={name}")
    return _CONFIGS[name]


def take_composed(name: str, config: DictConfig) -> None:
    """What another process has composed need not be composed again."""
    _CONFIGS[name] = config


def known(name: str, options: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the options (KEY=VALUE) whose keys the method and its companions have."""
    config = compose_method(name)
    return tuple(o for o in options if OmegaConf.select(config, o.partition("=")[0], default=config) is not config)


def make_method(name: str, lr: float = 0.1, **changes: Any) -> Method:
    """The method with random weights from the global generator; `changes` to its arguments in the config."""
    config = compose_method(name)
    towers = {"backbone": config.backbone}
    if "text_backbone" in config.method:
        towers["text_backbone"] = config.method.text_backbone
    method = instantiate(
        config.method,
        **{key: instantiate(node, **TINY.get(node._target_, {})) for key, node in towers.items() if key not in changes},
        optimizer=partial(torch.optim.SGD, lr=lr),
        schedule=constant,
        **{**SMALL.get(name, {}), **changes},
    )
    if method.declares("learn_from"):
        method.learn_from(Toy(name))
    return method


def in_float64(method: Method, name: str) -> Method:
    """The method in float64. Llama's norm computes in float32 whatever its input: GPT-2 stands in for it."""
    if name == "causal_lm":
        target = "ssl_lightning.modules.backbones.text.language_model"
        method.backbone = get_object(target)("gpt2", **TINY[target], head="causal")
    return method.double()


def provided(name: str) -> tuple[str, ...]:
    """The keys of a batch of the method's data."""
    return get_class(compose_method(name).data._target_).provides


def reads_text(name: str) -> bool:
    """And nothing else: windows of documents."""
    return "document" in provided(name)


def reads_sound(name: str) -> bool:
    return "waveform" in provided(name)


def shows_video(name: str) -> bool:
    return "video" in provided(name)


def make_batch(
    name: str, B: int = 16, seed: int = 0, dtype: torch.dtype = torch.float32, padded: bool = True
) -> dict[str, Any]:
    """Random images, clips, sounds or tokens, of the method's data after its transform; `padded`: some are short."""
    config = compose_method(name)
    generator = torch.Generator().manual_seed(seed)
    transform = instantiate(config.transform)
    batch = {"index": torch.arange(B)}
    if "tokens" in provided(name):
        batch |= {key: x for key, x in make_tokens(B, generator, padded).items() if key in provided(name)}
    if hasattr(transform, "read"):
        transform.read(toy_tokenizer())
    if reads_sound(name):
        batch |= make_sounds(B, generator)
    elif not reads_text(name):
        C, S = config.data.channels, config.data.image_size
        shape = (B, config.data.frames, C, S, S) if shows_video(name) else (B, C, S, S)
        key = "video" if shows_video(name) else "image"
        batch[key] = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        batch["label"] = torch.randint(0, 10, (B,), generator=generator)
    return each_tensor(transform(batch, generator), lambda x: x.to(dtype) if x.is_floating_point() else x)


def make_tokens(B: int, generator: torch.Generator, padded: bool) -> dict[str, Tensor]:
    """Windows of ordinary tokens; every third is half a window if `padded`."""
    tokens = torch.randint(5, VOCABULARY, (B, LENGTH), generator=generator)
    if padded:
        tokens[::3, LENGTH // 2 :] = 0
    return {"tokens": tokens, "document": torch.arange(B) // 2}


def make_sounds(B: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Noise of a tenth of a second or less, and silence behind it."""
    length = torch.randint(200, 801, (B,), generator=generator)
    waveform = 0.1 * torch.randn(B, 800, generator=generator)
    label = torch.randint(0, 10, (B,), generator=generator)
    return {"waveform": waveform * (torch.arange(800) < length[:, None]), "length": length, "label": label}


def toy_tokenizer() -> SimpleNamespace:
    """What transforms know of a tokenizer: five special tokens, every other token begins a word, 7 is a full stop."""
    return SimpleNamespace(
        vocab_size=VOCABULARY,
        pad_id=0,
        unk_id=1,
        cls_id=2,
        sep_id=3,
        mask_id=4,
        special_ids=list(range(5)),
        word_starts=torch.arange(VOCABULARY) % 2 == 0,
        decode=lambda ids: "".join("." if token == 7 else f" {token}" for token in ids),
    )


def seeded_loss(method: Method, batch: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """The loss with masks and noise of `seed`, which in a run the DataModule gives for every step."""
    seed_generators(seed, seed)
    return method.loss(batch)


def network_input(batch: dict[str, Any]) -> Tensor:
    """What `forward` embeds, of a batch."""
    if "image" in batch or "video" in batch:
        return (batch["video"] if "video" in batch else batch["image"]).float()
    return batch["waveform"] if "waveform" in batch else batch["tokens"]


def each_tensor(batch: dict[str, Any], function: Any) -> dict[str, Any]:
    """`function` of every tensor of a batch, also of those in lists."""
    return {
        key: [function(x) for x in value] if isinstance(value, list) else function(value)
        for key, value in batch.items()
    }


class Toy(lightning.LightningDataModule):
    """A training set of 16 samples that a method can learn from before it trains, in `batches`."""

    batch_size = 8

    def __init__(self, name: str, batches: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__()
        self.name, self.batches, self.train = name, batches, ToySet()

    def augment(self, batch: dict[str, Any], seed: int) -> dict[str, Any]:
        return {**make_batch(self.name, len(batch["index"]), seed), **batch}

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.batches[:1], batch_size=None)  # type: ignore[arg-type]


class ToySet:
    """The indices of 16 samples."""

    rows = np.arange(16)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        return {"index": torch.as_tensor(list(indices))}


class Snapshots(lightning.Callback):
    """The state of the method before training and after every batch."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def take(self, method: lightning.LightningModule) -> None:
        self.states.append({name: value.clone() for name, value in method.state_dict().items()})

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.take(pl_module)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.take(pl_module)


def fit(method: Method, batches: list[dict[str, Any]], folder: Path, **options: Any) -> list[dict[str, Tensor]]:
    """Trains on `batches`, by default once, with the Trainer of a run; the states before and after each batch."""
    snapshots = Snapshots()
    trainer = make_trainer(
        accelerator="cpu",
        callbacks=[snapshots],
        logger=False,
        enable_progress_bar=False,
        default_root_dir=str(folder),
        **{"max_epochs": 1, **options},
    )
    trainer.fit(method, datamodule=Toy(type(method).__module__.rpartition(".")[2], batches))
    return snapshots.states
