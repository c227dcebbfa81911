"""Contrastive losses: the two views of a sample attract each other, views of different samples repel each other.

NT-Xent of SimCLR, Chen et al. 2020, https://arxiv.org/abs/2002.05709; InfoNCE with a queue of MoCo, He et al. 2020,
https://arxiv.org/abs/1911.05722. The softmax is computed in float32 or better, even under autocast.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lightning import distributed
from ssl_lightning.errors import InputError
from ssl_lightning.losses.precision import at_least_float32, no_autocast


def _check(first: Tensor, second: Tensor) -> None:
    if first.ndim != 2 or first.shape != second.shape:
        raise InputError(
            f"a contrastive loss needs two (B, K) tensors, got {tuple(first.shape)} and {tuple(second.shape)}"
        )


def nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """SimCLR Eq. 1 over the 2B views of a batch: scalar.

    `z1`, `z2`: (B, K) projections of two views of the same samples, normalized here. Each view is an anchor. Its
    positive is the other view of its sample; its negatives are all other views on all ranks. The loss is the mean over
    this rank's anchors, so its mean over ranks is the loss of the global batch. Equal embeddings give log(2 B W - 1).
    The authors' code adds the means over both halves: its learning rate belongs to twice this loss.
    """
    _check(z1, z2)
    with no_autocast(z1):
        z = F.normalize(at_least_float32(torch.cat([z1, z2])), dim=1)
        candidates = distributed.gather(z)  # (W * 2B, K), rank by rank
        logits = z @ candidates.T / temperature  # (2B, W * 2B)
        anchor = torch.arange(len(z), device=z.device)
        offset = distributed.rank() * len(z)
        is_self = torch.zeros_like(logits, dtype=torch.bool)
        is_self[anchor, anchor + offset] = True
        positive = (anchor + len(z1)) % len(z) + offset
        return F.cross_entropy(logits.masked_fill(is_self, float("-inf")), positive)


def info_nce_queue(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """MoCo Eq. 1: scalar, the mean over the B queries of this rank.

    `q`, `k`: (B, K) queries and keys of the same samples, normalized here. `queue`: (Q, K) earlier keys of unit length,
    all of them negatives; it must not hold the keys of this batch yet. `k` and `queue` get no gradient.
    """
    _check(q, k)
    if queue.ndim != 2 or queue.shape[1] != q.shape[1]:
        raise InputError(f"the queue must be (Q, {q.shape[1]}) like the queries' width, got {tuple(queue.shape)}")
    with no_autocast(q):
        q = F.normalize(at_least_float32(q), dim=1)
        k = F.normalize(at_least_float32(k.detach()), dim=1)
        positive = (q * k).sum(dim=1, keepdim=True)  # (B, 1)
        negative = q @ queue.detach().to(q.dtype).T  # (B, Q)
        logits = torch.cat([positive, negative], dim=1) / temperature
        return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64, device=q.device))
