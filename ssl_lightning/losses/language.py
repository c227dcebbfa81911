"""Losses over a vocabulary, in chunks of rows: logits (M, V) never stand in memory at once.

The backward pass computes the logits of a chunk again (Chen et al. 2016, https://arxiv.org/abs/1604.06174) instead of
keeping them. Softmax is taken in float32 or better, also under autocast.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ssl_lightning.errors import InputError
from ssl_lightning.losses.precision import at_least_float32

LOGITS_AT_ONCE = 2**24
"""64 MiB of float32: enough rows to keep the matrix product busy, little beside a network."""

ROWS = 32
"""Rows are filled up to a multiple of this. Where every step has another number of them, as hidden tokens do, the
memory of a process on a CPU else grows by gigabytes, in pieces that no later step fits into."""

Head = Callable[[Tensor], Tensor]
_NONE = -100  # the target of a row that does not count


def rows_at_once(vocab_size: int) -> int:
    """The chunk that holds `LOGITS_AT_ONCE` logits."""
    return max(1, LOGITS_AT_ONCE // vocab_size)


def select_rows(x: Tensor, chosen: Tensor) -> Tensor:
    """The rows (M, ...) of `x` (B, N, ...) where `chosen` (B, N) is True, in order."""
    index = chosen.flatten().nonzero()[:, 0]
    rows = x.flatten(0, 1)
    return rows if len(index) == len(rows) else rows.index_select(0, index)


def token_cross_entropy(h: Tensor, head: Head, targets: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of the tokens and the accuracy of the likeliest one: two scalars.

    `h`: (M, D) hidden states of the tokens that count; `head`: from (m, D) to logits (m, V); `targets`: (M,) ids;
    `chunk`: rows whose logits stand in memory at once. Without any row both are 0, and the gradients too.
    """
    _check(h, targets, chunk)

    def part(h: Tensor, targets: Tensor) -> Tensor:
        logits = at_least_float32(head(h))
        loss = F.cross_entropy(logits, targets, reduction="sum", ignore_index=_NONE)
        return torch.stack([loss, (logits.detach().argmax(dim=1) == targets).sum().to(loss.dtype)])

    rows = (_filled(h, 0), _filled(targets, _NONE))
    loss, right = (_sum_over_chunks(part, rows, chunk) / max(1, len(h))).unbind()
    return loss, right.detach()


def distillation(
    h: Tensor, head: Head, targets: Tensor, soft_h: Tensor, soft_head: Head, temperature: float, chunk: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Hinton et al. 2015, https://arxiv.org/abs/1503.02531, Sec. 2: soft loss, hard loss, accuracy; three scalars.

    The soft loss is the divergence of the student's distribution from the teacher's, both softened by `temperature`,
    times its square, so that its gradient does not shrink with it; the mean over the M tokens. The hard loss is that
    of `token_cross_entropy`. `soft_h` (M, D') and `soft_head` are the teacher's and get no gradient.
    """
    _check(h, targets, chunk)
    if not temperature > 0:
        raise InputError(f"temperature must be positive, got {temperature}")

    def part(h: Tensor, soft_h: Tensor, targets: Tensor) -> Tensor:
        logits = at_least_float32(head(h))
        with torch.no_grad():
            wanted = F.log_softmax(at_least_float32(soft_head(soft_h)) / temperature, dim=1)
        found = F.log_softmax(logits / temperature, dim=1)
        apart = F.kl_div(found, wanted, reduction="none", log_target=True).sum(dim=1)
        soft = (apart * (targets != _NONE)).sum() * temperature**2
        hard = F.cross_entropy(logits, targets, reduction="sum", ignore_index=_NONE)
        return torch.stack([soft, hard, (logits.detach().argmax(dim=1) == targets).sum().to(hard.dtype)])

    rows = (_filled(h, 0), _filled(soft_h.detach(), 0), _filled(targets, _NONE))
    sums = _sum_over_chunks(part, rows, chunk)
    soft, hard, right = (sums / max(1, len(h))).unbind()
    return soft, hard, right.detach()


def _sum_over_chunks(part: Callable[..., Tensor], rows: tuple[Tensor, ...], chunk: int) -> Tensor:
    """The sum of `part` over chunks of the rows; one chunk alone is kept for the backward pass, several are not."""
    if len(rows[0]) <= chunk:
        return part(*rows)
    pieces = zip(*(x.split(chunk) for x in rows), strict=True)
    return torch.stack(
        [checkpoint(part, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
    ).sum(dim=0)


def _filled(x: Tensor, value: int) -> Tensor:
    """`x` (M, ...) with rows of `value` at the end, up to a multiple of `ROWS`."""
    missing = -len(x) % ROWS
    return F.pad(x, (*(0, 0) * (x.ndim - 1), 0, missing), value=value) if missing else x


def _check(h: Tensor, targets: Tensor, chunk: int) -> None:
    if h.ndim != 2 or targets.shape != h.shape[:1]:
        raise InputError(f"a loss over tokens needs (M, D) and (M,), got {tuple(h.shape)} and {tuple(targets.shape)}")
    if chunk < 1:
        raise InputError(f"chunk={chunk} must be at least 1 row")
