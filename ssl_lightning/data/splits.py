"""Seeded splits: stratified by label where there are labels, never parting the samples of one group."""

from collections.abc import Iterable

import numpy as np

from ssl_lightning.data.sampler import mix
from ssl_lightning.errors import InputError


def require_split(split: str, name: str) -> None:
    """Raises InputError for a split that a source named `name` does not have."""
    if split not in ("pretrain", "train", "test"):
        raise InputError(f"{name} has no split {split!r}: choose pretrain, train or test")


def resolve_size(size: int | float, total: int, name: str) -> int:
    """Number of samples that `size` means: a count (int) or a fraction in [0, 1) (float) of `total`, at least one."""
    count = max(round(size * total), size > 0) if isinstance(size, float) else size
    if count >= total:
        raise InputError(f"{name}={size} leaves nothing of a set of {total}: give at most {total - 1}")
    return count


def held_out(
    total: int,
    size: int,
    seed: int,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    digests: np.ndarray | None = None,
) -> np.ndarray:
    """Mask (total,) bool of about `size` samples to hold out: at least one unless `size` is 0.

    Each label gives its share by the largest-remainder method; within a label the draw is a permutation fixed by
    `seed`. It is exactly `size` samples where every group is one sample.

    Args:
        groups: (total,) numbers. Whole groups are drawn, a group having the label of its first member; groups more than
            twice as large as the share of their label are drawn last.
        digests: (total,) uint64, each of the content of a sample; they serve as groups. The draw depends on the digest
            of a group instead of its place, so old samples keep their side when others are added, but for a few.
    """
    names = digests if digests is not None else groups if groups is not None else np.arange(total)
    names, first, member, counts = np.unique(names, return_index=True, return_inverse=True, return_counts=True)
    strata = np.zeros(len(first), dtype=np.int64) if labels is None else np.asarray(labels)[first]
    _, strata = np.unique(strata, return_inverse=True)
    width = counts / counts.min()  # of each group; 1 where all are equal

    share = np.bincount(strata, width) * (size / total)
    quota = np.floor(share)
    missing = round(share.sum()) - int(quota.sum())
    quota[np.argsort(quota - share, kind="stable")[:missing]] += 1

    order = np.random.default_rng(mix("split", seed)).permutation(len(first))
    if digests is not None:
        order = np.argsort(_scrambled(names, seed))
    order = order[np.lexsort((width[order] > 2 * quota[strata[order]], strata[order]))]
    upto = np.cumsum(width[order])
    before = upto - width[order] - np.concatenate([[0], upto])[np.searchsorted(strata[order], strata[order])]
    chosen = np.zeros(len(first), dtype=bool)
    chosen[order[before + width[order] / 2 <= quota[strata[order]]]] = True
    if size and not chosen.any():
        chosen[order[np.argmin(width[order])]] = True
    return chosen[member]


def digests_of(names: Iterable[str]) -> np.ndarray:
    """(N,) uint64 digests of N names, for `held_out`."""
    return np.array([mix(name) for name in names], dtype=np.uint64)


def numbered(names: Iterable[object]) -> tuple[np.ndarray, list[str]]:
    """The number of each name (N,) among all that occur, and these, sorted."""
    known, numbers = np.unique([str(name) for name in names], return_inverse=True)
    return numbers, known.tolist()


def _scrambled(numbers: np.ndarray, seed: int) -> np.ndarray:
    """A hash of each number and the seed: (N,) uint64 (SplitMix64, Steele et al. 2014, Fig. 13)."""
    x = numbers.astype(np.uint64) ^ np.uint64(mix("split", seed))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
