"""A package outside the tree: its own method, backbone, transform, data and callback, by every command, if trusted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from runs.harness import command

PACKAGE = '''
import lightning
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.methods.base import Method
from ssl_lightning.transforms.ops import Op


class Siamese(Method):
    """Chen and He, 2021. https://arxiv.org/abs/2011.10566"""

    views = 2

    def __init__(self, backbone, optimizer, schedule, hidden_dim: int = 32):
        super().__init__(optimizer, schedule)
        self.backbone = backbone
        width = backbone.out_dim
        self.predictor = nn.Sequential(nn.Linear(width, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, width))

    def forward(self, x):
        return self.backbone(x)

    def loss(self, batch):
        h1, h2 = (self(x) for x in batch["views"])
        return {"loss": (self._distance(h1, h2) + self._distance(h2, h1)) / 2, "embedding": h1.detach()}

    def _distance(self, h, other):
        return -F.cosine_similarity(self.predictor(h), other.detach()).mean()

    def show(self, batch):
        return {"a view": batch["views"][0], "another": batch["views"][1]}


class Tiny(nn.Module):
    def __init__(self, width: int = 8):
        super().__init__()
        self.out_dim = width
        self.conv, self.norm = nn.Conv2d(1, width, 3, 2), nn.BatchNorm2d(width)

    def forward(self, x):
        return self.norm(self.conv(x)).relu().mean((2, 3))


class Invert(Op):
    def draw(self, shape, generator):
        return {"inverted": torch.rand(shape[0], 1, 1, 1, generator=generator) < 0.5}

    def transform(self, images, params):
        return torch.where(params["inverted"], 1 - images, images)


class Counter(lightning.Callback):
    def on_train_end(self, trainer, pl_module):
        print("counted", trainer.global_step)


def bars(root: str = "", split: str = "pretrain", count: int = 240):
    """Horizontal or vertical bars on noise, (N, 1, 16, 16)."""
    rng = np.random.default_rng(split == "test")
    images, labels = rng.integers(0, 128, (count, 1, 16, 16), dtype=np.uint8), rng.integers(0, 2, count)
    for image, label, place in zip(images, labels, rng.integers(0, 14, count)):
        (image[0].T if label else image[0])[place : place + 2] = 255
    return ImageDataset(images, labels, ["horizontal", "vertical"])
'''
CONF = {
    "method/siamese.yaml": """
        # @package _global_
        defaults: [{override /transform: inverted}, {override /backbone: tiny}, {override /data: bars}]
        method: {_target_: my_pkg.Siamese, hidden_dim: 16}
    """,
    "backbone/tiny.yaml": "{_target_: my_pkg.Tiny, width: 8}",
    "transform/inverted.yaml": """
        _target_: ssl_lightning.transforms.views.MultiView
        views:
          first: {_target_: ssl_lightning.transforms.views.Chain, invert: {_target_: my_pkg.Invert}}
          second: ${.first}
        mean: ${data.mean}
        std: ${data.std}
    """,
    "data/bars.yaml": """
        defaults: [_images, _self_]
        source: {_target_: my_pkg.bars, _partial_: true}
        image_size: 16
        channels: 1
        mean: [0.3]
        std: [0.3]
        val_size: 60
    """,
}
OWN = ("--config-dir", "my/conf", "method=siamese")
STEPS = ("trainer=cpu", "trainer.log_every_n_steps=2", "data.batch_size=30")
QUICK = (*STEPS, "trainer.max_epochs=2", "callbacks.probe.linear_samples=50")
SHORT = (*STEPS, "trainer.max_epochs=1", "callbacks=minimal")
TRUST = "trust=my_pkg"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's folder, with the package, its configs and a run in `run`."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "my_pkg").mkdir()
    (folder / "my_pkg" / "__init__.py").write_text(PACKAGE)
    for name, text in CONF.items():
        file = folder / "my" / "conf" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(line.removeprefix(" " * 8) for line in text.strip("\n").splitlines()).strip() + "\n")
    counter = "+callbacks.counter._target_=my_pkg.Counter"
    done = command("pretrain", *OWN, *QUICK, TRUST, counter, "hydra.run.dir=run", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "counted 12" in done.stdout
    return folder


def results(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


def refusal(name: str, *arguments: str, cwd: Path, **environment: str) -> str:
    done = command(name, *arguments, cwd=cwd, **environment)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def test_a_run_of_ones_own_is_whole_and_says_nothing_of_trust(home: Path) -> None:
    assert results(home / "run")["status"] == "finished"
    assert {"train/loss", "val/loss", "probe/knn_accuracy"} <= set(results(home / "run")["metrics"])
    config = yaml.safe_load((home / "run/.hydra/config.yaml").read_text())
    assert config["method"]["_target_"] == "my_pkg.Siamese"
    assert "trust" not in config
    assert "trust" not in (home / "run/.hydra/hydra.yaml").read_text()


@pytest.mark.parametrize("trust", [{"SSL_TRUST": "other, my_pkg"}, {}], ids=["environment", "argument"])
def test_other_commands_take_the_run(home: Path, tmp_path: Path, trust: dict[str, str]) -> None:
    argument = () if trust else (TRUST,)
    done = command("evaluate", "run=run", "labels=[20]", "draws=1", *argument, cwd=home, **trust)
    assert done.returncode == 0, done.stderr
    assert 0 <= results(home / "run/evaluate")["metrics"]["probe/knn_accuracy"] <= 1
    picture = next((home / "run/figures").glob("*.png"))
    done = command("generate", "run=run", f"input={picture}", *argument, cwd=home, **trust)
    assert done.returncode == 0, done.stderr


def test_it_is_exported(home: Path) -> None:
    done = command("export", "run=run", TRUST, cwd=home)
    assert done.returncode == 0, done.stderr
    assert (home / "run" / "export" / "model.safetensors").is_file()


def test_bench_measures_it(home: Path) -> None:
    done = command("bench", *OWN, "data.batch_size=30", "steps=2", "warmup=1", TRUST, "hydra.run.dir=b", cwd=home)
    assert done.returncode == 0, done.stderr


def test_it_is_resumed_by_its_composed_config(home: Path) -> None:
    done = command("pretrain", *OWN, *SHORT, TRUST, "hydra.run.dir=short", cwd=home)
    assert done.returncode == 0, done.stderr
    done = command("pretrain", "resume=short", "trainer.max_epochs=2", TRUST, cwd=home)
    assert done.returncode == 0, done.stderr
    assert results(home / "short")["timing"]["steps"] == 12


@pytest.mark.parametrize("launcher", [(), ("hydra/launcher=local",)], ids=["one by one", "side by side"])
def test_a_sweep_of_it_is_run_and_resumed(home: Path, launcher: tuple[str, ...]) -> None:
    sweep = f"sweep{len(launcher)}"
    where = (*OWN, *SHORT, TRUST, *launcher)
    done = command("pretrain", "-m", *where, "seed=1,2", f"hydra.sweep.dir={sweep}", cwd=home)
    assert done.returncode == 0, done.stderr
    assert [results(home / sweep / job)["status"] for job in "01"] == ["finished", "finished"]
    (home / sweep / "1" / "results.json").unlink()
    done = command("pretrain", f"resume_sweep={sweep}", *OWN[:2], "trust=[my_pkg]", *launcher, cwd=home)
    assert done.returncode == 0, done.stderr
    assert results(home / sweep / "1")["status"] == "finished"


def test_two_processes_train_it(home: Path) -> None:
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    done = command("pretrain", *OWN, *SHORT, *two, TRUST, "hydra.run.dir=two", cwd=home, interpreters=True)
    assert done.returncode == 0, done.stderr
    assert results(home / "two")["provenance"]["devices"] == 2


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("pretrain", (*OWN, *QUICK, "hydra.run.dir=refused")),
        ("pretrain", (*OWN, *QUICK, "trust=other_pkg", "hydra.run.dir=refused")),
        ("pretrain", ("resume=run", "trainer.max_epochs=9")),
        ("evaluate", ("run=run",)),
        ("generate", ("run=run", "input=.")),
        ("export", ("run=run",)),
        ("bench", (*OWN, "hydra.run.dir=refused")),
    ],
)
def test_without_trust_every_command_refuses_and_says_what_to_add(
    home: Path, name: str, arguments: tuple[str, ...]
) -> None:
    (home / "other_pkg.py").touch()
    (home / "my_pkg" / "__init__.py").write_text(f"{PACKAGE}\nopen('executed', 'w')\n")
    line = refusal(name, *arguments, cwd=home)
    (home / "my_pkg" / "__init__.py").write_text(PACKAGE)
    assert "_target_=my_pkg." in line
    assert "if you know and trust the package my_pkg, add trust=my_pkg, or set SSL_TRUST=my_pkg" in line
    assert not (home / "executed").exists()


def test_a_run_folder_cannot_say_that_it_is_trusted(home: Path, tmp_path: Path) -> None:
    config = tmp_path / "run/.hydra/config.yaml"
    config.parent.mkdir(parents=True)
    (tmp_path / "my_pkg").symlink_to(home / "my_pkg")
    config.write_text((home / "run/.hydra/config.yaml").read_text() + "trust: [my_pkg]\nSSL_TRUST: my_pkg\n")
    assert "add trust=my_pkg" in refusal("evaluate", "run=run", cwd=tmp_path)


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        ("trust=my_pakage", "trust=my_pakage: there is no such package in the current folder, and none is installed"),
        ("trust=my/pkg", "trust=my/pkg: there is no such package"),
        ("trust=", "trust=: there is no such package"),
    ],
)
def test_a_wrong_name_is_told(home: Path, argument: str, answer: str) -> None:
    assert answer in refusal("pretrain", argument, cwd=home)


def test_trust_reaches_the_package_and_not_what_it_imports(home: Path) -> None:
    line = refusal("pretrain", TRUST, "+callbacks.x._target_=my_pkg.torch.load", "hydra.run.dir=refused", cwd=home)
    assert "leads to torch" in line
    assert "outside what you trust" in line


def test_a_wrong_word_beside_ones_own_choices_is_found(home: Path) -> None:
    line = refusal("pretrain", *OWN, TRUST, "data.batchsize=3", cwd=home)
    assert "there is no 'data.batchsize'; did you mean data.batch_size?" in line
    line = refusal("pretrain", *OWN[:2], TRUST, "method=siames", cwd=home)
    assert "there is no method 'siames'; did you mean siamese?" in line


def test_a_package_in_the_current_folder_hides_no_library(home: Path, tmp_path: Path) -> None:
    """As `ssl-pretrain` is installed: the current folder is not where Python looks first."""
    (tmp_path / "own.py").write_text(PACKAGE)
    (tmp_path / "timm.py").write_text("raise RuntimeError('the wrong timm')")
    script = tmp_path / "bin" / "ssl-pretrain.py"
    script.parent.mkdir()
    script.write_text("from ssl_lightning.pretrain import main\nmain()\n")

    options = ("trust=own", "method=byol", "method._target_=own.Siamese", "~method.out_dim", "~method.momentum")
    done = subprocess.run(
        [sys.executable, str(script), *options, "callbacks=minimal", "trainer=cpu",
         "trainer.max_steps=2", "hydra.run.dir=run"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
