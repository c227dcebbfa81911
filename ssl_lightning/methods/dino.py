"""DINO: Emerging Properties in Self-Supervised Vision Transformers.

Caron, Touvron, Misra, Jégou, Mairal, Bojanowski and Joulin, 2021. https://arxiv.org/abs/2104.14294
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_lightning.distributed import mean_over_ranks
from ssl_lightning.losses.clustering import swapped
from ssl_lightning.losses.precision import at_least_float32
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.vit import ViT
from ssl_lightning.modules.ema import make_teacher, move_teacher
from ssl_lightning.modules.heads import dino_head
from ssl_lightning.modules.multi_crop import count_global, encode_by_size
from ssl_lightning.optim.schedules import momentum_cosine, warmed
from ssl_lightning.ranges import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, PositiveSpan


class DINO(Method):
    """The student's distribution over prototypes, for any crop, must match that of an EMA teacher for a global crop.

    Centering and a low temperature of the teacher keep both from collapsing. Defaults are those of the authors' code.
    Deviations, for small networks: no drop path; gradients are clipped only by `trainer.gradient_clip_val` (theirs:
    those of each weight, to a norm of 3).

    Args:
        backbone: network from (B, C, H, W), of any size H = W, to (B, D), with `out_dim` D.
        hidden_dim: width of the hidden layers of the head.
        bottleneck_dim: width of the head's normalized output.
        prototypes: P, number of the head's prototypes.
        head_norm: whether the hidden layers of the head are batch-normalized, crops of each size by themselves; the
            paper has no such norm, and finds that it has little impact (App. C).
        temperature: temperature of the student.
        teacher_temperature: temperature of the teacher, first and last, between which it rises linearly; 0.04 and 0.07
            in the paper, in 30 epochs.
        teacher_warmup_epochs: number of epochs in which it rises.
        freeze_epochs: number of epochs in which the prototypes do not move.
        momentum: initial momentum of the teacher; it rises to 1 along a cosine.
        center_momentum: momentum of the center.
        weight_decay_end: weight decay at the end, which it approaches along a cosine; None: constant.
    """

    hidden_dim: PositiveInt = 2048
    bottleneck_dim: PositiveInt = 256
    prototypes: PositiveInt = 65536
    head_norm: bool = False
    temperature: PositiveFloat = 0.1
    teacher_temperature: PositiveSpan = (0.04, 0.04)
    teacher_warmup_epochs: NonNegativeFloat = 0
    freeze_epochs: NonNegativeFloat = 1
    momentum: Fraction = 0.996
    center_momentum: Fraction = 0.9
    weight_decay_end: NonNegativeFloat | None = 0.4

    def __post_init__(self) -> None:
        dims = (self.backbone.out_dim, self.hidden_dim, self.bottleneck_dim, self.prototypes)
        self.head = dino_head(*dims, self.head_norm)
        self.teacher = make_teacher(nn.ModuleList([self.backbone, self.head]))
        self.center = nn.Buffer(torch.zeros(self.prototypes))
        self.fresh: list[Tensor] = []

    @property
    def encoder(self) -> Any:
        """The teacher, which the paper evaluates."""
        return self.teacher[0]  # type: ignore[index]

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Algorithm 1 with multi-crop (Eq. 3); `teacher_entropy` in nats tells a collapse, as 0 or log P."""
        views = batch["views"]
        with torch.no_grad():
            global_views = torch.cat(views[: count_global(views)])
            h = self(global_views)
            scores = self.teacher[1](h)  # type: ignore[index]
            temperature = warmed(self.epoch, self.teacher_warmup_epochs, self.teacher_temperature)
            targets = F.softmax((at_least_float32(scores) - self.center) / temperature, dim=1)
        if self.training:
            self.fresh.append(at_least_float32(scores).mean(dim=0))
        students = encode_by_size(lambda x: self.head(self.backbone(x)), views)
        global_targets = list(targets.chunk(count_global(views)))
        entropy = -(targets * targets.clamp(min=1e-12).log()).sum(dim=1).mean()
        loss = swapped(students, global_targets, self.temperature)
        return {"loss": loss, "embedding": h[: len(views[0])], "teacher_entropy": entropy}

    def frozen(self) -> list[Any]:
        return [self.head[1].weight] if self.epoch < self.freeze_epochs else []

    def after_step(self, progress: float) -> None:
        student = nn.ModuleList([self.backbone, self.head])
        move_teacher(self.teacher, student, momentum_cosine(progress, self.momentum, 1.0))
        mean = mean_over_ranks(torch.stack(self.fresh).mean(dim=0))
        self.center.lerp_(mean.to(self.center), 1 - self.center_momentum)
        self.fresh.clear()

    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """Of a ViT with a class token: `image`, and how the heads of its last block attend to it (Fig. 1)."""
        vit = self.teacher[0]  # type: ignore[index]
        if not isinstance(vit, ViT) or vit.class_token is None:
            return None
        x = batch["views"][0]
        maps = vit.attention(x).unflatten(2, (vit.grid, vit.grid))  # (B, heads, grid, grid)
        maps = F.interpolate(maps / maps.amax(dim=(2, 3), keepdim=True), size=x.shape[2:], mode="nearest")
        return {"image": x, **{f"head {i}": maps[:, i : i + 1] for i in range(maps.shape[1])}}
