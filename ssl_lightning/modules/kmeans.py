"""Spherical k-means on the device: clusters of unit vectors by their cosine similarity."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.distributed import mean_over_ranks
from ssl_lightning.errors import InputError


@torch.no_grad()
def spherical_kmeans(
    rows: Tensor, clusters: int, generator: torch.Generator, iterations: int = 10
) -> tuple[Tensor, Tensor]:
    """Unit centroids (clusters, K) of unit `rows` (N, K), and the cluster (N,) of each row.

    Starts from random rows; a centroid that loses all its rows stays where it is (DeepCluster v2's code). All ranks
    have all rows; the mean over ranks keeps centroids bit-identical where a GPU's sums are not.

    Raises:
        InputError: fewer rows than clusters.
    """
    if len(rows) < clusters:
        raise InputError(f"{len(rows)} samples for {clusters} clusters: lower method.clusters")
    start = torch.randperm(len(rows), generator=generator)[:clusters].to(rows.device)
    centroids = rows[start]
    for _ in range(iterations):
        assigned = (rows @ centroids.T).argmax(dim=1)
        sums = mean_over_ranks(torch.zeros_like(centroids).index_add_(0, assigned, rows))
        used = torch.bincount(assigned, minlength=clusters) > 0
        centroids = torch.where(used[:, None], F.normalize(sums, dim=1), centroids)
    return centroids, (rows @ centroids.T).argmax(dim=1)
