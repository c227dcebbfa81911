"""MoCo v2: Improved Baselines with Momentum Contrastive Learning.

Chen, Fan, Girshick and He, 2020. https://arxiv.org/abs/2003.04297 (MoCo: He et al. 2019, arXiv 1911.05722)
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.distributed import gather, rank, world_size
from ssl_lightning.errors import InputError
from ssl_lightning.losses.contrastive import info_nce_queue
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.ema import make_teacher, move_teacher
from ssl_lightning.modules.heads import mlp
from ssl_lightning.modules.norm import SplitBatchNorm, split_batch_norm
from ssl_lightning.modules.queue import Queue
from ssl_lightning.ranges import Fraction, PositiveFloat, PositiveInt


class MoCo(Method):
    """A query must match its key, from an EMA teacher, against a long queue of keys of past batches.

    Shared batch statistics would reveal the key. So each batch is normalized in `bn_splits` groups, as on MoCo's eight
    GPUs, and keys are grouped differently from queries ("shuffling BN", Sec. 3.3).

    Args:
        backbone: network from (B, C, H, W) to (B, D), with `out_dim` D.
        hidden_dim: width of the projector's hidden layer; None: D, as in MoCo v2.
        out_dim: K, width of queries and keys.
        queue_size: Q, number of negatives.
        temperature: divides the cosine similarities (MoCo, Eq. 1).
        momentum: momentum of the teacher (MoCo, Eq. 2).
        bn_splits: number of batch normalization groups over all devices; 1: no groups.
        symmetric: whether each view is the query once, as in the authors' CIFAR demo, at twice the cost.
    """

    views = 2

    hidden_dim: PositiveInt | None = None
    out_dim: PositiveInt = 128
    queue_size: PositiveInt = 65536
    temperature: PositiveFloat = 0.2
    momentum: Fraction = 0.999
    bn_splits: PositiveInt = 8
    symmetric: bool = False

    def __post_init__(self) -> None:
        dim = self.backbone.out_dim
        if self.bn_splits > 1:
            split_batch_norm(self.backbone, 1)  # until `setup`: a loaded encoder is fine-tuned with whole batches
        self.projector = mlp(dim, self.hidden_dim or dim, self.out_dim, norm=False)
        self.teacher = make_teacher(nn.Sequential(self.backbone, self.projector))
        self.queue = Queue(self.queue_size, self.out_dim)
        if not any(isinstance(module, SplitBatchNorm) for module in self.teacher.modules()):
            self.bn_splits = 1  # without batch statistics nothing reveals the key

    def setup(self, stage: str) -> None:
        """Distributes the groups of the pretraining over devices, whose number is known only now."""
        if self.bn_splits == 1:
            return
        if self.bn_splits % world_size():
            raise InputError(f"method.bn_splits={self.bn_splits} does not divide over {world_size()} devices")
        for module in self.modules():
            if isinstance(module, SplitBatchNorm):
                module.splits = self.bn_splits // world_size()

    def negatives(self, batch_size: int) -> int:
        """The keys of the queue."""
        return len(self.queue.rows)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Algorithm 1 of MoCo; keys enter the queue after the optimizer step.

        If symmetric, the mean of both directions. The authors' CIFAR demo takes their sum, twice the gradient.
        """
        x1, x2 = batch["views"]
        loss, h = self._contrast(x1, x2)
        if self.symmetric:
            loss = (loss + self._contrast(x2, x1)[0]) / 2
        return {"loss": loss, "embedding": h.detach()}

    def _contrast(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        h = self(queries)
        k = self._encode_keys(keys)
        self.queue.add(k)
        return info_nce_queue(self.projector(h), k, self.queue.rows, self.temperature), h

    @torch.no_grad()
    def _encode_keys(self, x: Tensor) -> Tensor:
        """Keys (B, K) in the order of `x`, encoded after dealing the images like cards to the groups of all devices."""
        if self.bn_splits == 1 or not self.training:
            return self.teacher(x)
        everyone = gather(x)
        order = torch.arange(len(everyone), device=x.device).view(self.bn_splits, -1).T.flatten()
        mine = slice(rank() * len(x), (rank() + 1) * len(x))
        return gather(self.teacher(everyone[order[mine]]))[order.argsort()][mine]

    def after_step(self, progress: float) -> None:
        move_teacher(self.teacher, nn.Sequential(self.backbone, self.projector), self.momentum)
        self.queue.advance()
