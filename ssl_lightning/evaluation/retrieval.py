"""Retrieval: at which rank does a query find what belongs to it?"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import hypergeom
from torch import Tensor

_CHUNK_ELEMENTS = 2**24  # 64 MiB of float32 similarities at a time
DEPTHS = (1, 5, 10)


def similarities(queries: Tensor, candidates: Tensor) -> Tensor:
    """Cosines (M, N) of (M, K) and (N, K)."""
    return F.normalize(queries.float(), dim=1) @ F.normalize(candidates.float(), dim=1).T


@torch.no_grad()
def ranks(queries: Tensor, candidates: Tensor, right: Tensor) -> Tensor:
    """(M,) int64 from 1: at which rank, by cosine similarity, each of `queries` finds the first that is right.

    Wrong candidates that are as near count as nearer, so that an encoder that makes all alike finds nothing.

    Args:
        queries: (M, K).
        candidates: (N, K).
        right: (P, 2) pairs of the numbers of a query and of a candidate that is right; each query has one or more.
    """
    step = max(1, _CHUNK_ELEMENTS // len(candidates))
    found = []
    for rows in torch.arange(len(queries)).split(step):
        cosine = similarities(queries[rows], candidates)
        query, candidate = right[torch.isin(right[:, 0], rows)].T
        is_right = torch.zeros_like(cosine, dtype=torch.bool)
        is_right[query - rows[0], candidate] = True
        best = cosine.masked_fill(~is_right, -torch.inf).amax(dim=1, keepdim=True)
        found.append(1 + ((cosine >= best) & ~is_right).sum(dim=1))
    return torch.cat(found)


def figures(found: Tensor) -> dict[str, float]:
    """`recall_at_K`, the share of queries whose rank is at most K, and `median_rank`, of ranks (M,)."""
    recall = {f"recall_at_{depth}": float((found <= depth).double().mean()) for depth in DEPTHS}
    return {**recall, "median_rank": float(found.double().quantile(0.5))}


def chance(right: Tensor, candidates: int) -> dict[str, float]:
    """The same of a random order of `candidates`, of which `right` (M,) are right for each of the queries.

    The median is the first rank at which half of the queries are expected to have found one.
    """
    kinds, counts = np.unique(right.numpy(), return_counts=True)
    found = hypergeom.sf(0, candidates, kinds[:, None], np.arange(candidates + 1))  # (kinds, depths): one or more
    recall = counts @ found / len(right)
    named = {f"recall_at_{depth}": float(recall[min(depth, candidates)]) for depth in DEPTHS}
    return {**named, "median_rank": float((recall >= 0.5).argmax())}
