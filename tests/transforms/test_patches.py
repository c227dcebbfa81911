import torch
from torchvision.transforms.v2 import functional as reference

from ssl_lightning.transforms.functional import cut, random_integers


def test_is_torchvisions_crop() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 11, 13, generator=generator)
    top, left = random_integers(7, (4, 5, 1), generator), random_integers(9, (4, 5, 1), generator)
    found = cut(images, top, left, 5)
    assert found.shape == (4, 5, 3, 5, 5)
    for b in range(4):
        for n in range(5):
            assert torch.equal(found[b, n], reference.crop(images[b], int(top[b, n]), int(left[b, n]), 5, 5))


def test_channels_may_be_cut_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 8, 8, generator=generator)
    top, left = random_integers(5, (2, 6, 3), generator), random_integers(5, (2, 6, 3), generator)
    found = cut(images, top, left, 4)
    for c in range(3):
        assert torch.equal(
            found[:, :, c : c + 1], cut(images[:, c : c + 1], top[..., c:][..., :1], left[..., c : c + 1], 4)
        )


def test_random_integers_are_uniform() -> None:
    drawn = random_integers(4, (40_000,), torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.bincount() / 40_000, torch.full((4,), 0.25), atol=0.01)
