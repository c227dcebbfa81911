"""Permutations that are far apart: Noroozi and Favaro 2016, https://arxiv.org/abs/1603.09246, Algorithm 1."""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ssl_lightning.errors import InputError


def distant_permutations(count: int, seed: int = 0, places: int = 9) -> Tensor:
    """(count, places) int64, all different: permutations of range(places) of maximal average Hamming distance.

    The paper's greedy algorithm: the first is random, each further one has the largest sum of distances to those taken
    so far; of equals here the one farthest from its nearest, and of these the first, so that `seed` decides all. With
    `count` <= `places` any two of them differ at every place.
    """
    if not 2 <= count <= math.factorial(places):
        raise InputError(f"count={count} permutations of {places} do not exist: give 2 to {math.factorial(places)}")
    return torch.from_numpy(_greedy(count, seed, places).astype(np.int64))


@cache
def _greedy(count: int, seed: int, places: int) -> np.ndarray:
    every = _all_permutations(places).T.copy()  # (places, P): a place is one contiguous row
    total, nearest = np.zeros(every.shape[1], dtype=np.int32), np.full(every.shape[1], places, dtype=np.int32)
    taken = [int(np.random.default_rng(seed).integers(every.shape[1]))]
    while len(taken) < count:
        distance = np.zeros_like(total)
        for at_place in every:
            distance += at_place != at_place[taken[-1]]
        total += distance
        np.minimum(nearest, distance, out=nearest)
        nearest_of_farthest = np.where(total == total[nearest > 0].max(), nearest, 0)  # 0: taken
        taken.append(int(nearest_of_farthest.argmax()))
    return every[:, taken].T


def _all_permutations(n: int) -> np.ndarray:
    """(n!, n) uint8: k is put at each place of each permutation of range(k), for k < n."""
    found = np.zeros((1, 0), dtype=np.uint8)
    for k in range(n):
        found = np.concatenate([np.insert(found, place, k, axis=1) for place in range(k + 1)])
    return found
