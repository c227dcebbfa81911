"""DeepCluster v2, the improved DeepCluster of the paper on SwAV.

Caron, Misra, Mairal, Goyal, Bojanowski and Joulin, 2020. https://arxiv.org/abs/2006.09882, App. D (DeepCluster: 2018)
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from annotated_types import MinLen
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_lightning.distributed import gather
from ssl_lightning.losses.precision import at_least_float32, no_autocast
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.heads import mlp
from ssl_lightning.modules.kmeans import spherical_kmeans
from ssl_lightning.modules.multi_crop import encode_by_size
from ssl_lightning.ranges import PositiveFloat, PositiveInt


class DeepClusterV2(Method):
    """Predicts the cluster of a sample, found by k-means on the projections of the epoch before.

    Args:
        backbone: network from (B, C, H, W), of any size H = W, to (B, D), with `out_dim` D.
        hidden_dim: width of the projector's hidden layer.
        out_dim: K, width of the projection.
        clusters: number of clusters of each clustering; the m-th is of view 1 + m modulo 2.
        temperature: divides the cosine similarities with the centroids.
    """

    sized_by_data = ("memory", "assigned")

    hidden_dim: PositiveInt = 2048
    out_dim: PositiveInt = 128
    clusters: Annotated[Sequence[PositiveInt], MinLen(1)] = (3000, 3000, 3000)
    temperature: PositiveFloat = 0.1

    def __post_init__(self) -> None:
        self.clusters = list(self.clusters)
        self.projector = mlp(self.backbone.out_dim, self.hidden_dim, self.out_dim)
        # unit centroids (all clusters, K), clustering by clustering, which no gradient moves
        self.centroids = nn.Buffer(torch.zeros(sum(self.clusters), self.out_dim))
        # (2, samples, K): the last projection of two views of each sample, by its index
        self.memory: Tensor = nn.Buffer(torch.zeros(2, 0, self.out_dim))
        # (clusterings, samples): the cluster of each sample
        self.assigned: Tensor = nn.Buffer(torch.zeros(len(self.clusters), 0, dtype=torch.int64))
        self.fresh: list[tuple[Tensor, Tensor]] = []

    def learn_from(self, data: Any) -> None:
        """Fills the memory with views of all samples by the initial network, and clusters it."""
        rows = data.train.rows
        self.memory = self.memory.new_zeros(2, int(rows.max()) + 1, self.memory.shape[2])
        self.assigned = self.assigned.new_zeros(len(self.assigned), self.memory.shape[1])
        for start in range(0, len(rows), data.batch_size):
            raw = data.train.__getitems__(range(start, min(start + data.batch_size, len(rows))))
            batch = data.augment(move_data_to_device(raw, self.device), start)
            with torch.no_grad():
                z = F.normalize(self.projector(self(torch.cat(batch["views"][:2]))), dim=1)
            self.memory[:, batch["index"]] = z.view(2, -1, z.shape[1])
        self._cluster(torch.as_tensor(rows, device=self.device))

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The cross-entropy of every view with the cluster of its sample, a mean over views and clusterings.

        A sample of validation has none: its own nearest centroid takes the place.
        """
        views, index = batch["views"], batch["index"]
        h = encode_by_size(self, views)
        z = self.projector(torch.cat(h))
        losses = []
        with no_autocast(z):
            unit = F.normalize(at_least_float32(z), dim=1)
            if self.training:
                self.fresh.append((index, unit[: 2 * len(index)].detach()))
            for m, centroids in enumerate(self.centroids.split(self.clusters)):
                scores = unit @ centroids.T
                own = scores.chunk(len(views))[m % 2]
                target = self.assigned[m, index] if self.training else own.argmax(dim=1)
                losses.append(F.cross_entropy(scores / self.temperature, target.repeat(len(views))))
        return {"loss": torch.stack(losses).mean(), "embedding": h[0].detach()}

    def after_step(self, progress: float) -> None:
        for index, z in self.fresh:
            places = gather(index)
            for memory, rows in zip(self.memory, z.chunk(2), strict=True):
                memory[places] = gather(rows).to(memory)
        self.fresh.clear()
        if (self.step + 1) % self.steps_per_epoch == 0:
            self._cluster(self.memory[0].any(dim=1).nonzero()[:, 0])

    @torch.no_grad()
    def _cluster(self, rows: Tensor) -> None:
        """Clusters the memory of the samples `rows` anew; by the step alone, so alike on all ranks."""
        generator = torch.Generator().manual_seed(self.step)
        for m, centroids in enumerate(self.centroids.split(self.clusters)):
            found, assigned = spherical_kmeans(self.memory[m % 2, rows], len(centroids), generator)
            centroids.copy_(found)
            self.assigned[m, rows] = assigned

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Takes the memory of a checkpoint whatever its number of samples."""
        for name in self.sized_by_data:
            if name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[name], device=self.device))
        return super().load_state_dict(state_dict, *args, **kwargs)
