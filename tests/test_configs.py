"""Every file of conf/: it composes, and fits the signatures of what it calls."""

import inspect
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from composition import task, whole
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, open_dict

from ssl_lightning.config.choices import load_choice
from ssl_lightning.config.trust import targets, validate_targets
from ssl_lightning.config.validate import validate_arguments, validate_config, validate_options

CONFIG_DIR = Path(__file__).parents[1] / "conf"
CHOICES = [
    (str(file.parent.relative_to(CONFIG_DIR)), file.stem)
    for file in sorted(CONFIG_DIR.rglob("*.yaml"))
    if file.parent != CONFIG_DIR and not file.stem.startswith("_")
]
EXPERIMENTS = sorted(file.stem for file in (CONFIG_DIR / "experiment").glob("[!_]*.yaml"))
METHODS = sorted(file.stem for file in (CONFIG_DIR / "method").glob("[!_]*.yaml"))

GIVEN = {
    "data": {"transform"},
    "data.source": {"root", "split"},
    "data.source.glyphs": {"root", "split"},
    "data.source.images": {"root", "split"},
    "data.probe": {"root", "split"},
    "data.tokenizer": {"texts"},
    "method": {"backbone", "optimizer", "schedule"},
    "method.decoder": {"in_dim"},
    "optimizer": {"params"},
    "schedule": {"optimizer", "total_steps", "steps_per_epoch"},
    "trainer": {"callbacks", "logger", "default_root_dir"},
}
"""What the package passes in where it builds or calls what a key names."""

IMAGES = ("ImageDataModule", "VideoDataModule")
"""Data that have what the transform and the backbone of the default run ask for."""

composed = cache(task)
"""It is shared, so whoever changes it does so in a copy."""


def run_in(folder: Path, config: DictConfig) -> None:
    """Makes a config, composed with Hydra's part, that of the run in `folder`."""
    config = config.copy()
    with open_dict(config):
        config.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(config)


def entries_of(file: Path) -> list[Any]:
    return OmegaConf.to_container(OmegaConf.load(file)).get("defaults", [])


def bases_of(file: Path) -> list[Path]:
    """The files of its folder that a file is based on, and those that they are based on."""
    own = [
        file.with_name(f"{entry}.yaml") for entry in entries_of(file) if isinstance(entry, str) and entry != "_self_"
    ]
    return [each for base in own for each in (*bases_of(base), base)]


def defaults_of(file: Path) -> dict[str, Any]:
    """The choices of a file and of those it is based on: {group: choice} of `override /group: choice` lines."""
    entries = [entry for each in (*bases_of(file), file) for entry in entries_of(each) if isinstance(entry, dict)]
    pairs = [next(iter(entry.items())) for entry in entries]
    return {key.removeprefix("override /"): choice for key, choice in pairs if key.startswith("override /")}


def resolved(brought: dict[str, Any], choices: Any) -> dict[str, Any]:
    """With `${GROUP}` replaced by the choice that was made in that group."""
    known = OmegaConf.create({**choices, **brought})
    return {group: known[group] for group in brought}


def override(group: str, choice: str) -> str:
    new = "" if group in whole().hydra.runtime.choices else "+"
    return f"{new}{group}={choice}"


def chosen(group: str, choice: str) -> list[str]:
    """A choice in the default run; one of text without the parts that are made for its images."""
    overrides = [override(group, choice)]
    if group == "tokenizer":
        overrides.append("data=python_docs")
    if group == "decoder":
        overrides.append("method=autoencoder")
    if group == "tokenizer" or (group == "data" and not load_choice(group, choice)._target_.endswith(IMAGES)):
        overrides += ["~transform", "~backbone"]
    if group == "backbone" and load_choice(group, choice)._target_.endswith(".language_model"):
        overrides += ["data=python_docs", "~transform"]
    return overrides


# Composition


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_and_resolves(group: str, choice: str, tmp_path: Path) -> None:
    overrides = chosen(group, choice)
    run_in(tmp_path, whole(*overrides))
    config = composed(*overrides)
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    validate_targets(config)
    validate_arguments(config)
    if group in ("method", "experiment"):  # which bring companions that fit them
        validate_options(config, "pretrain")
        validate_config(config)


@pytest.mark.parametrize("name", sorted(file.stem for file in CONFIG_DIR.glob("*.yaml")))
def test_every_command_composes(name: str) -> None:
    assert composed(name=name)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_alone_brings_its_companions(name: str) -> None:
    choices = whole(f"method={name}").hydra.runtime.choices
    brought = resolved(defaults_of(CONFIG_DIR / "method" / f"{name}.yaml"), choices)
    assert {"transform", "backbone", "data"} <= set(brought)
    assert {group: choices[group] for group in brought} == brought


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_overrides_its_method(name: str) -> None:
    choices = whole(f"experiment={name}").hydra.runtime.choices
    brought = defaults_of(CONFIG_DIR / "experiment" / f"{name}.yaml")
    from_method = defaults_of(CONFIG_DIR / "method" / f"{choices.method}.yaml")
    wanted = resolved({**from_method, **brought}, choices)
    assert {group: choices[group] for group in wanted} == wanted


def test_who_overrides_whom(tmp_path: Path) -> None:
    for group, text in {
        "method": "{override /data: cifar10}, {override /backbone: resnet18}, {override /optimizer: sgd}",
        "experiment": "{override /method: some}, {override /data: mnist}, {override /optimizer: lars}",
    }.items():
        (tmp_path / group).mkdir()
        number = ("method", "experiment").index(group) + 1
        (tmp_path / group / "some.yaml").write_text(
            f"# @package _global_\ndefaults: [{text}]\noptimizer: {{lr: {number}}}\ndata: {{batch_size: {number}}}\n"
        )
    beside = f"hydra.searchpath=[file://{tmp_path}]"

    def chosen(*overrides: str) -> tuple[Any, ...]:
        config = whole(beside, *overrides)
        choices = config.hydra.runtime.choices
        return choices.data, choices.backbone, choices.optimizer, config.optimizer.lr, config.data.batch_size

    assert chosen("method=some") == ("cifar10", "resnet18", "sgd", 1, 1)
    assert chosen("experiment=some") == ("mnist", "resnet18", "lars", 2, 2)
    by_hand = ("data=digits", "backbone=convnet", "optimizer=adamw", "optimizer.lr=3", "data.batch_size=3")
    assert chosen("method=some", *by_hand) == ("digits", "convnet", "adamw", 3, 3)
    assert chosen("experiment=some", *by_hand) == ("digits", "convnet", "adamw", 3, 3)


# Signatures


def calls(node: Any, key: str = "") -> list[tuple[str, dict[str, Any]]]:
    """All (key, mapping) pairs of a plain config whose mapping has a `_target_`."""
    if not isinstance(node, dict):
        return []
    own = [(key, node)] if "_target_" in node else []
    return own + [pair for name, child in node.items() for pair in calls(child, f"{key}.{name}".strip("."))]


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_keys_are_arguments(group: str, choice: str) -> None:
    config = OmegaConf.to_container(composed(*chosen(group, choice)), resolve=False)
    for key, call in calls(config):
        parameters = dict(inspect.signature(get_object(call["_target_"])).parameters)
        if parameters.pop("options", None):  # what the function hands on
            parameters |= {**further(call["_target_"]), **parameters}
        keys = {name for name in call if not name.startswith("_")}
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        assert open_ended or keys <= set(parameters), key
        needed = {
            name
            for name, p in parameters.items()
            if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        assert needed <= keys | GIVEN.get(key, set()), key
        assert not keys & GIVEN.get(key, set()), key


def further(target: str) -> dict[str, inspect.Parameter]:
    """Parameters behind `**options`; those of timm depend on the model, so the config may give none."""
    if target.endswith("make_trainer"):
        import lightning

        return dict(inspect.signature(lightning.Trainer).parameters)
    if target.endswith("audio_encoder"):
        from transformers import Wav2Vec2Config

        fields = Wav2Vec2Config().to_dict()
        return {name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in fields}
    return {}


def written(file: Path) -> set[str]:
    """What a file itself calls."""
    return {target for _, target in targets(OmegaConf.to_container(OmegaConf.load(file)))}


def called(group: str, choice: str) -> set[str]:
    """What a run with this choice calls."""
    return {target for _, target in targets(OmegaConf.to_container(whole(*chosen(group, choice)), resolve=False))}


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_what_a_choice_calls_is_composed(group: str, choice: str) -> None:
    assert written(CONFIG_DIR / group / f"{choice}.yaml") <= called(group, choice)


@pytest.mark.parametrize("file", sorted(CONFIG_DIR.rglob("_*.yaml")), ids=lambda file: file.stem)
def test_what_a_base_calls_is_composed(file: Path) -> None:
    group = str(file.parent.relative_to(CONFIG_DIR))
    heirs = [name for folder, name in CHOICES if folder == group and file in bases_of(file.with_name(f"{name}.yaml"))]
    assert any(written(file) <= called(group, heir) for heir in heirs)


def test_the_default_run_needs_no_file() -> None:
    config = composed()
    assert config.data.source._target_ == "ssl_lightning.data.image.digits.digits"
    assert torch.tensor(config.data.mean).numel() == config.data.channels
