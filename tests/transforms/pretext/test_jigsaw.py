import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from ssl_lightning.errors import InputError
from ssl_lightning.transforms.pretext.jigsaw import Puzzles
from ssl_lightning.transforms.pretext.permutations import distant_permutations
from ssl_lightning.transforms.views import Chain

ORDERS = distant_permutations(20)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def puzzles(C: int = 3, channel_shift: int = 0) -> Puzzles:
    return Puzzles(Chain(), ORDERS, [0.0] * C, [1.0] * C, channel_shift)


def numbered(B: int = 200, C: int = 3, side: int = 32) -> torch.Tensor:
    """Images in which a pixel says where it is: its number, 0 to side * side - 1, in two bytes in channels 0 and 1."""
    number = torch.arange(side * side).view(side, side)
    return torch.stack([number // 256, number % 256, number % 256])[:C].to(torch.uint8).expand(B, C, side, side)


def places(tiles: torch.Tensor) -> torch.Tensor:
    """The number of each pixel, (..., h, w)."""
    byte = (tiles * 255).round().long()
    return byte[..., 0, :, :] * 256 + byte[..., 1, :, :]


def test_a_tile_is_a_crop_of_the_cell_that_the_permutation_says() -> None:
    out = puzzles()({"image": numbered()}, seeded())
    tiles, order = places(out["inputs"]), ORDERS[out["permutation"]]
    assert tiles.shape == (200, 9, 8, 8)
    corner = tiles[:, :, 0, 0]
    image = torch.arange(32 * 32).view(1, 32, 32)
    for b in range(20):
        for n in range(9):
            top, left = divmod(int(corner[b, n]), 32)
            assert torch.equal(tiles[b, n], reference.crop(image, top, left, 8, 8)[0])
    top, left = (corner // 32 - 1 - order // 3 * 10), (corner % 32 - 1 - order % 3 * 10)  # inside its cell of 10
    assert set(top.flatten().tolist()) == set(left.flatten().tolist()) == {0, 1, 2}
    assert top.unique(dim=1).shape[1] == 9, "the tiles of an image move independently"


def test_all_permutations_come() -> None:
    targets = puzzles()({"image": numbered(4000)}, seeded())["permutation"]
    assert (targets.bincount(minlength=20) > 120).all()


def test_channels_are_cut_apart_but_never_outside_their_cell() -> None:
    out = puzzles(channel_shift=1)({"image": numbered()}, seeded())["inputs"]
    second, third = ((out[:, :, c] * 255).round().long() for c in (1, 2))
    apart = third - second
    assert (apart.abs() % 32 <= 2).logical_or(apart.abs() % 32 >= 30).all()
    assert apart.any()
    red = torch.where(torch.arange(32) < 11, 255, 0).to(torch.uint8)  # what is not in the left cells, 1 .. 10, is dark
    image = red.expand(100, 3, 32, 32)
    out = puzzles(channel_shift=3)({"image": image}, seeded())
    left = ORDERS[out["permutation"]] % 3 == 0
    assert (out["inputs"][left] == 1).all()
    assert (out["inputs"][~left] == 0).all()


@pytest.mark.parametrize(("side", "tile"), [(28, 7), (32, 8), (225, 64), (15, 4)])
def test_sizes(side: int, tile: int) -> None:
    image = torch.zeros(2, 1, side, side, dtype=torch.uint8)
    assert puzzles(1)({"image": image}, seeded())["inputs"].shape == (2, 9, 1, tile, tile)


def test_the_generator_alone_decides() -> None:
    first, again, other = (puzzles()({"image": numbered(8)}, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first["inputs"], again["inputs"])
    assert torch.equal(first["permutation"], again["permutation"])
    assert not torch.equal(first["inputs"], other["inputs"])


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="images of 14 x 14 are too small for a jigsaw"):
        puzzles(1)({"image": torch.zeros(2, 1, 14, 14, dtype=torch.uint8)}, seeded())
