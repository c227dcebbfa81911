"""What only a GPU shows: `python -m pytest -m gpu`."""

import json

import pytest
import torch
from methods.recipe import METHODS, known, reads_text
from runs.harness import TINY, process

from ssl_lightning.runs.checkpoints import read_checkpoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here"),
]
ON_GPU = (*(option for option in TINY if option != "trainer=cpu"), "trainer=gpu", "callbacks.pictures=null")


def small(method: str) -> tuple[str, ...]:
    """The tiny run's own changes to networks fit images alone."""
    if not reads_text(method):
        return known(method, ON_GPU)
    drop = ("backbone.", "method.hidden_dim", "data.")
    return (*(option for option in ON_GPU if not option.startswith(drop)), "data.batch_size=32", "trainer.max_steps=6")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_a_run_in_half_precision_is_finite(tmp_path, method, precision):
    assert_finite(tmp_path, precision, *small(method), f"method={method}", f"precision={precision}")


@pytest.mark.parametrize("method", ["simclr", "moco", "byol"])
def test_a_compiled_run_is_finite(tmp_path, method):
    assert_finite(tmp_path, "bf16-mixed", *ON_GPU, f"method={method}", "compile=true")


def assert_finite(folder, precision, *options):
    result = process("pretrain", *options, "hydra.run.dir=run", cwd=folder, timeout=600)
    assert result.returncode == 0, result.stderr
    results = json.loads((folder / "run/results.json").read_text())
    assert results["metrics"]["train/loss"] < 1e4
    assert results["provenance"]["precision"] == precision
    weights = read_checkpoint(folder / "run/checkpoints/last.ckpt")["state_dict"].values()
    assert all(value.isfinite().all() for value in weights)


def test_bench_of_the_published_recipe_keeps_up_with_compute_alone(tmp_path):
    options = ("experiment=simclr_cifar10", "data=digits", "data.channels=1", "compile=true", "steps=50", "warmup=20")
    result = process("bench", *options, "transform=digits", "hydra.run.dir=bench", cwd=tmp_path, timeout=900)
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "bench/bench.json").read_text())["end_to_end_over_compute"] > 0.8
