"""data2vec: A General Framework for Self-supervised Learning in Speech, Vision and Language.

Baevski, Hsu, Xu, Babu, Gu and Auli, 2022. https://arxiv.org/abs/2202.03555
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_lightning.losses.precision import at_least_float32
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.vit import ViT, require_vit
from ssl_lightning.modules.ema import make_teacher, move_teacher
from ssl_lightning.modules.masking import blockwise_mask
from ssl_lightning.modules.patches import replace_tokens
from ssl_lightning.optim.schedules import linear
from ssl_lightning.ranges import Fraction, PositiveFloat, PositiveInt


class Data2Vec(Method):
    """From an image with masked patches, predicts an EMA teacher's contextualized representations of these patches.

    Args:
        backbone: a ViT.
        mask_ratio: fraction of the patches that are masked, in blocks.
        layers: number of the teacher's last blocks whose outputs are averaged to a target.
        beta: the error below which the loss is quadratic (Eq. 2).
        momentum: initial momentum of the teacher.
        momentum_end: the momentum to which it rises linearly (Sec. 3.2).
        momentum_progress: fraction of the training in which it rises.
    """

    views = 1
    backbone_kind = "vit"
    min_batch_size = 1

    def __init__(
        self,
        backbone: nn.Module,
        optimizer: Callable[..., Any],
        schedule: Callable[..., Any],
        mask_ratio: Fraction = 0.6,
        layers: PositiveInt = 6,
        beta: PositiveFloat = 2.0,
        momentum: Fraction = 0.9998,
        momentum_end: Fraction = 0.9998,
        momentum_progress: PositiveFloat = 1.0,
    ) -> None:
        super().__init__(optimizer, schedule)
        self.backbone = require_vit(backbone, type(self).__name__)
        self.predictor = nn.Linear(self.backbone.out_dim, self.backbone.out_dim)
        self.teacher = cast(ViT, make_teacher(self.backbone))
        self.mask_token = nn.Parameter(torch.empty(self.backbone.out_dim).normal_(std=0.02))
        self.mask_ratio, self.layers, self.beta = mask_ratio, layers, beta
        self.momentum, self.momentum_end, self.momentum_progress = momentum, momentum_end, momentum_progress

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Eq. 2, over the masked patches."""
        x = batch["views"][0]
        masked = blockwise_mask(len(x), self.backbone.grid, (self.mask_ratio, self.mask_ratio), 1.0, x.device)
        tokens = self.backbone.patch_tokens(x)
        with torch.no_grad():
            target = self.targets(x)[masked]
        h = self.backbone.encode(replace_tokens(tokens, masked, self.mask_token))
        predicted = self.predictor(self.backbone.of_patches(h)[masked])
        loss = F.smooth_l1_loss(at_least_float32(predicted), at_least_float32(target), beta=self.beta)
        return {"loss": loss, "embedding": self.backbone.pooled(h).detach(), "weight": masked.sum().to(loss)}

    def targets(self, x: Tensor) -> Tensor:
        """(B, N, D): the mean of the teacher's last blocks, each layer-normalized without scale and shift (Sec. 3.3).

        The mean is normalized once more, as by the authors' commands.
        """
        outputs = self.teacher.encode_layers(self.teacher.patch_tokens(x))[-self.layers :]
        mean = torch.stack([F.layer_norm(at_least_float32(h), h.shape[-1:]) for h in outputs]).mean(dim=0)
        return F.layer_norm(mean, mean.shape[-1:])

    def after_step(self, progress: float) -> None:
        momentum = linear(progress / self.momentum_progress, self.momentum, self.momentum_end)
        move_teacher(self.teacher, self.backbone, momentum)
