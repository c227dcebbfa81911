"""What other libraries open of an exported encoder embeds as the method does."""

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import timm
import torch
import torchvision
import transformers
from commands.test_export import run_export
from commands.text_runs import write_run
from runs.harness import train
from safetensors.torch import load_file
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.load import load_method

TINY = (
    *("trainer=cpu", "trainer.max_epochs=null", "trainer.max_steps=2", "callbacks=minimal", "data.source.copies=1"),
    *("data.val_size=1200", "data.batch_size=16", "seed=3", "trainer.limit_val_batches=1"),
)
VIT = ("backbone.width=24", "backbone.layers=2", "backbone.heads=2")
RUNS: dict[str, tuple[str, ...]] = {
    "convnet": ("method=simclr", "backbone.width=8", "backbone.stages=2"),
    "resnet": ("method=simclr", "backbone=resnet18"),
    "timm": ("method=simclr", "backbone=timm", "backbone.name=test_resnet"),
    "class token": ("method=mae", *VIT, "method.decoder_width=16", "method.decoder_layers=1"),
    "mean of patches": ("method=ijepa", *VIT, "method.predictor_width=16", "method.predictor_layers=1"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: write_run(folder / name.replace(" ", "_"), "trainer=cpu", *options) for name, options in RUNS.items()}


def embeddings(run: RunFolder) -> tuple[Tensor, Tensor]:
    """Inputs (3, C, S, S) and their embeddings by the method."""
    method, data = load_method(run)
    x = torch.randn(3, *data.modality.sample_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return x, method(x)


def assert_alike(found: Any, expected: Tensor) -> None:
    assert float(expected.std()) > 0.01
    torch.testing.assert_close(torch.as_tensor(found), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["timm", "resnet", "class token", "mean of patches"])
@torch.no_grad()
def test_timm_and_transformers(name: str, runs: dict[str, RunFolder]) -> None:
    x, expected = embeddings(runs[name])
    folder = run_export(runs[name], "format=timm")
    opened = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert_alike(opened(x), expected)
    assert opened.pretrained_cfg["input_size"] == (1, 28, 28)
    again = transformers.AutoModel.from_pretrained(run_export(runs[name], "format=transformers")).eval()
    assert_alike(again(pixel_values=x).pooler_output.flatten(1), expected)


@torch.no_grad()
def test_torchvision(runs: dict[str, RunFolder]) -> None:
    x, expected = embeddings(runs["resnet"])
    folder = run_export(runs["resnet"], "format=torchvision")
    opened = torchvision.models.resnet18()
    opened.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    missing = opened.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert (missing.missing_keys, missing.unexpected_keys) == (["fc.weight", "fc.bias"], [])
    opened.fc = torch.nn.Identity()
    assert_alike(opened.eval()(x), expected)
    with pytest.raises(InputError, match="torchvision has no ConvNet like this one; give format=safetensors"):
        run_export(runs["convnet"], "format=torchvision")
    with pytest.raises(InputError, match="timm has no ConvNet like this one"):
        run_export(runs["convnet"], "format=timm")


def test_onnx(runs: dict[str, RunFolder]) -> None:
    """Of patches and a token that takes on the size of the batch; of a convolutional network below."""
    x, expected = embeddings(runs["class token"])
    folder = run_export(runs["class token"], "format=onnx")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    assert_alike(session.run(None, {"input": x.numpy()})[0], expected)
    assert_alike(session.run(None, {"input": x[:1].numpy()})[0], expected[:1])


def test_clips(tmp_path: Path) -> None:
    small = ("backbone.width=4", "backbone.hidden_dim=16", "backbone.depth=1", "data.batch_size=4", "data.val_size=8")
    run = train(tmp_path / "run", "method=next_frame", *TINY[:5], *small)
    x, expected = embeddings(run)
    session = onnxruntime.InferenceSession(run_export(run, "format=onnx") / "model.onnx")
    assert_alike(session.run(None, {"input": x.numpy()})[0], expected)
    card = (run_export(run) / "README.md").read_text()
    assert "computes more than this network" in card
    assert "${" not in card
