import pytest
import torch
from torch import Tensor

from ssl_lightning.transforms.ops import Op
from ssl_lightning.transforms.pretext.corruption import GaussianNoise, MaskingNoise, SaltAndPepper
from ssl_lightning.transforms.views import Chain, MultiView


def apply(op: Op, images: Tensor, seed: int = 0) -> Tensor:
    before = images.clone()
    found = op(images, torch.Generator().manual_seed(seed))
    assert torch.equal(images, before)
    return found


@pytest.fixture
def gray() -> Tensor:
    """Nothing is black or white."""
    return 0.2 + 0.6 * torch.rand(32, 3, 17, 20, generator=torch.Generator().manual_seed(1))


def test_noise_has_its_mean_and_spread(gray: Tensor) -> None:
    noise = apply(GaussianNoise(0.3), gray) - gray
    assert noise.mean().item() == pytest.approx(0, abs=5e-3)
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert (noise.abs() < 0.3).float().mean().item() == pytest.approx(0.6827, abs=0.01)  # of a Gaussian


def test_blanks_are_an_exact_number_of_pixels_in_all_channels(gray: Tensor) -> None:
    found = apply(MaskingNoise(0.4), gray)
    black = (found == 0).all(dim=1)
    assert torch.equal(black, (found == 0).any(dim=1))
    assert (black.flatten(1).sum(dim=1) == round(0.4 * 17 * 20)).all()
    kept = ~black[:, None].expand_as(gray)
    assert torch.equal(found[kept], gray[kept])
    assert len({tuple(row.tolist()) for row in black.flatten(1)}) == len(gray)  # each image its own


def test_cells_are_whole() -> None:
    black = apply(MaskingNoise(0.5, cell=4), torch.ones(8, 1, 10, 12))[:, 0] == 0
    for top in range(0, 10, 4):
        for left in range(0, 12, 4):
            cell = black[:, top : top + 4, left : left + 4].flatten(1)
            assert torch.equal(cell.any(dim=1), cell.all(dim=1))
    assert (black[:, ::4, ::4].flatten(1).sum(dim=1) == 4).all()  # of 3 x 3 cells, 4.5 rounded to even


def test_salt_and_pepper_come_alike_often(gray: Tensor) -> None:
    found = apply(SaltAndPepper(0.3), gray)
    pepper, salt = (found == 0).all(dim=1), (found == 1).all(dim=1)
    assert torch.equal(pepper | salt, ((found == 0) | (found == 1)).any(dim=1))
    for some in (pepper, salt):
        assert some.float().mean().item() == pytest.approx(0.15, abs=0.01)
    kept = ~(pepper | salt)[:, None].expand_as(gray)
    assert torch.equal(found[kept], gray[kept])


@pytest.mark.parametrize("op", [GaussianNoise(0.0), MaskingNoise(0.0), SaltAndPepper(0.0)])
def test_nothing_of_nothing(op: Op, gray: Tensor) -> None:
    assert torch.equal(apply(op, gray), gray)


def test_all_of_it(gray: Tensor) -> None:
    assert not apply(MaskingNoise(1.0), gray).any()
    assert apply(SaltAndPepper(1.0), gray).unique().tolist() == [0, 1]


@pytest.mark.parametrize("op", [GaussianNoise(0.3), MaskingNoise(0.4, cell=3), SaltAndPepper(0.3)])
def test_the_generator_decides(op: Op, gray: Tensor) -> None:
    assert torch.equal(apply(op, gray, 5), apply(op, gray, 5))
    assert not torch.equal(apply(op, gray, 5), apply(op, gray, 6))


def test_the_clean_view_is_the_image() -> None:
    images = torch.randint(0, 256, (4, 1, 9, 9), dtype=torch.uint8)
    views = MultiView({"corrupted": Chain(blanks=MaskingNoise(0.5)), "clean": Chain()}, mean=[0.25], std=[0.5])
    corrupted, clean = views({"image": images}, torch.Generator().manual_seed(0))["views"]
    torch.testing.assert_close(clean, (images / 255 - 0.25) / 0.5)
    blank = corrupted == -0.5  # black, normalized
    assert blank.flatten(1).sum(dim=1).ge(round(0.5 * 81)).all()
    assert torch.equal(corrupted[~blank], clean[~blank])
