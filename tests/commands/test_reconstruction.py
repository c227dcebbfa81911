from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from methods.recipe import make_method
from rich.console import Console
from torch import nn

from ssl_lightning.commands.judges import predictions, reconstruction
from ssl_lightning.commands.study import Study
from ssl_lightning.data.image.datamodule import ImageDataModule
from ssl_lightning.data.image.digits import digit_glyphs, digits
from ssl_lightning.data.video.datamodule import VideoDataModule
from ssl_lightning.data.video.moving_digits import moving_digits
from ssl_lightning.evaluation.reconstruction import principal_components
from ssl_lightning.figures.evaluation import show
from ssl_lightning.methods.autoencoder import Autoencoder
from ssl_lightning.modules.backbones.image import MLP
from ssl_lightning.modules.image_decoders import mlp_decoder

FACTS = {"channels": 1, "mean": [0.1], "std": [0.25], "batch_size": 100, "val_size": 100}


@pytest.fixture(scope="module")
def data() -> ImageDataModule:
    data = ImageDataModule(partial(digits, copies=1, size=12), "", nn.Identity(), image_size=12, **FACTS)
    data.setup()
    return data


def errors(judge: Any, method: Any, data: Any, metric: str) -> dict[str, float]:
    """By what is judged: the only metric of a judge."""
    found = dict(judge(Study(method, method, data)))
    assert all(list(figures) == [metric] for figures in found.values())
    return {name: figures[metric] for name, figures in found.items()}


def test_pca_itself_has_the_error_of_pca(data: ImageDataModule) -> None:
    """A linear autoencoder that was given the principal components: the row of the run and of its control agree."""
    encoder, decoder = MLP(1, 12, [], 5), partial(mlp_decoder, channels=1, size=12, hidden_dims=[])
    method = Autoencoder(encoder, None, None, decoder, std=[0.25])
    rows = data.modality.evaluation_view({"image": torch.from_numpy(data.train.images[data.train.rows])})[
        "image"
    ].flatten(1)
    mean, directions = (x.float() for x in principal_components([rows], 5))
    layers = {"encoder": encoder[-1], "decoder": method.decoder[0]}
    layers["encoder"].weight.data, layers["encoder"].bias.data = directions.T, -mean @ directions
    layers["decoder"].weight.data, layers["decoder"].bias.data = directions, mean
    found = errors(reconstruction, method, data, "test/reconstruction_error")
    assert list(found) == ["this run", "PCA, 5 components", "mean image"]
    assert found["this run"] == pytest.approx(found["PCA, 5 components"], rel=1e-4)
    assert found["this run"] < 0.8 * found["mean image"]


def test_errors_are_of_pixels_of_0_to_1(data: ImageDataModule) -> None:
    method = make_method("autoencoder")
    method.backbone, method.decoder = MLP(1, 12, [], 5), mlp_decoder(5, 1, 12, [])
    for p in method.decoder.parameters():
        nn.init.zeros_(p)  # paints 0, which is the mean of the config
    found = errors(reconstruction, method, data, "test/reconstruction_error")
    test = torch.from_numpy(data.test.images) / 255
    assert found["this run"] == pytest.approx((test - 0.1).square().mean().item(), rel=1e-5)


def test_next_frames_beside_their_controls(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    source = partial(moving_digits, glyphs=digit_glyphs, frames=10, size=16, glyph_size=8, digits=1)
    data = VideoDataModule(source, "", nn.Identity(), frames=10, image_size=16, **FACTS)
    data.setup()
    found = errors(predictions, make_method("next_frame"), data, "test/prediction_error")
    assert list(found) == ["this run", "persistence", "mean frame"]
    frames = data.test.__getitems__(range(len(data.test)))["video"] / 255
    still = (frames[:, 4:5] - frames[:, 5:]).square().mean().item()
    assert found["persistence"] == pytest.approx(still, rel=1e-5)
    show(
        Console(),
        {name: {"test/prediction_error": error} for name, error in found.items()},
        tmp_path,
        samples=0,
        title="",
    )
    assert "persistence" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())  # no bars: these figures have no interval


def test_what_does_not_paint(data: ImageDataModule) -> None:
    method = make_method("simclr")
    study = Study(method, method, data)
    assert list(reconstruction(study)) == list(predictions(study)) == []
