import torch
from torchvision.utils import make_grid

from ssl_lightning.modules.patches import mosaic


def test_is_torchvisions_grid() -> None:
    tiles = torch.rand(4, 9, 3, 5, 6)
    for picture, nine in zip(mosaic(tiles, line=2), tiles, strict=True):
        assert torch.equal(picture, make_grid(nine, nrow=3, padding=2)[:, 2:-2, 2:-2])


def test_without_lines() -> None:
    tiles = torch.rand(2, 9, 1, 4, 4)
    assert mosaic(tiles, line=0).shape == (2, 1, 12, 12)
    assert torch.equal(mosaic(tiles, line=0)[:, :, 8:, :4], tiles[:, 6])
