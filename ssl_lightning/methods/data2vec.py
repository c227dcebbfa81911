"""data2vec: A General Framework for Self-supervised Learning in Speech, Vision and Language.

Baevski, Hsu, Xu, Babu, Gu and Auli, 2022. https://arxiv.org/abs/2202.03555
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_lightning.losses.precision import at_least_float32
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.audio import AudioEncoder
from ssl_lightning.modules.backbones.language_model import masked_mean
from ssl_lightning.modules.backbones.vit import ViT, require_vit
from ssl_lightning.modules.ema import make_teacher, move_teacher
from ssl_lightning.modules.masked_sound import MaskedSound
from ssl_lightning.modules.masking import blockwise_mask
from ssl_lightning.modules.patches import replace_tokens
from ssl_lightning.optim.schedules import linear
from ssl_lightning.ranges import Fraction, PositiveFloat, PositiveInt


class _Data2Vec(Method):
    """What images and sound share: the loss and the teacher. A subclass tells what the student and the teacher make."""

    min_batch_size = 1

    layers: PositiveInt = 6
    beta: PositiveFloat = 2.0
    momentum: Fraction = 0.9998
    momentum_end: Fraction = 0.9998
    momentum_progress: PositiveFloat = 1.0

    def __post_init__(self) -> None:
        self.teacher: Any = make_teacher(self.backbone)
        self.predictor = nn.Linear(self.backbone.out_dim, self.backbone.out_dim)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Sec. 3.4: the smooth L1 error over the masked tokens."""
        h, masked, embedding = self.student(batch)
        with torch.no_grad():
            target = self.targets(batch)[masked]
        predicted = self.predictor(h[masked])
        loss = F.smooth_l1_loss(at_least_float32(predicted), at_least_float32(target), beta=self.beta)
        return {"loss": loss, "embedding": embedding.detach(), "weight": masked.sum().to(loss)}

    def student(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Its output (B, N, D) for tokens of which some are hidden, which are `masked` (B, N), its embedding (B, D)."""
        raise NotImplementedError

    def targets(self, batch: Mapping[str, Any]) -> Tensor:
        """(B, N, D): what the teacher makes of all tokens."""
        raise NotImplementedError

    def after_step(self, progress: float) -> None:
        momentum = linear(progress / self.momentum_progress, self.momentum, self.momentum_end)
        move_teacher(self.teacher, self.backbone, momentum)


class Data2Vec(_Data2Vec):
    """From an image with masked patches, predicts an EMA teacher's contextualized representations of these patches.

    As in the authors' code for images, all weights of the teacher follow, also its patch embedding, and blocks count
    with their residual connection. Deviations, for small networks: a plain ViT without relative positions, LayerScale
    and drop path; blocks of at least 4 masked patches instead of 16 (`blockwise_mask`); gradients are clipped only by
    `trainer.gradient_clip_val` (theirs: 3).

    Args:
        backbone: a ViT.
        mask_ratio: fraction of the patches that are masked, in blocks.
        layers: number of the teacher's last blocks whose outputs are averaged to a target.
        beta: the error below which the loss is quadratic (Sec. 3.4).
        momentum: initial momentum of the teacher.
        momentum_end: the momentum to which it rises linearly (Sec. 3.3); constant for images in the paper.
        momentum_progress: fraction of the training in which it rises.
    """

    views = 1
    backbone_kind = "vit"

    backbone: ViT
    mask_ratio: Fraction = 0.6

    def __post_init__(self) -> None:
        require_vit(self.backbone, "Data2Vec")
        super().__post_init__()
        self.mask_token = nn.Parameter(torch.empty(self.backbone.out_dim).normal_(std=0.02))

    def student(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        x = batch["views"][0]
        masked = blockwise_mask(len(x), self.backbone.grid, (self.mask_ratio, self.mask_ratio), 1.0, x.device)
        h = self.backbone.encode(replace_tokens(self.backbone.patch_tokens(x), masked, self.mask_token))
        return self.backbone.of_patches(h), masked, self.backbone.pooled(h)

    def targets(self, batch: Mapping[str, Any]) -> Tensor:
        """The mean of the last blocks, each layer-normalized without scale and shift (Sec. 3.3).

        The mean is normalized once more and whole blocks are taken, as by the authors' commands; footnote 5 has their
        feed-forward parts.
        """
        outputs = self.teacher.encode_layers(self.teacher.patch_tokens(batch["views"][0]))[-self.layers :]
        mean = torch.stack([F.layer_norm(at_least_float32(h), h.shape[-1:]) for h in outputs]).mean(dim=0)
        return F.layer_norm(mean, mean.shape[-1:])


class Data2VecAudio(MaskedSound, _Data2Vec):
    """From a clip with masked spans, predicts an EMA teacher's contextualized representations of the hidden frames.

    Deviations: the teacher's convolutions and positions follow the student's, too, instead of being the student's, so
    that the teacher is a whole encoder, as for images. The loss is that of images, too; the paper's for speech is the
    square (Sec. 4.2), which smooth L1 is for errors below `beta`.

    Args:
        backbone: encoder of sound.
        start_probability: p, fraction of the frames at which a masked span begins.
        span: length of a masked span in frames.
        layers: number of the teacher's last layers whose outputs are averaged to a target.
        beta, momentum, momentum_end, momentum_progress: as those of `Data2Vec`.
    """

    in_evaluation = ("teacher",)

    backbone: AudioEncoder
    layers: PositiveInt = 8
    momentum: Fraction = 0.999
    momentum_end: Fraction = 0.9999
    start_probability: Fraction = 0.065
    span: PositiveInt = 10

    def student(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        features, visible, masked = self.masked_frames(batch)
        h = self.backbone.context(features, visible, masked)
        return h, masked, masked_mean(h, visible)

    def targets(self, batch: Mapping[str, Any]) -> Tensor:
        """The mean of the last layers' feed-forward parts, before they are added to what the layers got (footnote 5).

        Each is normalized over the frames of its clip (Sec. 3.3: instance norm).
        """
        features, visible = self.teacher.features(batch["waveform"], batch["length"])
        outputs = self.teacher.layers(features, visible, part="feed_forward")[-1 - self.layers : -1]
        return torch.stack([_normalized(at_least_float32(h), visible) for h in outputs]).mean(dim=0)


def _normalized(h: Tensor, visible: Tensor) -> Tensor:
    """(B, T, D) with mean 0 and variance 1 over the frames that are `visible` (B, T)."""
    h = h - masked_mean(h, visible)[:, None]
    return h / (masked_mean(h.square(), visible)[:, None] + 1e-5).sqrt()
