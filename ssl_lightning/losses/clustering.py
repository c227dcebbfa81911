"""Losses on soft assignments: a student's view must be assigned like a teacher's, or another, view.

SwAV, Caron et al. 2020, https://arxiv.org/abs/2006.09882; DINO, Caron et al. 2021, https://arxiv.org/abs/2104.14294;
KoLeo, Sablayrolles et al. 2018, https://arxiv.org/abs/1806.03198, as in DINOv2, https://arxiv.org/abs/2304.07193.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lightning.distributed import gather, gather_variable_length, rank
from ssl_lightning.losses.precision import at_least_float32, in_float32


@torch.no_grad()
def sinkhorn(scores: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Assignments (B, P) of samples to P prototypes, alike in the mass of every prototype over the global batch.

    Sinkhorn-Knopp on exp(scores / temperature) (SwAV, Eq. 3 to 5; the temperature is its epsilon), ending with the
    samples: each row sums to 1. All ranks compute it on all scores, and return the rows of their own, of which they may
    have different numbers.
    """
    counts = gather(torch.tensor([len(scores)], device=scores.device)).tolist()
    own = slice(sum(counts[: rank()]), sum(counts[: rank() + 1]))
    logits = gather_variable_length(at_least_float32(scores)).double() / temperature  # (rows of all ranks, P)
    for _ in range(iterations):
        logits = logits - logits.logsumexp(dim=0, keepdim=True)
        logits = logits - logits.logsumexp(dim=1, keepdim=True)
    return logits.exp()[own].to(at_least_float32(scores).dtype)


@in_float32()
def cross_entropy(scores: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """-sum targets log softmax(scores / temperature), both (M, P): (M,)."""
    return F.cross_entropy(scores / temperature, targets, reduction="none")


@in_float32()
def swapped(scores: list[Tensor], targets: list[Tensor], temperature: float) -> Tensor:
    """Each view's scores must predict the targets of the other views: scalar.

    SwAV, Eq. 2 and 6; DINO, Eq. 3. `scores`: (B, P) of each view; `targets`: (B, P) assignments of the first views, the
    global crops, without gradient. The mean over all pairs of a target and another view, as in the code of both papers.
    """
    predicted = [F.log_softmax(view / temperature, dim=-1) for view in scores]
    losses = [
        -(target.detach() * view).sum(dim=-1).mean()
        for i, target in enumerate(targets)
        for j, view in enumerate(predicted)
        if i != j
    ]
    return torch.stack(losses).mean()


@in_float32()
def koleo(h: Tensor) -> Tensor:
    """KoLeo: scalar, -log of the distance of each embedding (B, D), normalized here, to the nearest of the batch.

    The nearest is looked for among the samples of all ranks; the mean is that of this rank's samples. DINOv2's code
    looks among those of one GPU.
    """
    h = F.normalize(h, dim=1)
    everyone = gather(h)
    with torch.no_grad():
        similarity = h @ everyone.T
        own = torch.arange(len(h), device=h.device)
        similarity[own, own + rank() * len(h)] = -2
        nearest = similarity.argmax(dim=1)
    return -(F.pairwise_distance(h, everyone[nearest], eps=1e-8) + 1e-8).log().mean()
