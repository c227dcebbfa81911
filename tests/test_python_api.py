"""The package from Python: the example of ssl_lightning/README.md, plain Trainers, and the encoder of a run."""

import math
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from PIL import Image
from runs.harness import TINY, command, train

import ssl_lightning
from ssl_lightning.callbacks.checkpoint import LastAndBest
from ssl_lightning.callbacks.graceful_stop import GracefulStop
from ssl_lightning.callbacks.health import Health
from ssl_lightning.callbacks.pictures import Pictures
from ssl_lightning.callbacks.probe import Probe
from ssl_lightning.callbacks.progress import TrainingProgress
from ssl_lightning.data.image.datamodule import ImageDataModule
from ssl_lightning.data.image.digits import digits
from ssl_lightning.errors import InputError
from ssl_lightning.methods.byol import BYOL
from ssl_lightning.methods.simclr import SimCLR
from ssl_lightning.modules.backbones.image import ConvNet
from ssl_lightning.optim.schedules import constant
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.transforms.ops import RandomAffine
from ssl_lightning.transforms.views import Chain, MultiView

EXAMPLE = """\
from functools import partial

import lightning
import torch

from ssl_lightning.callbacks.probe import Probe
from ssl_lightning.data.image.datamodule import ImageDataModule
from ssl_lightning.data.image.digits import digits
from ssl_lightning.methods.simclr import SimCLR
from ssl_lightning.modules.backbones.image import ConvNet
from ssl_lightning.optim.schedules import warmup_cosine
from ssl_lightning.transforms.ops import RandomAffine
from ssl_lightning.transforms.views import Chain, MultiView

pixels = {"mean": [0.1123], "std": [0.2397]}
view = Chain(affine=RandomAffine(degrees=15, translate=0.1, scale=(0.8, 1.2), shear=10))
data = ImageDataModule(
    digits,
    "data",
    MultiView({"first": view, "second": view}, **pixels),
    image_size=28,
    channels=1,
    batch_size=256,
    val_size=1000,
    **pixels,
)
method = SimCLR(
    ConvNet(in_channels=1, width=16, stages=3),
    optimizer=partial(torch.optim.AdamW, lr=2e-3),
    schedule=partial(warmup_cosine, warmup_epochs=1),
)
trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", log_every_n_steps=10, callbacks=[Probe(times=1)])
trainer.fit(method, data)
print(trainer.callback_metrics["probe/knn_accuracy"])
embeddings = torch.cat(trainer.predict(method, data))  # of the training set, in its order
"""

TWO_STEPS = ("trainer.max_steps=2", "trainer.max_epochs=null")

pytestmark = pytest.mark.filterwarnings("ignore:.*(does not have many workers|Checkpoint directory|litlogger)")


def small_data() -> ImageDataModule:
    pixels = {"mean": [0.1123], "std": [0.2397]}
    view = Chain(affine=RandomAffine(degrees=15))
    transform = MultiView({"first": view, "second": view}, **pixels)
    return ImageDataModule(
        partial(digits, copies=1),
        "",
        transform,
        image_size=28,
        channels=1,
        batch_size=64,
        val_size=100,
        fraction=0.2,
        **pixels,
    )


def small_method(method: Any = SimCLR) -> Any:
    backbone = ConvNet(in_channels=1, width=8, stages=2)
    return method(backbone, partial(torch.optim.AdamW, lr=1e-3), constant, hidden_dim=16)


def plain(folder: Path, *callbacks: lightning.Callback, epochs: int = 3, **options: Any) -> lightning.Trainer:
    quiet = {"enable_model_summary": False, "enable_checkpointing": any(isinstance(c, LastAndBest) for c in callbacks)}
    return lightning.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, default_root_dir=folder, log_every_n_steps=2,
        callbacks=list(callbacks), enable_progress_bar=any(isinstance(c, TrainingProgress) for c in callbacks),
        **quiet, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(tmp_path_factory.mktemp("run") / "run", *TINY, "callbacks=minimal")


def test_the_package_is_light_until_it_is_used() -> None:
    code = "import sys, ssl_lightning; print(ssl_lightning.__version__, ssl_lightning.load, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(ssl_lightning.__version__)
    assert done.stdout.strip().endswith("False")


def test_the_version_is_told(tmp_path: Path) -> None:
    assert command("pretrain", "--version", cwd=tmp_path).stdout == f"ssl-lightning {ssl_lightning.__version__}\n"


def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    quiet = EXAMPLE.replace("accelerator=", "enable_model_summary=False, enable_progress_bar=False, accelerator=")
    fewer = quiet.replace("    digits,", "    partial(digits, copies=2),").replace("batch_size=256", "batch_size=128")
    exec(fewer, names)
    assert names["embeddings"].shape == (2000, names["method"].backbone.out_dim)
    assert float(capsys.readouterr().out.strip().splitlines()[-1].removeprefix("tensor(").removesuffix(")")) > 0.3


def test_our_callbacks_work_in_a_plain_trainer(tmp_path: Path) -> None:
    callbacks = [
        Probe(times=1, linear_samples=50), Health(every_n_steps=4), Pictures(images=2, points=20), TrainingProgress(),
        LastAndBest(), GracefulStop(),
    ]  # fmt: skip
    trainer = plain(tmp_path, *callbacks)
    trainer.fit(small_method(), small_data())
    assert trainer.current_epoch == 3
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} >= {"last.ckpt", "best.ckpt"}
    assert (tmp_path / "figures/views.png").exists()
    assert {"train/loss", "val/loss", "probe/knn_accuracy", "health/effective_rank"} <= set(trainer.callback_metrics)


@pytest.mark.parametrize("monitor", ["train/loss", "val/loss", "probe/knn_accuracy"])
def test_early_stopping_finds_our_metrics(tmp_path: Path, monitor: str) -> None:
    never = EarlyStopping(monitor, patience=1, mode="min", min_delta=math.inf)
    trainer = plain(tmp_path, Probe(times=1, linear_samples=50), never, epochs=4)
    trainer.fit(small_method(), small_data())
    assert 0 < trainer.current_epoch < 4


def test_early_stopping_from_the_command_line_stops_two_processes_alike(tmp_path: Path) -> None:
    stop = "lightning.pytorch.callbacks.EarlyStopping,monitor:probe/knn_accuracy,patience:1,mode:min,min_delta:2"
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    done = command(
        "pretrain", *TINY, *two, "callbacks.pictures=null", f"+callbacks.stop={{_target_:{stop}}}",
        "trainer.max_epochs=9", "hydra.run.dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"steps": 14' in (tmp_path / "run/results.json").read_text()


def test_a_fast_dev_run_is_one_batch(tmp_path: Path) -> None:
    done = command("pretrain", *TINY, "+trainer.fast_dev_run=true", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "step 1/1" in done.stdout


def test_the_shown_loss_is_that_of_a_batch_and_the_batch_that_of_a_step(tmp_path: Path) -> None:
    options = ("callbacks=minimal", "trainer.accumulate_grad_batches=4", "callbacks.progress.every_n_seconds=0")
    done = command("pretrain", *TINY, *options, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "batch  4 x 64 = 256 over 1 x cpu" in done.stdout
    shown = float(done.stdout.partition("step 2/4  loss ")[2].split()[0])
    names, *rows = ((tmp_path / "run/metrics.csv").read_text()).splitlines()
    logged = [float(row.split(",")[names.split(",").index("train/loss")] or 0) for row in rows]
    assert min(abs(shown - loss) for loss in logged) < 0.3  # of four batches' losses near 4, one or the other


# the encoder of a run


def test_load_gives_the_frozen_encoder_with_its_preprocessing(run: RunFolder, tmp_path: Path) -> None:
    encoder = ssl_lightning.load(run.path)
    raw = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28), dtype=np.uint8))
    embeddings = encoder.train()(raw)
    assert embeddings.shape == (3, encoder.method.backbone.out_dim)
    assert not embeddings.requires_grad
    assert not encoder.training
    expected = encoder.method(encoder.data.modality.evaluation_view({"image": raw})["image"])
    assert torch.equal(embeddings, expected)
    images = [Image.fromarray(image[0].numpy()) for image in raw]
    for number, image in enumerate(images):
        image.save(tmp_path / f"{number}.png")
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for inputs in (images, files, [str(file) for file in files], raw.numpy()):
        assert torch.equal(encoder(inputs), embeddings)
    assert encoder([Image.new("RGBA", (50, 40))]).shape == (1, embeddings.shape[1])  # as decoding makes it


@pytest.mark.parametrize("inputs", ["image.png", ["nowhere.png"], [3]])
def test_what_the_encoder_does_not_read_is_refused(run: RunFolder, inputs: Any) -> None:
    with pytest.raises(InputError):
        ssl_lightning.load(run.path)(inputs)


def test_load_of_a_text_run_reads_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CACHE", str(tmp_path / "cache"))
    text = "".join(f"The {n}th cat sat on the mat, and the dog ran {n} times.\n\n" for n in range(200))
    (tmp_path / "corpus.txt").write_text(text)
    run = train(
        tmp_path / "run", "method=causal_lm", "data=text_files", f"data.root={tmp_path}", "tokenizer=byte",
        "data.source.files=corpus.txt", "data.length=32", "data.batch_size=8", "trainer=cpu", "trainer.max_steps=1",
        "backbone.width=16", "backbone.layers=1", "backbone.heads=2", "schedule.warmup_steps=0", "callbacks=minimal",
    )  # fmt: skip
    encoder = ssl_lightning.load(run.path)
    one, other = encoder(["The cat.", "A text that is longer than a window of the run: " * 3])
    assert torch.allclose(encoder(["The cat."])[0], one, atol=1e-5)
    assert not torch.allclose(one, other)


def test_last_is_the_newest_run_and_a_single_one_is_found(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="there is no run at outputs"):
        ssl_lightning.find_run("last")
    for name in ("one/a", "two/b"):
        (tmp_path / "outputs" / name / ".hydra").mkdir(parents=True)
        (tmp_path / "outputs" / name / ".hydra/config.yaml").write_text("{}")
    assert ssl_lightning.find_run("last").path == Path("outputs/two/b")
    assert ssl_lightning.find_run("outputs/one").path == Path("outputs/one/a")
    assert ssl_lightning.find_run(run.path.parent).path == run.path


def test_a_checkpoint_alone_says_how_it_is_loaded(run: RunFolder) -> None:
    with pytest.raises(InputError, match=r"load its run with ssl_lightning\.load"):
        SimCLR.load_from_checkpoint(run.last)


# precisions


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
@pytest.mark.parametrize("method", ["simclr", "mae"])
def test_weights_of_another_precision_train_on_images(tmp_path: Path, method: str, precision: str) -> None:
    own = ("backbone.width=8", "backbone.stages=2", "method.hidden_dim=32")
    options = [option for option in TINY if method == "simclr" or option not in own]
    run = train(tmp_path, *options, f"method={method}", f"precision={precision}", "callbacks=minimal", *TWO_STEPS)
    assert run.last.exists()
    embeddings = ssl_lightning.load(run.path)(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    assert embeddings.isfinite().all()


def test_a_teacher_of_16_bits_would_stand_still(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision=bf16-mixed"):
        plain(tmp_path, precision="bf16-true").fit(small_method(BYOL), small_data())
