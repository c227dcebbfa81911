"""Seeded splits: stratified by label where there are labels, never parting the images of one group."""

import numpy as np

from ssl_lightning.data.sampler import mix
from ssl_lightning.errors import InputError


def require_split(split: str, name: str) -> None:
    """Raises InputError for a split that a source named `name` does not have."""
    if split not in ("pretrain", "train", "test"):
        raise InputError(f"{name} has no split {split!r}: choose pretrain, train or test")


def resolve_size(size: int | float, total: int, name: str) -> int:
    """Number of samples that `size` means: a count (int) or a fraction in [0, 1) (float) of `total`."""
    count = round(size * total) if isinstance(size, float) else size
    if count >= total:
        raise InputError(f"{name}={size} leaves nothing of a set of {total}: give at most {total - 1}")
    return count


def held_out(
    total: int, size: int, seed: int, labels: np.ndarray | None = None, groups: np.ndarray | None = None
) -> np.ndarray:
    """Mask (total,) bool of about `size` samples to hold out (exactly `size` where every group is one sample).

    Each label gives its share by the largest-remainder method; within a label the draw is a permutation fixed by
    `seed`. With `groups` whole groups are drawn, a group having the label of its first member.
    """
    if groups is None:
        member, first = np.arange(total), np.arange(total)
    else:
        _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    strata = np.zeros(len(first), dtype=np.int64) if labels is None else np.asarray(labels)[first]
    _, strata, counts = np.unique(strata, return_inverse=True, return_counts=True)

    share = counts * (size / total)
    quota = np.floor(share).astype(np.int64)
    missing = round(share.sum()) - quota.sum()
    quota[np.argsort(quota - share, kind="stable")[:missing]] += 1

    order = np.random.default_rng(mix("split", seed)).permutation(len(first))
    order = order[np.argsort(strata[order], kind="stable")]
    place = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.zeros(len(first), dtype=bool)
    chosen[order[place < np.repeat(quota, counts)]] = True
    return chosen[member]
