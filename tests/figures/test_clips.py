from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from ssl_lightning.figures.clips import clip_figure, write_gif


@pytest.fixture
def columns() -> dict[str, torch.Tensor]:
    """Two samples: 3 frames seen, 2 to come; each frame is one brightness."""
    brightness = torch.arange(1, 15) / 15
    frames = brightness.view(2, 7, 1, 1, 1).expand(2, 7, 1, 8, 8)
    return {"seen": frames[:, :3], "predicted": frames[:, 3:5], "true": frames[:, 5:]}


def test_a_gif_has_every_frame_of_every_panel(columns: dict[str, torch.Tensor], tmp_path: Path) -> None:
    write_gif(tmp_path / "a.gif", columns, milliseconds=100)
    with Image.open(tmp_path / "a.gif") as file:
        assert file.info["loop"] == 0
        assert file.info["duration"] == 100
        pages = [np.asarray(page.convert("RGB")) for page in ImageSequence.Iterator(file)]
    side = 128 + 6
    assert [page.shape for page in pages] == [(2 * side, 2 * side, 3)] * 5
    for time, page in enumerate(pages):
        for sample in range(2):
            for panel, name in enumerate(("predicted", "true")):
                frames = columns["seen"] if time < 3 else columns[name]
                expected = frames[sample, time if time < 3 else time - 3, 0, 0, 0] * 255
                window = page[sample * side : (sample + 1) * side, panel * side : (panel + 1) * side]
                assert abs(float(window[30, 30, 0]) - float(expected)) < 3  # of a palette of 256
                gray = window[1, 1].max() - window[1, 1].min() < 10
                assert gray == (time < 3)


def test_colors_stay(tmp_path: Path) -> None:
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 1, 3, 1, 1).expand(1, 2, 3, 8, 8)
    write_gif(tmp_path / "a.gif", {"seen": red, "predicted": red})
    with Image.open(tmp_path / "a.gif") as file:
        assert tuple(np.asarray(file.convert("RGB"))[60, 60]) == pytest.approx((255, 0, 0), abs=3)


def test_a_strip_shows_what_was_seen_once(columns: dict[str, torch.Tensor]) -> None:
    figure = clip_figure(columns, ["a", "b"])
    assert [axes.get_ylabel() for axes in figure.axes] == ["a", "b"]
    assert figure.axes[0].get_title() == "seen, then predicted, below it true"
    for sample, axes in enumerate(figure.axes):
        (strip,) = (np.asarray(image.get_array())[..., 0] for image in axes.images)
        found = strip[4::9, 4::9]  # the middles of frames of 8 pixels, one apart
        seen, predicted, true = (columns[name][sample, :, 0, 0, 0] for name in ("seen", "predicted", "true"))
        assert found == pytest.approx(np.array([[*seen, *predicted], [1, 1, 1, *true]]))
