"""Contrastive losses: the two views of a sample attract each other, views of different samples repel each other.

NT-Xent of SimCLR, Chen et al. 2020, https://arxiv.org/abs/2002.05709; InfoNCE with a queue of MoCo, He et al. 2020,
https://arxiv.org/abs/1911.05722, or with the keys of the batch; SupCon, whose positives share a class. wav2vec 2.0
contrasts the frames of one clip. The softmax is computed in float32 or better, even under autocast.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lightning import distributed
from ssl_lightning.losses.precision import in_float32


def _with_all_views(z1: Tensor, z2: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Logits (2B, W * 2B) of each view (B, K) with those of all ranks, without itself, and its own place among them."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    logits = z @ distributed.gather(z).T / temperature
    own = torch.arange(len(z), device=z.device) + distributed.rank() * len(z)
    return logits.scatter(1, own[:, None], float("-inf")), own


@in_float32(same=2, axes=2)
def nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """SimCLR Eq. 1 over the 2B views of a batch: scalar.

    `z1`, `z2`: (B, K) projections of two views of the same samples, normalized here. Each view is an anchor. Its
    positive is the other view of its sample; its negatives are all other views on all ranks. The loss is the mean over
    this rank's anchors, so its mean over ranks is the loss of the global batch. Equal embeddings give log(2 B W - 1).
    The authors' code adds the means over both halves: its learning rate belongs to twice this loss.
    """
    logits, own = _with_all_views(z1, z2, temperature)
    return F.cross_entropy(logits, own.roll(len(z1)))


@in_float32(same=2, axes=2)
def info_nce(q: Tensor, k: Tensor, temperature: float) -> Tensor:
    """InfoNCE with the keys of the batch as candidates (MoCo v3, Algorithm 1; NNCLR, Eq. 3): scalar.

    `q`, `k`: (B, K) queries and keys of the same samples, normalized here. The positive of a query is the key of its
    sample, its negatives are the keys of all other samples on all ranks. The loss is the mean over this rank's queries.
    Equal embeddings give log(B W). It is lightly's `NTXentLoss` without the negatives within a view.
    """
    q = F.normalize(q, dim=1)
    candidates = distributed.gather(F.normalize(k, dim=1))  # (W * B, K)
    positive = torch.arange(len(q), device=q.device) + distributed.rank() * len(q)
    return F.cross_entropy(q @ candidates.T / temperature, positive)


@in_float32(same=2, axes=2)
def supervised_contrastive(z1: Tensor, z2: Tensor, label: Tensor, temperature: float) -> Tensor:
    """SupCon's L_out over the 2B views of a batch: scalar (Khosla et al. 2020, https://arxiv.org/abs/2004.11362, Eq.
    2).

    `z1`, `z2`: (B, K) projections of two views of samples of the classes `label` (B,), normalized here. The positives
    of a view are all other views of its class on all ranks. With a class of its own for every sample it is `nt_xent`.
    The authors' code multiplies it by temperature / 0.07.
    """
    logits, own = _with_all_views(z1, z2, temperature)
    label = torch.cat([label, label])
    positive = (label[:, None] == distributed.gather(label)).scatter(1, own[:, None], False)
    log_p = logits.log_softmax(dim=1).masked_fill(~positive, 0)
    return -(log_p.sum(dim=1) / positive.sum(dim=1)).mean()


@in_float32(same=2, axes=2)
def info_nce_queue(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """MoCo Eq. 1: scalar, the mean over the B queries of this rank.

    `q`, `k`: (B, K) queries and keys of the same samples, normalized here. `queue`: (Q, K) earlier keys of unit length,
    all of them negatives; it must not hold the keys of this batch yet. `k` and `queue` get no gradient.
    """
    q = F.normalize(q, dim=1)
    k = F.normalize(k.detach(), dim=1)
    positive = (q * k).sum(dim=1, keepdim=True)  # (B, 1)
    negative = q @ queue.detach().to(q.dtype).T  # (B, Q)
    logits = torch.cat([positive, negative], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64, device=q.device))


@in_float32(same=2, axes=3)
def among_distractors(
    c: Tensor, q: Tensor, codes: Tensor, masked: Tensor, places: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Which of the targets is that of this masked frame (wav2vec 2.0, Eq. 3): loss and accuracy, two scalars.

    The loss is the mean over the masked frames. A distractor with the codes of the frame itself is none, as in the
    authors' code; a frame that has no other is told from nothing, and its loss is 0.

    Args:
        c: (B, T, K) predictions, normalized here.
        q: (B, T, K) targets, normalized here.
        codes: (B, T, G) the codes that the targets are made of.
        masked: (B, T) bool.
        places: (B, T, M) the distractors of each frame, among those of its clip.
    """
    similarity = F.normalize(c, dim=2) @ F.normalize(q, dim=2).mT / temperature
    none = (codes[:, :, None] == codes[:, None]).all(dim=3) | ~masked[:, None]  # (B, T, T)
    others = similarity.masked_fill(none, float("-inf")).gather(2, places)
    logits = torch.cat([similarity.diagonal(dim1=1, dim2=2)[:, :, None], others], dim=2)[masked]
    right = (logits.detach().argmax(dim=1) == 0).to(logits.dtype).mean()
    return -logits.log_softmax(dim=1)[:, 0].mean(), right
