"""What each command takes of its own, outside the groups of `conf/`: the top level of its config, with ranges."""

import re
from typing import Annotated, Literal, TypedDict

from pydantic import AfterValidator

from ssl_lightning.ranges import (
    AtLeastTwo,
    Fraction,
    NonNegativeInt,
    PositiveFloat,
    PositiveFraction,
    PositiveInt,
    Seed,
)

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true"]
"""Not Lightning's 16-true: without scaling of the loss, gradients and Adam's second moments vanish in it."""


def _metric(name: str) -> str:
    if not re.fullmatch(r"(train|val|probe|health|time)/\w+", name):
        raise ValueError("it should be a metric that a run logs, such as probe/knn_accuracy or val/loss")
    return name


Metric = Annotated[str, AfterValidator(_metric)]


class Composed(TypedDict):
    """A run."""

    seed: Seed
    max_requeues: NonNegativeInt
    objective: Metric
    precision: Precision
    compile: bool
    channels_last: bool
    deterministic: bool


class Pretrain(Composed):
    resume: str | None
    resume_sweep: str | None


class Bench(Composed):
    resume: None
    resume_sweep: None
    steps: PositiveInt
    warmup: PositiveInt


class GivenData(TypedDict):
    """What differs from the data of a run."""

    root: str | None
    batch_size: PositiveInt | None


class Evaluate(TypedDict):
    run: str | None
    encoder: str | None
    pretrained: bool
    seed: Seed
    checkpoint: str
    protocol: Literal["v1"]
    suite: Literal["v1"] | None
    raw: bool
    labels: list[AtLeastTwo]
    draws: PositiveInt
    sgd_probe: bool
    finetune: bool
    finetune_steps: PositiveInt
    data: GivenData


class Export(TypedDict):
    run: str
    checkpoint: str
    format: Literal["safetensors", "timm", "torchvision", "transformers", "onnx", "open_clip"] | None


class Generate(TypedDict):
    run: str
    checkpoint: str
    text: str
    input: str
    among: str | None
    neighbours: PositiveInt
    seed: Seed
    max_new_tokens: PositiveInt
    temperature: PositiveFloat
    top_k: PositiveInt | None
    top_p: PositiveFraction
    words: PositiveInt
    beams: PositiveInt
    max_images: PositiveInt
    frames: PositiveInt


class Embed(TypedDict):
    run: str
    checkpoint: str
    input: str | None
    split: Literal["train", "probe_train", "val", "test"]
    data: GivenData
    format: Literal["npz", "parquet", "npy"]
    neighbours: NonNegativeInt
    duplicates: Fraction
    map: Literal["tsne", "pca", "umap"] | None


class Report(TypedDict):
    runs: list[str]
    wandb: bool
    metrics: list[str]


OPTIONS = {made.__name__.lower(): made for made in (Pretrain, Bench, Evaluate, Embed, Export, Generate, Report)}
"""By the name of the command."""
