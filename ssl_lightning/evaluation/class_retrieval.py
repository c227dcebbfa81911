"""Retrieval within a set: for each sample all others, ranked by similarity; those of its class are right."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.errors import InputError

_CHUNK_ELEMENTS = 2**24  # ranked at a time: a gigabyte with the indices and the sums


@torch.no_grad()
def retrieval(
    features: Tensor, labels: Tensor, recalls: Sequence[int] = (1, 5, 10), groups: Tensor | None = None
) -> dict[str, Tensor]:
    """Of Q queries: `query` (Q,), their rows; `map` (Q,), average precision; `recall_K` (Q,) bool, a hit in K.

    Each of `features` (N, D) with its label (N,) is a query for all others, or with `groups` (N,) for those of other
    groups, if its class has any. Similarity is the cosine of centered features, as in kNN. Average precision: Manning
    et al. 2008, Introduction to Information Retrieval, Sec. 8.4; recall at K: Jegou et al. 2011, Sec. V-B.

    Raises:
        InputError: no query.
    """
    x = F.normalize(features.float() - features.float().mean(dim=0), dim=1)
    own = torch.arange(len(x), device=x.device) if groups is None else groups.to(x.device)
    rank = torch.arange(1, len(x) + 1, device=x.device)
    found: list[dict[str, Tensor]] = []
    for rows in (rank - 1).split(max(1, _CHUNK_ELEMENTS // max(1, len(x)))):
        similarity = (x[rows] @ x.T).masked_fill_(own[rows][:, None] == own, -torch.inf)  # these come last
        order = similarity.argsort(dim=1, descending=True)
        hit = (labels[order] == labels[rows][:, None]) & (own[order] != own[rows][:, None])  # (q, N)
        hit, rows = hit[hit.any(dim=1)], rows[hit.any(dim=1)]
        precision = (hit.cumsum(dim=1) / rank * hit).sum(dim=1) / hit.sum(dim=1)
        found.append({"query": rows, "map": precision} | {f"recall_{k}": hit[:, :k].any(dim=1) for k in recalls})
    if not any(len(part["query"]) for part in found):
        raise InputError("retrieval needs a class with two samples of different groups")
    return {name: torch.cat([part[name] for part in found]) for name in found[0]}
