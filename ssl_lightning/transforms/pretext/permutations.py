"""Permutations with large Hamming distances: Noroozi and Favaro 2016, https://arxiv.org/abs/1603.09246, Algorithm 1."""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.ranges import AtLeastTwo, Seed


def distant_permutations(count: AtLeastTwo, seed: Seed = 0, places: AtLeastTwo = 9) -> Tensor:
    """(count, places) int64: different permutations of range(places), greedily far apart in Hamming distance.

    The paper's algorithm: the first permutation is random, each next one maximizes the sum of distances to those
    before. Of equally good ones it takes the one with the largest minimum distance, then the first, so `seed`
    determines the result. If `count` <= `places`, any two differ at every place.

    Raises:
        InputError: there are not that many permutations.
    """
    if count > math.factorial(places):
        raise InputError(f"count={count} permutations of {places} do not exist: give 2 to {math.factorial(places)}")
    return torch.from_numpy(_greedy(count, seed, places).astype(np.int64))


@cache
def _greedy(count: int, seed: int, places: int) -> np.ndarray:
    every = _all_permutations(places).T.copy()  # (places, P): each place is a contiguous row
    total, nearest = np.zeros(every.shape[1], dtype=np.int32), np.full(every.shape[1], places, dtype=np.int32)
    taken = [int(np.random.default_rng(seed).integers(every.shape[1]))]
    while len(taken) < count:
        distance = np.zeros_like(total)
        for at_place in every:
            distance += at_place != at_place[taken[-1]]
        total += distance
        np.minimum(nearest, distance, out=nearest)
        nearest_of_farthest = np.where(total == total[nearest > 0].max(), nearest, 0)  # 0 if already taken
        taken.append(int(nearest_of_farthest.argmax()))
    return every[:, taken].T


def _all_permutations(n: int) -> np.ndarray:
    """(n!, n) uint8, recursively: k is inserted at every place of every permutation of range(k)."""
    found = np.zeros((1, 0), dtype=np.uint8)
    for k in range(n):
        found = np.concatenate([np.insert(found, place, k, axis=1) for place in range(k + 1)])
    return found
