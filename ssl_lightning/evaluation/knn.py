"""Weighted k-nearest-neighbor classification of frozen features: a probe without training.

Wu et al. 2018, https://arxiv.org/abs/1805.01978, Sec. 3.4. Features are first centered by the training mean. Otherwise
an offset shared by all features, as an untrained encoder has, would make every cosine nearly 1.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lightning.errors import InputError

_CHUNK_ELEMENTS = 2**25  # 128 MiB of float32 similarities at a time


def check_labels(labels: Tensor, features: Tensor, num_classes: int) -> None:
    """Checks that `labels` (N,) hold one class in [0, num_classes) for each row of `features` (N, D).

    Raises:
        InputError: they do not, or there are none.
    """
    if labels.shape != features.shape[:1]:
        raise InputError(f"{tuple(labels.shape)} labels do not fit {tuple(features.shape)} features")
    if len(labels) == 0:
        raise InputError("a probe needs at least one labeled sample")
    if labels.min() < 0 or labels.max() >= num_classes:
        low, high = int(labels.min()), int(labels.max())
        raise InputError(f"labels go from {low} to {high}, but num_classes={num_classes} allows 0 to {num_classes - 1}")


@torch.no_grad()
def knn_predict(
    features: Tensor,
    train_features: Tensor,
    train_labels: Tensor,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> Tensor:
    """Predicted classes (M,) int64 of `features` (M, D) by their k nearest neighbors in `train_features` (N, D).

    Each neighbor votes for its label with weight exp(cosine / temperature); a tie goes to the lower class. If N < k,
    all N vote. Classes without a training sample are never predicted.

    Raises:
        InputError: labels do not fit.
    """
    check_labels(train_labels, train_features, num_classes)
    k = min(k, len(train_features))
    mean = train_features.float().mean(dim=0)
    train = F.normalize(train_features.float() - mean, dim=1)
    queries = F.normalize(features.float() - mean, dim=1)
    votes_of = F.one_hot(train_labels, num_classes).float()  # (N, classes)
    chunk = max(1, _CHUNK_ELEMENTS // max(len(train), k * num_classes))
    predictions = []
    for part in queries.split(chunk):
        cosine, neighbor = (part @ train.T).topk(k, dim=1)  # (m, k)
        weight = ((cosine - cosine[:, :1]) / temperature).exp()  # relative to the nearest neighbor, to avoid overflow
        votes = torch.bmm(weight[:, None], votes_of[neighbor]).squeeze(1)  # (m, classes)
        predictions.append(votes.argmax(dim=1))
    return torch.cat(predictions) if predictions else train_labels[:0]


@torch.no_grad()
def nearest(
    features: np.ndarray, k: int, device: torch.device | str = "cpu", chunk: int = 4096
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cosines and rows of the `k` nearest other rows of each of `features` (N, D), exactly; (at most `chunk`, k) each.

    The features are centered as above and may be memory-mapped: a few times `chunk` squared numbers are in memory.
    """
    mean = torch.from_numpy(features.mean(axis=0, dtype=np.float64)).float()
    starts, k = range(0, len(features), chunk), min(k, len(features) - 1)

    def part(start: int) -> Tensor:
        rows = torch.from_numpy(np.array(features[start : start + chunk], dtype=np.float32))
        return F.normalize(rows - mean, dim=1).to(device)

    for first in starts:
        queries = part(first)
        cosine, row = queries.new_zeros(len(queries), 0), torch.zeros(len(queries), 0, dtype=torch.long, device=device)
        for start in starts:
            found = queries @ part(start).T
            if start == first:
                found.fill_diagonal_(-torch.inf)
            best = found.topk(min(k, found.shape[1]), dim=1)
            cosine, order = torch.cat([cosine, best.values], dim=1).sort(dim=1, descending=True)
            row = torch.cat([row, best.indices + start], dim=1).gather(1, order)[:, :k]
            cosine = cosine[:, :k]
        yield cosine.cpu(), row.cpu()
