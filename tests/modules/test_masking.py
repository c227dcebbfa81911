import math

import pytest
import torch
from distributed.harness import run
from torch import Tensor

from ssl_lightning.distributed import world_size
from ssl_lightning.errors import InputError
from ssl_lightning.modules.masking import (
    block_masks,
    blockwise_mask,
    count_masked,
    distractors,
    draw_for_all_ranks,
    random_split,
    span_mask,
    unit_mask,
)
from ssl_lightning.randomness import seed_generators

GRID, B = 8, 64


@pytest.mark.parametrize(("N", "ratio", "masked"), [(196, 0.75, 147), (49, 0.75, 37), (64, 0.75, 48), (10, 0.1, 1)])
def test_counts(N: int, ratio: float, masked: int) -> None:
    assert count_masked(N, ratio) == masked


@pytest.mark.parametrize(("N", "ratio"), [(49, 0.0), (49, 1.0), (49, 0.99), (4, -0.5), (4, 1.5)])
def test_impossible_ratios(N: int, ratio: float) -> None:
    with pytest.raises(
        InputError, match=rf"method.mask_ratio={ratio} masks .* of {N}: it must leave some, and mask some"
    ):
        count_masked(N, ratio)


def test_each_token_is_visible_or_masked() -> None:
    visible, masked = random_split(B, 49, 0.75)
    assert visible.shape == (B, 12)
    assert masked.shape == (B, 37)
    assert torch.equal(torch.cat([visible, masked], dim=1).sort(dim=1)[0], torch.arange(49).expand(B, -1))
    assert len(visible.sort(dim=1)[0].unique(dim=0)) == B


def test_each_token_is_masked_equally_often() -> None:
    _, masked = random_split(20_000, 9, 0.6)
    often = masked.flatten().bincount() / 20_000
    torch.testing.assert_close(often, torch.full((9,), masked.shape[1] / 9), atol=0.02, rtol=0)


@pytest.mark.parametrize(("grid", "unit", "units"), [(8, 2, 16), (7, 2, 16), (7, 1, 49), (7, 3, 9)])
def test_units_are_masked_whole(grid: int, unit: int, units: int) -> None:
    masked = unit_mask(B, grid, unit, 0.6)
    assert masked.shape == (B, grid**2)
    corners = masked.view(B, grid, grid)[:, ::unit, ::unit]
    assert corners.flatten(1).sum(dim=1).tolist() == [math.ceil(0.6 * units)] * B
    for row in range(grid):
        for column in range(grid):
            assert torch.equal(masked.view(B, grid, grid)[:, row, column], corners[:, row // unit, column // unit])


def as_mask(indices: Tensor, N: int) -> Tensor:
    return torch.zeros(len(indices), N, dtype=torch.bool).scatter_(1, indices, True)


@pytest.mark.parametrize("grid", [7, 8, 14])
@pytest.mark.parametrize("seed", range(5))
def test_blocks(grid: int, seed: int) -> None:
    seed_generators(seed, seed)
    N = grid**2
    visible, masked = block_masks(B, grid)
    assert masked.shape[:2] == (B, 4)
    area = masked.shape[2]
    assert 0.1 * N <= area <= 0.25 * N  # 0.15 to 0.2, but for whole rows and columns
    shapes = set()
    for block in masked.flatten(0, 1):
        rows, columns = block // grid, block % grid
        height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
        assert height * width == area == len(block.unique())
        shapes.add((height, width))
    assert len(shapes) == 1  # drawn once a batch
    assert len(masked.flatten(1).sort(dim=1)[0].unique(dim=0)) > B // 2  # the places for each image
    assert visible.shape[1] >= 0.3 * N
    assert all(len(row.unique()) == len(row) for row in visible)
    assert not (as_mask(visible, N) & as_mask(masked.flatten(1), N)).any()


def test_blocks_reach_every_place() -> None:
    visible, masked = block_masks(4000, GRID)
    assert as_mask(masked.flatten(1), GRID**2).any(dim=0).all()
    assert as_mask(visible, GRID**2).any(dim=0).all()


def test_targets_that_cover_all() -> None:
    """There is a context even where the targets leave none, as after the authors' 20 attempts."""
    visible, masked = block_masks(B, 4, targets=30, target_scale=(0.3, 0.3), target_aspect=(1.0, 1.0))
    assert masked.shape == (B, 30, 4)
    assert visible.shape[1] > 0


def test_ranks_take_the_rows_of_one_process() -> None:
    alone = masks(6)
    for number, name in enumerate(alone):
        together = [found[name] for found in run(masks_of_half)]
        assert torch.equal(torch.cat(together), alone[name]), number


def masks_of_half() -> dict[str, Tensor]:
    return masks(6 // world_size())


def masks(B: int) -> dict[str, Tensor]:
    seed_generators(0, 0)
    names = ("visible", "masked", "units", "context", "targets", "noise")
    drawn = (
        *random_split(B, 49, 0.75),
        unit_mask(B, 7, 2, 0.6),
        *block_masks(B, 7),
        draw_for_all_ranks(torch.randn, B, 3),
    )
    return dict(zip(names, drawn, strict=True))


def test_blocks_cover_the_fraction_that_was_drawn() -> None:
    masked = blockwise_mask(512, GRID, (0.1, 0.5), 0.5).view(512, GRID, GRID)
    counts = masked.sum(dim=(1, 2)).float()
    some = counts[counts > 0]
    assert 0.4 < len(some) / 512 < 0.6
    assert some.min() >= 6
    assert some.max() <= 32
    assert some.mean().item() == pytest.approx(0.3 * GRID**2, rel=0.1)


def test_blocks_are_blocks() -> None:
    """A masked patch has more masked neighbors than if patches were masked one by one."""
    masked = blockwise_mask(512, GRID, (0.4, 0.4), 1.0).view(512, GRID, GRID).float()
    assert (masked.sum(dim=(1, 2)) == 26).all()
    neighbors = (masked[:, 1:] * masked[:, :-1]).mean() / masked.mean()
    assert neighbors > 0.65


LENGTHS = torch.tensor([50, 50, 33, 12, 3, 2, 1])
VISIBLE = torch.arange(50) < LENGTHS[:, None]


def runs_of(row: Tensor) -> list[int]:
    """The lengths of the unbroken runs of True."""
    return [len(run) for run in "".join("x" if hidden else " " for hidden in row.tolist()).split()]


def test_spans() -> None:
    seen = torch.zeros(len(LENGTHS))
    for seed in range(50):
        seed_generators(seed, seed)
        masked = span_mask(VISIBLE, 0.065, 10)
        assert not (masked & ~VISIBLE).any()
        assert masked.any(dim=1).all()
        for row, n in zip(masked, LENGTHS.tolist(), strict=True):
            assert min(runs_of(row)) >= min(10, max(1, n // 2))
        seen += masked.sum(dim=1) / LENGTHS / 50
    assert seen[3:].tolist() == pytest.approx([0.5, 1 / 3, 0.5, 1.0])  # one span each, of half of the clip
    assert 0.40 < seen[0] < 0.65  # Sec. 3.1 of the paper has 49 % of long clips


def test_spans_begin_without_replacement_as_often_as_told() -> None:
    visible = torch.ones(2000, 40, dtype=torch.bool)
    masked = span_mask(visible, 0.1, 1)
    assert set(masked.sum(dim=1).tolist()) == {4}
    torch.testing.assert_close(masked.float().mean(dim=0), torch.full((40,), 0.1), atol=0.03, rtol=0)
    half = span_mask(visible, 0.1125, 1).sum(dim=1).float()  # 4.5 of them
    assert set(half.tolist()) == {4.0, 5.0}
    assert float(half.mean()) == pytest.approx(4.5, abs=0.05)


def test_distractors() -> None:
    masked = span_mask(VISIBLE, 0.065, 10)
    places = distractors(masked, 500)
    for row in range(4):
        own = set(masked[row].nonzero()[:, 0].tolist())
        for frame in own:
            assert set(places[row, frame].tolist()) == own - {frame}
    often = distractors(torch.ones(1, 5, dtype=torch.bool), 20_000)[0, 2].bincount(minlength=5) / 20_000
    torch.testing.assert_close(often, torch.tensor([0.25, 0.25, 0.0, 0.25, 0.25]), atol=0.02, rtol=0)
