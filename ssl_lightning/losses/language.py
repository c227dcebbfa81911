"""Losses over a vocabulary, computed in chunks of rows, so that the logits (M, V) are never in memory at once.

The backward pass computes the logits of a chunk again (Chen et al. 2016, https://arxiv.org/abs/1604.06174) instead of
storing them. The softmax is computed in float32 or better, even under autocast.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ssl_lightning.losses.precision import at_least_float32

LOGITS_AT_ONCE = 2**24
"""64 MiB of float32: enough rows for an efficient matrix product, small compared with a network."""

ROWS = 32
"""Rows are padded to a multiple of this. Without it, the number of masked tokens differs at every step, and fragmented
CPU memory grows by gigabytes."""

Head = Callable[[Tensor], Tensor]
_NONE = -100  # the target of a padding row


def rows_at_once(vocab_size: int) -> int:
    """The number of rows with `LOGITS_AT_ONCE` logits."""
    return max(1, LOGITS_AT_ONCE // vocab_size)


def select_rows(x: Tensor, chosen: Tensor) -> Tensor:
    """The rows (M, ...) of `x` (B, N, ...) where `chosen` (B, N) is True, in order."""
    index = chosen.flatten().nonzero()[:, 0]
    rows = x.flatten(0, 1)
    return rows if len(index) == len(rows) else rows.index_select(0, index)


def token_cross_entropy(h: Tensor, head: Head, targets: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy and accuracy over tokens: two scalars, the second without gradient.

    For M = 0 both are 0, with zero gradients.

    Args:
        h: (M, D) hidden states of the target tokens.
        head: (m, D) -> logits (m, V).
        targets: (M,) ids.
        chunk: number of rows whose logits are in memory at once.
    """

    def part(h: Tensor, targets: Tensor) -> Tensor:
        logits = at_least_float32(head(h))
        loss = F.cross_entropy(logits, targets, reduction="sum", ignore_index=_NONE)
        return torch.stack([loss, (logits.detach().argmax(dim=1) == targets).sum().to(loss.dtype)])

    rows = (_filled(h, 0), _filled(targets, _NONE))
    loss, right = (_sum_over_chunks(part, rows, chunk) / max(1, len(h))).unbind()
    return loss, right.detach()


def chosen_cross_entropy(h: Tensor, model: Any, targets: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`token_cross_entropy` over the M tokens where `chosen` (B, N) is True, and M: three scalars.

    Args:
        h: (B, N, D) hidden states.
        model: a language model, with `logits` and `vocab_size`.
        targets: (B, N) ids.
    """
    rows, targets = select_rows(h, chosen), select_rows(targets, chosen)
    loss, accuracy = token_cross_entropy(rows, model.logits, targets, rows_at_once(model.vocab_size))
    return loss, accuracy, loss.new_tensor(len(targets))


def distillation(
    h: Tensor, head: Head, targets: Tensor, soft_h: Tensor, soft_head: Head, temperature: float, chunk: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Hinton et al. 2015, https://arxiv.org/abs/1503.02531, Sec. 2: soft loss, hard loss, accuracy; three scalars.

    The soft loss is the mean over M tokens of the Kullback-Leibler divergence from the teacher's to the student's
    distribution, both softened by `temperature`. Multiplying it by temperature^2 keeps the scale of its gradient. The
    hard loss is that of `token_cross_entropy`. `soft_h` (M, D') and `soft_head` are the teacher's and get no gradient.
    """

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
    """The sum of `part` over chunks of the rows; several chunks are recomputed in the backward pass, one is not."""
    if len(rows[0]) <= chunk:
        return part(*rows)
    pieces = zip(*(x.split(chunk) for x in rows), strict=True)
    return torch.stack(
        [checkpoint(part, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
    ).sum(dim=0)


def _filled(x: Tensor, value: int) -> Tensor:
    """Pads `x` (M, ...) with rows of `value` to a multiple of `ROWS`."""
    missing = -len(x) % ROWS
    return F.pad(x, (*(0, 0) * (x.ndim - 1), 0, missing), value=value) if missing else x
