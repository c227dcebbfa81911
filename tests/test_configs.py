"""Every file of conf/: it composes, fits the signatures of what it calls, and every experiment takes a step."""

import inspect
import itertools
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from composition import task, whole
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from PIL import Image
from runs.harness import run_composed

from ssl_lightning.config.choices import load_choice
from ssl_lightning.config.trust import targets, validate_targets
from ssl_lightning.config.validate import validate_arguments, validate_config, validate_options
from ssl_lightning.runs.checkpoints import read_checkpoint

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

STEP = {
    "data.batch_size": 16,
    "data.val_size": 20,
    "data.num_workers": 0,
    "data.fraction": 1.0,
    **dict.fromkeys(("callbacks.probe", "callbacks.health", "callbacks.pictures")),
    "schedule.warmup_epochs": 0,
    "schedule.warmup_steps": 0,
    "precision": "32-true",
    "compile": False,
    "trainer.accelerator": "cpu",
    "trainer.strategy": "auto",
    "trainer.devices": 1,
    "trainer.num_nodes": 1,
    "trainer.max_epochs": 1,
    "trainer.max_steps": -1,
    "trainer.accumulate_grad_batches": 1,
    "trainer.limit_train_batches": 1,
    "trainer.limit_val_batches": 1,
    "trainer.log_every_n_steps": 1,
}
"""One step of 16 samples on one CPU, and one batch that is held out."""

composed = cache(task)
"""It is shared, so whoever changes it does so in a copy."""


def run_in(folder: Path, config: DictConfig) -> None:
    """Makes a config, composed with Hydra's part, that of the run in `folder`."""
    config = config.copy()
    with open_dict(config):
        config.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(config)


def defaults_of(file: Path) -> dict[str, Any]:
    """The choices of a file and of those it is based on: {group: choice} of `override /group: choice` lines."""
    entries = OmegaConf.to_container(OmegaConf.load(file)).get("defaults", [])
    bases = [defaults_of(file.with_name(f"{e}.yaml")) for e in entries if isinstance(e, str) and e != "_self_"]
    pairs = [next(iter(entry.items())) for entry in entries if isinstance(entry, dict)]
    own = {key.removeprefix("override /"): choice for key, choice in pairs if key.startswith("override /")}
    return {**{group: choice for base in bases for group, choice in base.items()}, **own}


def resolved(brought: dict[str, Any], choices: Any) -> dict[str, Any]:
    """With `${GROUP}` replaced by the choice that was made in that group."""
    known = OmegaConf.create({**choices, **brought})
    return {group: known[group] for group in brought}


def override(group: str, choice: str) -> str:
    new = "" if group in whole().hydra.runtime.choices else "+"
    return f"{new}{group}={choice}"


def alone(name: str) -> DictConfig:
    """The run of an experiment without what it writes itself: with its base and its choices alone."""
    file = CONFIG_DIR / "experiment" / f"{name}.yaml"
    entries = [entry for entry in OmegaConf.load(file).defaults if entry != "_self_"]
    bases = [f"experiment={entry}" for entry in entries if isinstance(entry, str)]
    pairs = [next(iter(entry.items())) for entry in entries if isinstance(entry, DictConfig)]
    return composed(*bases, *(f"{group.removeprefix('override /')}={choice}" for group, choice in pairs))


def values(node: Any, key: str = "") -> dict[str, Any]:
    """{dotted key: value} of a plain config."""
    if not isinstance(node, dict):
        return {key: node}
    return {k: v for name, child in node.items() for k, v in values(child, f"{key}.{name}".strip(".")).items()}


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


def test_no_target_is_forgotten() -> None:
    files = [OmegaConf.to_container(OmegaConf.load(file)) for file in CONFIG_DIR.rglob("*.yaml")]
    written = {target for file in files for _, target in targets(file)}
    seen = {
        target
        for group, choice in CHOICES
        for _, target in targets(OmegaConf.to_container(whole(*chosen(group, choice)), resolve=False))
    }
    assert written <= seen


# Experiments


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_header_of_an_experiment_says_how_to_run_it(name: str) -> None:
    lines = (CONFIG_DIR / "experiment" / f"{name}.yaml").read_text().splitlines()
    header = lines[: next(i for i, line in enumerate(lines) if line and not line.startswith("#"))]
    assert any(line.split()[:3] == ["#", "ssl-pretrain", f"experiment={name}"] for line in header)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_holds_differences_only(name: str) -> None:
    own = OmegaConf.to_container(OmegaConf.load(CONFIG_DIR / "experiment" / f"{name}.yaml"))
    before = values(OmegaConf.to_container(alone(name), resolve=False))
    written = values({key: node for key, node in own.items() if key != "defaults"})
    assert not [key for key, value in written.items() if before.get(key, ...) == value]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_takes_a_step(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CACHE", str(tmp_path / "cache"))
    choices, values = substitute_data(composed(f"experiment={name}").data, tmp_path / "data")
    config = whole(f"experiment={name}", *choices).copy()
    changes = {**STEP, **values, **smaller(name, config.backbone)}
    with open_dict(config):
        for key, value in changes.items():
            OmegaConf.update(config, key, value, merge=False)
    run = tmp_path / "run"
    run_composed("pretrain", run, config)
    checkpoint = read_checkpoint(run / "checkpoints" / "last.ckpt")
    assert checkpoint["global_step"] == 1
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())
    columns, *rows = (line.split(",") for line in (run / "metrics.csv").read_text().splitlines())
    losses = [row[columns.index("train/loss")] for row in rows]
    assert any(losses)
    assert all(np.isfinite(float(loss)) for loss in losses if loss)


def smaller(name: str, backbone: DictConfig) -> dict[str, Any]:
    """What makes a step of a large network cheap; `simclr_cifar10` has its ResNet in full."""
    if backbone._target_.endswith(".resnet") and name != "simclr_cifar10":
        fewer = {"method.clusters": [8]} if name.startswith("deepcluster") else {}
        return {"backbone": {**OmegaConf.to_container(load_choice("backbone", "convnet")), "width": 8}, **fewer}
    return {"backbone.layers": 2} if "layers" in backbone else {}


def substitute_data(data: DictConfig, root: Path) -> tuple[list[str], dict[str, Any]]:
    """Writes a few random images of the shape of `data`, or texts; the choices and the values that lead to them."""
    source = data.source._target_.rpartition(".")[2]
    choices, values = [], {"data.root": str(root)}
    if source == "image_folder":
        write_folder(root / data.source.folder, 10, data.image_size, data.channels)
    elif source == "text_files":
        write_texts(root, data.source.files)
        if data.probe:
            write_labeled_lines(root, data.probe.files)
    elif source == "emoji_captions":
        write_drawings(root / "emoji_captions", ("google", "apple", "twitter"), data.image_size)
    elif source == "fsdd":
        write_digits(root / data.source.folder, data.sample_rate)
    elif source == "moving_digits":
        write_idx_files(root, data.source.glyphs.name)
    elif source == "torchvision_images" and data.channels == 1:
        write_idx_files(root, data.source.name)
    elif source == "torchvision_images":  # checksums keep these files from being made up
        write_folder(root, 10, data.image_size, data.channels)
        choices.append("data=image_folder")
        values |= {f"data.{name}": data[name] for name in ("image_size", "channels", "mean", "std")}
        values["data.source.store_size"] = data.image_size
    return choices, values


def write_digits(folder: Path, rate: int) -> None:
    """Half a second of noise for each digit, by two speakers, fifteen times."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for digit, speaker, number in itertools.product(range(10), ("ada", "bob"), range(15)):
        soundfile.write(folder / f"{digit}_{speaker}_{number}.wav", rng.normal(0, 0.1, rate // 2), rate)


def write_drawings(folder: Path, vendors: tuple[str, ...], size: int, things: int = 90) -> None:
    lines = ["image,caption,category,vendor"]
    for vendor in vendors:
        (folder / vendor).mkdir(parents=True)
        for thing in range(things):
            Image.new("RGB", (size, size), (thing, 0, 0)).save(folder / vendor / f"{thing}.png")
            lines.append(f"{vendor}/{thing}.png,thing {thing},kind {thing % 3},{vendor}")
    (folder / "captions.csv").write_text("\n".join(lines))


def write_folder(folder: Path, classes: int, size: int, channels: int, each: int = 8) -> None:
    rng = np.random.default_rng(0)
    for number in range(classes):
        place = folder / "train" / f"class_{number:03}"
        place.mkdir(parents=True)
        for image in rng.integers(0, 256, (each, size, size, channels), dtype=np.uint8):
            Image.fromarray(image.squeeze()).save(place / f"{len(list(place.iterdir()))}.png")


def write_texts(root: Path, files: str, count: int = 60) -> None:
    """Files that a path or a pattern leads to, each a document of 300 words."""
    rng = np.random.default_rng(0)
    for number in range(count if "*" in files else 1):
        place = root / files.replace("*", str(number))
        place.parent.mkdir(parents=True, exist_ok=True)
        letters = rng.choice(list("aeinorst"), (300 if "*" in files else 5000, 4))
        place.write_text(" ".join(map("".join, letters)))


def write_labeled_lines(root: Path, files: str) -> None:
    """Two files of a pattern, each a class of 40 lines."""
    for name in ("pos", "neg"):
        place = root / files.replace("*", name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("".join(f"{name} text {number}\n" for number in range(40)))


def write_idx_files(root: Path, name: str, count: int = 80) -> None:
    """The training part of an MNIST-like set: two zeros, 8 for uint8, the number of axes, the axes, the bytes."""
    folder = root / {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}[name] / "raw"
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    labels = (np.arange(count) % 10).astype(np.uint8)
    for part in ("train", "t10k"):
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">i4").tobytes()
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + values.tobytes())


@pytest.mark.parametrize("name", ["tinyshakespeare", "movie_reviews"])
def test_a_text_set_reads_its_files(name: str, tmp_path: Path) -> None:
    config = composed(f"data={name}", "~transform", "~backbone")
    choices, values = substitute_data(config.data, tmp_path / "data")
    assert not choices
    small = {"val_size": 20, "cache": str(tmp_path / "cache"), "root": values["data.root"]}
    data = instantiate(config.data, transform=torch.nn.Identity(), **small)
    data.prepare_data()
    data.setup()
    assert len(data.train) >= data.batch_size
    assert data.modality.facts["vocab_size"] == data.modality.tokenizer.vocab_size
    assert data.num_classes == (2 if name == "movie_reviews" else None)


def test_the_default_run_needs_no_file() -> None:
    config = composed()
    assert config.data.source._target_ == "ssl_lightning.data.image.digits.digits"
    assert torch.tensor(config.data.mean).numel() == config.data.channels
