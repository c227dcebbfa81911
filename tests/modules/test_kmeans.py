import torch
from torch.nn import functional as F

from ssl_lightning.modules.kmeans import spherical_kmeans


def test_clusters_that_are_apart_are_found() -> None:
    generator = torch.Generator().manual_seed(0)
    centers = F.normalize(torch.randn(4, 16, generator=generator), dim=1)
    truth = torch.arange(400) % 4
    rows = F.normalize(centers[truth] + 0.05 * torch.randn(400, 16, generator=generator), dim=1)
    found = [spherical_kmeans(rows, 4, torch.Generator().manual_seed(seed)) for seed in range(8)]
    centroids, assigned = max(found, key=lambda pair: float((rows * pair[0][pair[1]]).sum()))
    torch.testing.assert_close(centroids.norm(dim=1), torch.ones(4))
    for cluster in range(4):
        assert len(set(assigned[truth == cluster].tolist())) == 1
    assert len(set(assigned.tolist())) == 4


def test_more_clusters_than_kinds_of_rows() -> None:
    """A centroid that no row is nearest to stays as it is, without NaN."""
    rows = torch.eye(3)[torch.arange(30) % 3]
    centroids, assigned = spherical_kmeans(rows, 8, torch.Generator().manual_seed(0))
    assert centroids.isfinite().all()
    torch.testing.assert_close((rows * centroids[assigned]).sum(dim=1), torch.ones(30))


def test_the_same_generator_gives_the_same_clusters() -> None:
    rows = F.normalize(torch.randn(50, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    one, other = (spherical_kmeans(rows, 5, torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
