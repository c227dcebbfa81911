"""How well clusters, found without labels, are the classes: k-means and three measures of agreement."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.evaluation.knn import check_labels

Classes = Sequence[int] | np.ndarray


def agreement(labels: Classes, clusters: Classes) -> dict[str, float]:
    """Normalized mutual information, adjusted Rand index, and the accuracy if each cluster is given one class of its
    own, so that most samples agree (Kuhn 1955); of `labels` and `clusters`, (N,) integers each."""
    counts = contingency_matrix(labels, clusters)
    return {
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
        "accuracy": float(counts[linear_sum_assignment(-counts)].sum() / counts.sum()),
    }


def cluster_figures(features: Tensor, labels: Tensor, num_classes: int, starts: int) -> dict[str, float]:
    """Of k-means with a cluster a class, on centered `features` (N, D) of length 1, and `labels` (N,).

    `cluster/nmi`, `cluster/ari` and `cluster/accuracy`: each the mean over `starts` random starts, with `_low` and
    `_high`, the worst and the best.
    """
    check_labels(labels, features, num_classes)
    x = F.normalize(features.double() - features.double().mean(dim=0), dim=1).cpu().numpy()
    k = min(num_classes, len(x))
    found = [
        agreement(labels.cpu().numpy(), KMeans(k, n_init=1, random_state=start).fit_predict(x))
        for start in range(starts)
    ]
    figures: dict[str, float] = {}
    for name in found[0]:
        values = [one[name] for one in found]
        ends = {f"cluster/{name}_low": min(values), f"cluster/{name}_high": max(values)}
        figures |= {f"cluster/{name}": float(np.mean(values)), **ends}
    return figures
