"""Masks over patches and frames: random masks of MAE and SimMIM, blocks of I-JEPA, BEiT and iBOT, spans of wav2vec 2.0.

All ranks draw the same numbers, those of `randomness.shared_generator`, for the samples of all of them. Each keeps its
own rows, so several ranks use the masks that a single process would use.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.distributed import rank, world_size
from ssl_lightning.errors import InputError
from ssl_lightning.randomness import shared_generator

ATTEMPTS = 10
"""Draws of the target blocks per image; the first one that leaves enough context is used."""


def draw_for_all_ranks(draw: Callable[..., Tensor], B: int, *shape: int, device: torch.device | str = "cpu") -> Tensor:
    """(B, *shape): this rank's rows of `draw` (torch.rand, torch.randn), drawn for the B samples of every rank."""
    drawn = draw(world_size() * B, *shape, generator=shared_generator(device), device=device)
    return drawn[rank() * B : (rank() + 1) * B]


def count_masked(N: int, mask_ratio: float) -> int:
    """How many of N tokens to mask: at least one, and not all.

    Raises:
        InputError: the ratio would mask none or all of them.
    """
    masked = N - int(N * (1 - mask_ratio) + 1e-9)
    if not 0 < masked < N:
        raise InputError(f"method.mask_ratio={mask_ratio} masks {masked} of {N}: it must leave some, and mask some")
    return masked


def random_split(B: int, N: int, mask_ratio: float, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Indices of the visible (B, V) and the masked (B, N - V) of N tokens, with V = floor((1 - mask_ratio) N).

    Every subset is equally likely (MAE, Sec. 3: sampling without replacement).
    """
    order = draw_for_all_ranks(torch.rand, B, N, device=device).argsort(dim=1)
    visible = N - count_masked(N, mask_ratio)
    return order[:, :visible], order[:, visible:]


def unit_mask(B: int, grid: int, unit: int, mask_ratio: float, device: torch.device | str = "cpu") -> Tensor:
    """`masked` (B, grid ** 2) bool: random units of `unit` x `unit` tokens, cut off at the border of the grid.

    Every image has the same number of masked units, ceil(mask_ratio * units), as in SimMIM's code.
    """
    units = -(-grid // unit)
    count = count_masked(units**2, mask_ratio)
    chosen = draw_for_all_ranks(torch.rand, B, units**2, device=device).argsort(dim=1)[:, :count]
    masked = torch.zeros(B, units**2, dtype=torch.bool, device=device).scatter_(1, chosen, True)
    wide = masked.view(B, units, units).repeat_interleave(unit, 1).repeat_interleave(unit, 2)  # units to tokens
    return wide[:, :grid, :grid].flatten(1)


def block_masks(
    B: int,
    grid: int,
    targets: int = 4,
    target_scale: Sequence[float] = (0.15, 0.2),
    target_aspect: Sequence[float] = (0.75, 1.5),
    context_scale: Sequence[float] = (0.85, 1.0),
    min_context_ratio: float = 0.3,
) -> tuple[Tensor, Tensor]:
    """I-JEPA's multi-block masks: indices of the `visible` (B, V) and the `masked` (B, targets, K) patches, on the CPU.

    Block sizes are drawn once per batch, positions for every image. The context is a square block minus the patches of
    the targets. All contexts of a batch are reduced to the size of the smallest, V. Drawing on the CPU avoids a
    wait for the GPU, because V is needed as an integer.

    Deviations from the authors' code: a context keeps a random subset of its patches, not the first V. Targets are
    drawn up to 10 times until the context keeps `min_context_ratio` of all patches; the authors' limit of 10 patches of
    196 would leave almost nothing on grids of 7 or 8. If no draw leaves any context, the context keeps the targets'
    patches, as theirs does after 20 attempts.
    """
    # one size for all target blocks of the batch, one for all context blocks
    scale, aspect, wide = _rand(3).tolist()
    area = (target_scale[0] + (target_scale[1] - target_scale[0]) * scale) * grid**2
    ratio = target_aspect[0] + (target_aspect[1] - target_aspect[0]) * aspect
    height, width = (max(1, min(grid - 1, round(math.sqrt(x)))) for x in (area * ratio, area / ratio))
    side = min(grid, round(math.sqrt((context_scale[0] + (context_scale[1] - context_scale[0]) * wide) * grid**2)))

    all_samples = world_size() * B  # V is the minimum over all ranks
    blocks = _blocks((all_samples, ATTEMPTS, targets), grid, height, width)  # (all samples, ATTEMPTS, targets, N)
    context = _blocks((all_samples, 1), grid, side, side)  # (all samples, 1, N)
    left = context & ~blocks.any(dim=2)  # (all samples, ATTEMPTS, N)

    # the first attempt that leaves enough context, else the one that leaves most
    chosen = left.sum(dim=2).clamp(max=math.ceil(min_context_ratio * grid**2)).argmax(dim=1)
    rows = torch.arange(all_samples)
    left, blocks = left[rows, chosen], blocks[rows, chosen]
    left = torch.where(left.any(dim=1, keepdim=True), left, context[:, 0])

    V = int(left.sum(dim=1).min())
    visible = (_rand(*left.shape) + left).argsort(dim=1, descending=True)[:, :V]  # context first, in random order
    masked = blocks.nonzero()[:, -1].view(all_samples, targets, height * width)
    own = slice(rank() * B, (rank() + 1) * B)
    return visible[own], masked[own]


def blockwise_mask(
    B: int, grid: int, ratio: Sequence[float], probability: float, device: torch.device | str = "cpu"
) -> Tensor:
    """`masked` (B, grid ** 2) bool: blocks that cover, together, a fraction of an image drawn from `ratio`.

    BEiT, Bao et al. 2021, https://arxiv.org/abs/2106.08254, Algorithm 1: blocks with an aspect of 0.3 to 1 / 0.3, until
    the fraction is reached. An image is masked with `probability`. Deviations: a block has at least 4 patches, as in
    DINOv2's code, for BEiT's 16 of 196 would be a third of a small grid. Blocks are drawn for all images at once, which
    is fast; one that would mask too much is left out, and single patches fill up what is missing, about 2 %.
    """
    N, everyone = grid**2, world_size() * B

    def draw(low: Tensor | float, high: Tensor | float) -> Tensor:
        return low + (high - low) * _rand(everyone)

    count = (N * draw(*ratio)).round() * (_rand(everyone) < probability)
    masked = torch.zeros(everyone, N, dtype=torch.bool)
    place = torch.arange(grid)
    for _ in range(ATTEMPTS):
        area, aspect = draw(4, (count - masked.sum(1)).clamp(min=4)), draw(math.log(0.3), -math.log(0.3)).exp()
        sides = [(area * aspect).sqrt().round().clamp(1, grid), (area / aspect).sqrt().round().clamp(1, grid)]
        inside = []
        for side in sides:
            start = (_rand(everyone) * (grid - side + 1)).floor()[:, None]
            inside.append((place >= start) & (place < start + side[:, None]))
        union = masked | (inside[0][:, :, None] & inside[1][:, None, :]).flatten(1)
        masked = torch.where((union.sum(1) <= count)[:, None], union, masked)
    order = (_rand(everyone, N) + masked).argsort(dim=1, descending=True).argsort(dim=1)
    masked = order < count[:, None]
    return masked[rank() * B : (rank() + 1) * B].to(device, non_blocking=True)


def _rand(*shape: int) -> Tensor:
    """Uniform numbers on the CPU, the same on all ranks."""
    return torch.rand(shape, generator=shared_generator())


def _blocks(shape: tuple[int, ...], grid: int, height: int, width: int) -> Tensor:
    """(*shape, grid ** 2) bool: blocks of `height` x `width` tokens at random positions."""
    place = torch.arange(grid)

    def inside(extent: int) -> Tensor:
        start = torch.randint(grid - extent + 1, (*shape, 1), generator=shared_generator())
        return (place >= start) & (place < start + extent)

    return (inside(height)[..., :, None] & inside(width)[..., None, :]).flatten(-2)


def span_mask(visible: Tensor, start_probability: float, span: int) -> Tensor:
    """`masked` (B, T) bool: spans of `span` frames, which may overlap, never over padding (wav2vec 2.0, Sec. 3.1).

    Of the n frames of a clip, those where `visible` (B, T), start_probability * n begin a span, drawn without
    replacement and rounded up or down by chance. Deviation: at least one begins, where it fits, and a span has at most
    half of the clip's frames, so that short clips too have something to predict and something to predict it from.
    """
    B, T = visible.shape
    n, place = visible.sum(dim=1, keepdim=True), torch.arange(T, device=visible.device)
    spans = (n // 2).clamp(1, span)
    drawn = draw_for_all_ranks(torch.rand, B, T + 1, device=visible.device)
    count = (start_probability * n + drawn[:, :1]).floor().clamp(min=1)
    order = drawn[:, 1:].masked_fill(place > n - spans, 2.0).argsort(dim=1).argsort(dim=1)
    starts = ((order < count) & (place <= n - spans)).long().cumsum(dim=1)
    before = F.pad(starts, (1, 0)).gather(1, (place + 1 - spans).clamp(min=0))  # those whose span has ended
    return (starts > before) & visible


def distractors(masked: Tensor, count: int) -> Tensor:
    """(B, T, count): for each masked frame the places of others, drawn uniformly with replacement from its own clip.

    wav2vec 2.0, Sec. 3.2: never the frame itself, never one that is not `masked` (B, T). The rows of frames that are
    not masked, and of those that are alone, mean nothing.
    """
    B, T = masked.shape
    number = masked.sum(dim=1)[:, None, None]
    places = masked.int().argsort(dim=1, descending=True, stable=True)  # (B, T): first the masked frames, in order
    drawn = draw_for_all_ranks(torch.rand, B, T, count, device=masked.device)
    chosen = (drawn * (number - 1).clamp(min=1)).long()
    own = (masked.cumsum(dim=1) - 1)[:, :, None]
    chosen = (chosen + (chosen >= own)).clamp(max=T - 1)
    return places[:, :, None].expand(-1, -1, count).gather(1, chosen)
