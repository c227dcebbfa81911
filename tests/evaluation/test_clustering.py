import pytest
import torch
from torchmetrics.functional.clustering import adjusted_rand_score, normalized_mutual_info_score

from ssl_lightning.evaluation.clustering import agreement, cluster_figures


def test_matching_gives_each_class_once() -> None:
    assert agreement([0, 0, 1, 1, 2, 2], [5, 5, 3, 3, 4, 4]) == {"nmi": 1, "ari": 1, "accuracy": 1}
    assert agreement([0, 0, 0, 0, 1], [7, 7, 8, 8, 8])["accuracy"] == 3 / 5  # two clusters want class 0, one gets it
    assert agreement([0, 1, 2], [0, 0, 0])["accuracy"] == 1 / 3


def test_far_blobs_are_found_and_noise_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat(50)
    centers = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 0, 9], [-9, -9, -9]])
    noise = torch.randn(200, 3, generator=generator)
    found = cluster_figures(centers[labels] + 0.1 * noise, labels, 4, starts=5)
    assert (found["cluster/nmi_high"], found["cluster/ari_high"], found["cluster/accuracy_high"]) == (1, 1, 1)
    for name in ("cluster/nmi", "cluster/ari", "cluster/accuracy"):
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
    blind = cluster_figures(noise, labels, 4, starts=3)
    assert blind["cluster/nmi"] < 0.1
    assert abs(blind["cluster/ari"]) < 0.05
    assert 0.25 <= blind["cluster/accuracy"] < 0.45


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_measures_are_those_of_torchmetrics() -> None:
    labels, clusters = (torch.randint(3, (60,), generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    clusters[:30] = labels[:30]
    found = agreement(labels.numpy(), clusters.numpy())
    assert found["nmi"] == pytest.approx(float(normalized_mutual_info_score(clusters, labels)), abs=1e-6)
    assert found["ari"] == pytest.approx(float(adjusted_rand_score(clusters, labels)), abs=1e-6)
