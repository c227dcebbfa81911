import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from ssl_lightning.errors import InputError
from ssl_lightning.transforms.pretext.context_prediction import PatchPairs, keep_channel
from ssl_lightning.transforms.views import Chain

SIDES = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
"""Down and right, in the order of the targets."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairs(C: int = 2, drop: float = 0.0, patch: int = 7, gap: int = 2, jitter: int = 1) -> PatchPairs:
    return PatchPairs(Chain(), patch, gap, jitter, drop, [0.0] * C, [1.0] * C)


def numbered(B: int = 4000, side: int = 32) -> torch.Tensor:
    """Two channels that say where a pixel is: its row and its column."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([rows, columns]).to(torch.uint8).expand(B, 2, side, side)


def corners(patches: torch.Tensor) -> torch.Tensor:
    """(B, 2, 2): row and column of the upper left pixel of both patches."""
    return (patches[..., 0, 0] * 255).round().long()


def test_the_second_patch_lies_where_the_target_says() -> None:
    batch = {"image": numbered()}
    out = pairs()(batch, seeded())
    first, second = corners(out["inputs"]).unbind(1)
    away = second - first - torch.tensor(SIDES)[out["side"]] * 9
    assert set(away.flatten().tolist()) == {-1, 0, 1}
    assert len({tuple(pair) for pair in away.tolist()}) == 9
    assert (out["side"].bincount(minlength=8) > 400).all()
    for b in range(20):
        for n, (top, left) in enumerate(corners(out["inputs"])[b].tolist()):
            image = batch["image"][b].float() / 255
            torch.testing.assert_close(out["inputs"][b, n], reference.crop(image, top, left, 7, 7))


def test_the_first_patch_tells_nothing_of_the_target() -> None:
    """32 = 3 * 7 + 2 * 2 + 2 * 1 + 5: its corner is 10 .. 15, for each of the targets."""
    out = pairs()({"image": numbered()}, seeded())
    for target in range(8):
        first = corners(out["inputs"])[out["side"] == target][:, 0]
        assert set(first.flatten().tolist()) == set(range(10, 16))
        assert torch.allclose(first.float().mean(dim=0), torch.tensor(12.5), atol=0.4)


def test_patches_never_touch() -> None:
    first, second = corners(pairs(gap=2, jitter=1)({"image": numbered()}, seeded())["inputs"]).unbind(1)
    assert (second - first).abs().max(dim=1).values.min() == 7 + 2 - 1


def test_patches_that_just_fit() -> None:
    image = {"image": numbered(8, 27)}
    assert pairs()(image, seeded())["inputs"].shape == (8, 2, 2, 7, 7)
    with pytest.raises(InputError, match=r"3 patches in a row do not fit images of 26 x 26: lower transform.patch=7"):
        pairs()({"image": numbered(8, 26)}, seeded())


def test_a_channel_alone() -> None:
    generator = seeded()
    patches = torch.randn(3, 2, 3, 6, 6, generator=generator)
    kept, noise = torch.tensor([[0, 1], [2, 0], [1, 1]]), torch.randn(3, 2, 3, 6, 6, generator=generator)
    found = keep_channel(patches, kept, noise)
    for b in range(3):
        for n in range(2):
            for c in range(3):
                stays = patches[b, n, int(kept[b, n])]
                expected = stays if c == kept[b, n] else 0.01 * stays.std() * noise[b, n, c]
                torch.testing.assert_close(found[b, n, c], expected)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_colors_are_dropped_at_their_rate(rate: float) -> None:
    image = {"image": torch.randint(0, 256, (2000, 3, 32, 32), generator=seeded(), dtype=torch.uint8)}
    patches = pairs(3, rate)(image, seeded())["inputs"]
    gray = (patches.std(dim=(-2, -1)) > 0.1).sum(dim=2)  # channels with contents
    assert set(gray.flatten().tolist()) <= {1, 3}
    assert (gray == 1).float().mean().item() == pytest.approx(rate, abs=0.03)


def test_the_generator_alone_decides() -> None:
    first, again, other = (pairs(drop=0.5)({"image": numbered(8)}, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first["inputs"], again["inputs"])
    assert torch.equal(first["side"], again["side"])
    assert not torch.equal(first["inputs"], other["inputs"])
