"""Weighted k-nearest-neighbor classification of frozen features: the probe that trains nothing.

Wu et al. 2018, https://arxiv.org/abs/1805.01978, Sec. 3.4. Features are centered by the training mean first, so that an
offset shared by all features (an untrained or uncentered encoder) does not make every cosine 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lightning.errors import InputError

_CHUNK_ELEMENTS = 2**25  # 128 MiB of float32 similarities at a time


def check_labels(labels: Tensor, features: Tensor, num_classes: int) -> None:
    """InputError unless `labels` (N,) are one class in [0, num_classes) for each row of `features` (N, D)."""
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
    bank_features: Tensor,
    bank_labels: Tensor,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> Tensor:
    """Predicted classes, (M,) int64, of `features` (M, D) by their k nearest in `bank_features` (N, D).

    Each neighbor votes for its label with exp(cosine / temperature); a tie goes to the lower class. With fewer than k
    samples in the training set all of them vote. Classes that it lacks are never predicted.
    """
    check_labels(bank_labels, bank_features, num_classes)
    if k < 1 or not temperature > 0:
        raise InputError(f"kNN needs k >= 1 and temperature > 0, got k={k}, temperature={temperature}")
    k = min(k, len(bank_features))
    mean = bank_features.float().mean(dim=0)
    probe_train = F.normalize(bank_features.float() - mean, dim=1)
    queries = F.normalize(features.float() - mean, dim=1)
    votes_of = F.one_hot(bank_labels, num_classes).float()  # (N, classes)
    chunk = max(1, _CHUNK_ELEMENTS // max(len(probe_train), k * num_classes))
    predictions = []
    for part in queries.split(chunk):
        cosine, neighbor = (part @ probe_train.T).topk(k, dim=1)  # (m, k)
        weight = ((cosine - cosine[:, :1]) / temperature).exp()  # relative to the nearest, so it cannot overflow
        votes = torch.bmm(weight[:, None], votes_of[neighbor]).squeeze(1)  # (m, classes)
        predictions.append(votes.argmax(dim=1))
    return torch.cat(predictions) if predictions else bank_labels[:0]


def knn_accuracy(
    features: Tensor,
    labels: Tensor,
    bank_features: Tensor,
    bank_labels: Tensor,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Fraction of `features` (M, D) for which `knn_predict` gives `labels` (M,)."""
    check_labels(labels, features, num_classes)
    predictions = knn_predict(features, bank_features, bank_labels, num_classes, k, temperature)
    return (predictions == labels).float().mean().item()
