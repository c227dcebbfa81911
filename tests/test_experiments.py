"""Every experiment of conf/: its header, what it writes, and a step of it on made-up data."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from composition import task, whole
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from PIL import Image
from runs.harness import run_composed

from ssl_lightning.config.choices import load_choice
from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.runs.checkpoints import read_checkpoint

EXPERIMENTS = sorted(file.stem for file in (CONFIG_DIR / "experiment").glob("[!_]*.yaml"))

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


def alone(name: str) -> DictConfig:
    """The run of an experiment without what it writes itself: with its base and its choices alone."""
    file = CONFIG_DIR / "experiment" / f"{name}.yaml"
    entries = [entry for entry in OmegaConf.load(file).defaults if entry != "_self_"]
    bases = [f"experiment={entry}" for entry in entries if isinstance(entry, str)]
    pairs = [next(iter(entry.items())) for entry in entries if isinstance(entry, DictConfig)]
    return task(*bases, *(f"{group.removeprefix('override /')}={choice}" for group, choice in pairs))


def values(node: Any, key: str = "") -> dict[str, Any]:
    """{dotted key: value} of a plain config."""
    if not isinstance(node, dict):
        return {key: node}
    return {k: v for name, child in node.items() for k, v in values(child, f"{key}.{name}".strip(".")).items()}


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
    choices, values = substitute_data(task(f"experiment={name}").data, tmp_path / "data")
    config = whole(f"experiment={name}", *choices).copy()
    changes = {**STEP, **values, **smaller(name, config)}
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


def smaller(name: str, config: DictConfig) -> dict[str, Any]:
    """What makes a step of a large network cheap; `simclr_cifar10` has its ResNet in full."""
    method, backbone = config.method, config.backbone
    changes = {f"method.{key}": 64 for key in ("hidden_dim", "out_dim", "prototypes") if (method.get(key) or 0) > 1000}
    if backbone._target_.endswith(".resnet") and name != "simclr_cifar10":
        changes["backbone"] = {**OmegaConf.to_container(load_choice("backbone", "convnet")), "width": 8}
        changes |= {"method.clusters": [8]} if "clusters" in method else {}
    changes |= {"backbone.layers": 2} if "layers" in backbone else {}
    text = "length" in config.data and "sample_rate" not in config.data
    return changes | ({"data.length": 64} if text else {})


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
    config = task(f"data={name}", "~transform", "~backbone")
    choices, values = substitute_data(config.data, tmp_path / "data")
    assert not choices
    small = {"val_size": 20, "cache": str(tmp_path / "cache"), "root": values["data.root"]}
    data = instantiate(config.data, transform=torch.nn.Identity(), **small)
    data.prepare_data()
    data.setup()
    assert len(data.train) >= data.batch_size
    assert data.modality.facts["vocab_size"] == data.modality.tokenizer.vocab_size
    assert data.num_classes == (2 if name == "movie_reviews" else None)
