"""Each method with each backbone, optimizer and data set: composed and found right, or refused with what fits."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from composition import task, whole
from omegaconf import DictConfig, OmegaConf

from ssl_lightning.callbacks.checkpoint import LastAndBest
from ssl_lightning.cli.arguments import with_one_length
from ssl_lightning.config.choices import load_choice
from ssl_lightning.config.validate import validate_config
from ssl_lightning.errors import InputError
from ssl_lightning.runs.history import direction_of

CONFIG_DIR = Path(__file__).parents[1] / "conf"
GROUPS = ("method", "backbone", "optimizer", "data", "regime")
METHODS, BACKBONES, OPTIMIZERS, DATA, REGIMES = (
    sorted(file.stem for file in (CONFIG_DIR / group).glob("[!_]*.yaml")) for group in GROUPS
)
VIT = {"vit", "vit_mean", "vit_patches"}
MASKED = {"bert_mini", "caption_bert", "modernbert_mini"}
CONVNETS = {"convnet", "convnet_dense", "convnet_lightness", "convnet_places", "convnet_bottleneck", "convnet_code128"}
MAPS = CONVNETS | {"resnet18", "resnet50", "timm"}
FITTING = {
    **dict.fromkeys(("mae", "data2vec", "dinov2"), VIT),
    **dict.fromkeys(("ijepa", "simmim"), VIT - {"vit"}),
    **dict.fromkeys(("jigsaw", "context_prediction", "colorization"), MAPS),
    **dict.fromkeys(("mlm", "nsp", "distil_mlm"), MASKED),
    "causal_lm": {"gpt2_mini", "llama_mini", "qwen3_mini"},
    "denoising_lm": {"bart_mini"},
    "next_frame": {"simvp"},
    **{name: {"wav2vec2_mini"} for name in ("hubert", "wav2vec2", "data2vec_audio")},
}
"""By method, the backbones that fit; the others take any encoder of images."""


@cache
def composed(*overrides: str) -> tuple[DictConfig, dict[str, str]]:
    """What Hydra makes of these, and the choices that it took."""
    return task(*overrides), dict(whole(*overrides).hydra.runtime.choices)


def parts(method: str, group: str, name: str) -> dict[str, Any]:
    """What `GROUP=NAME` changes in the config of a method."""
    if group != "data":
        return {group: load_choice(group, name)}
    own = composed(f"method={method}")[1]
    transform = own["transform"].replace("_digits", f"_{composed('~transform', f'data={name}')[1]['images']}")
    made = {"data": data_under(own["regime"], name)}
    return made if transform == own["transform"] else {**made, "transform": load_choice("transform", transform)}


@cache
def data_under(regime: str | None, name: str) -> DictConfig:
    config = composed("~transform", f"data={name}")[0].data
    return OmegaConf.merge(config, load_choice("regime", regime).get("data", {})) if regime else config


@contextmanager
def changed(config: DictConfig, nodes: dict[str, Any]) -> Iterator[DictConfig]:
    before = {key: config._get_node(key) for key in nodes}
    config.update(nodes)
    yield config
    for key, node in before.items():
        config._set_item_impl(key, node)


def refusal(method: str, group: str, name: str) -> str | None:
    """The line that refuses a pair; None if it is accepted."""
    with changed(composed(f"method={method}")[0], parts(method, group, name)) as config:
        try:
            validate_config(config)
        except InputError as refused:
            return str(refused)
    return None


# What a file of a method may say


@pytest.mark.parametrize("name", METHODS)
def test_a_method_writes_no_key_of_another_group(name: str) -> None:
    assert set(load_choice("method", name)) <= {"method", "objective"}


@pytest.mark.parametrize("name", REGIMES)
def test_a_regime_writes_keys_that_every_trainer_and_data_set_has(name: str) -> None:
    regime = load_choice("regime", name)
    assert set(regime) <= {"trainer", "data"}
    assert set(regime.get("trainer", {})) <= set(load_choice("trainer", "auto"))
    assert set(regime.get("data", {})) <= {"batch_size"}
    assert all("batch_size" in composed("~transform", f"data={data}")[0].data for data in DATA)


# Pairs


@pytest.mark.parametrize("number", range(len(METHODS)))
def test_a_pair_is_what_hydra_composes(number: int) -> None:
    """One choice of each group a method: the walk below puts pairs together without Hydra, which takes 0.1 s each."""
    method = METHODS[number]
    chosen = {"backbone": BACKBONES, "optimizer": OPTIMIZERS, "data": DATA}
    chosen_names = {group: names[number % len(names)] for group, names in chosen.items()}
    nodes = {key: node for group, name in chosen_names.items() for key, node in parts(method, group, name).items()}
    expected = composed(f"method={method}", *(f"{group}={name}" for group, name in chosen_names.items()))[0]
    with changed(composed(f"method={method}")[0], nodes) as config:
        assert OmegaConf.to_container(config) == OmegaConf.to_container(expected)


@pytest.mark.parametrize("method", METHODS)
def test_each_backbone_fits_or_the_line_names_those_that_do(method: str) -> None:
    images = VIT | MAPS | {"mlp"}
    refused = {name: refusal(method, "backbone", name) for name in BACKBONES}
    fitting = {name for name, line in refused.items() if line is None}
    assert fitting == FITTING.get(method, images)
    for line in filter(None, refused.values()):
        assert re.search(r"needs a backbone of the kind '.*', not .*; backbones that fit: ", line), line
        assert set(line.rpartition(": ")[2].split(", ")) == fitting


@pytest.mark.parametrize("method", METHODS)
def test_each_optimizer_fits(method: str) -> None:
    for name in OPTIMIZERS:
        assert refusal(method, "optimizer", name) is None, name


@pytest.mark.parametrize("method", METHODS)
def test_each_data_set_fits_or_the_line_names_those_that_do(method: str) -> None:
    refused = {name: refusal(method, "data", name) for name in DATA}
    fitting = {name for name, line in refused.items() if line is None}
    key = composed(f"method={method}")[0].data._target_.rpartition(".")[2]
    kinds = (
        (f".{key}", ".ImageTextDataModule") if key == "ImageDataModule" else (f".{key}",)
    )  # captions may be left out
    same = {name for name in DATA if composed("~transform", f"data={name}")[0].data._target_.endswith(kinds)}
    colored = {name for name in same if composed("~transform", f"data={name}")[0].data.get("channels") == 3}
    assert fitting == (colored if method == "colorization" else same)
    for line in filter(None, refused.values()):
        assert (named := re.search(r"data that fit: ([\w, ]+)", line)), line
        assert fitting <= set(named[1].split(", "))


@pytest.mark.parametrize("backbone", ["resnet18", "vit"])
@pytest.mark.parametrize("method", ["denoising_autoencoder", "vae", "simclr"])
def test_a_backbone_brings_its_own_keys_alone(method: str, backbone: str) -> None:
    assert composed(f"method={method}", f"backbone={backbone}")[0].backbone == load_choice("backbone", backbone)


def test_an_optimizer_has_its_own_rate() -> None:
    assert composed("method=mae", "optimizer=sgd")[0].optimizer.lr == 0.06
    assert composed("method=autoencoder", "optimizer=lars")[0].optimizer.lr == 1.0


# Augmentation follows the data


@pytest.mark.parametrize("method", ["simclr", "moco", "byol"])
def test_color_images_are_cropped_mirrored_and_recolored(method: str) -> None:
    config, choices = composed(f"method={method}", "data=cifar10")
    assert choices["transform"] == f"{method}_cifar"
    first = config.transform.views.first
    assert list(first) == ["_target_", "crop", "jitter", "gray"]
    assert (first.crop.size, first.crop.flip) == (32, 0.5)
    assert first.jitter._target_.endswith(".ColorJitter")


def test_the_digits_views_are_refused_on_color_images() -> None:
    config = composed("method=simclr", "data=cifar10", "transform=digits")[0]
    with pytest.raises(InputError, match=r"for images of 1 channel\(s\), and the data has 3; data that fit: digits,"):
        validate_config(config)


def test_a_backbone_for_other_channels_is_refused() -> None:
    config = composed("method=simclr", "data=cifar10", "backbone=convnet_lightness")[0]
    with pytest.raises(InputError, match=r"backbone.in_channels=1, but the data has 3 channel"):
        validate_config(config)


# Length


def test_two_lengths_are_refused() -> None:
    with pytest.raises(InputError, match=r"trainer.max_epochs=2 and trainer.max_steps=1000 both say how long"):
        validate_config(composed("method=mlm", "trainer.max_epochs=2")[0])


@pytest.mark.parametrize(
    ("typed", "length"),
    [
        (["method=mlm"], (None, 1000)),
        (["method=mlm", "trainer.max_epochs=2"], (2, -1)),
        (["trainer.max_steps=7", "seed=1"], (None, 7)),
        (["method=mlm", "trainer.max_steps=7"], (None, 7)),
        (["trainer.max_epochs=3", "trainer.max_steps=-1"], (3, -1)),
        (["method=causal_lm", "debug=one_batch"], (1, -1)),
    ],
)
def test_the_length_that_is_typed_is_that_of_the_run(typed: list[str], length: tuple[int | None, int]) -> None:
    config = composed(*with_one_length(typed))[0]
    assert (config.trainer.max_epochs, config.trainer.max_steps) == length
    validate_config(config)


def test_two_typed_lengths_are_refused() -> None:
    with pytest.raises(InputError, match=r"trainer.max_epochs=2 and trainer.max_steps=3 both say how long to train"):
        validate_config(composed(*with_one_length(["trainer.max_epochs=2", "trainer.max_steps=3"]))[0])


def test_an_option_may_follow_a_length() -> None:
    given = ["trainer.max_epochs=2", "--cfg", "job"]
    assert with_one_length(given) == ["trainer.max_steps=-1", *given]


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        ("val/loss", "min"),
        ("val/token_loss", "min"),
        ("val/bits_per_byte", "min"),
        ("val/persistence_error", "min"),
        ("probe/knn_accuracy", "max"),
        ("health/effective_rank", "max"),
    ],
)
def test_a_metric_says_which_of_its_values_are_better(metric: str, better: str) -> None:
    assert direction_of(metric) == better
    assert LastAndBest(metric).sign == (1.0 if better == "max" else -1.0)
