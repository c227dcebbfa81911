"""wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations.

Baevski, Zhou, Mohamed and Auli, 2020. https://arxiv.org/abs/2006.11477
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.distributed import mean_over_ranks
from ssl_lightning.errors import InputError
from ssl_lightning.losses.contrastive import among_distractors
from ssl_lightning.losses.precision import at_least_float32
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.audio import AudioEncoder
from ssl_lightning.modules.backbones.language_model import masked_mean
from ssl_lightning.modules.masked_sound import MaskedSound
from ssl_lightning.modules.masking import distractors, draw_for_all_ranks
from ssl_lightning.modules.quantizer import ProductQuantizer, gumbel, perplexity
from ssl_lightning.ranges import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt


class Wav2Vec2(MaskedSound, Method):
    """From a clip with masked spans, tells the quantized frame that was masked from others of the same clip.

    Args:
        backbone: encoder of sound.
        start_probability: p, fraction of the frames at which a masked span begins.
        span: M, length of a masked span in frames.
        groups: G, codebooks of the quantizer.
        codes: V, codes of each.
        code_dim: width of a quantized frame.
        out_dim: width in which predictions and targets are compared.
        negatives: K, distractors of each masked frame.
        temperature: divides the cosine similarities.
        softmax_temperature: of the Gumbel softmax at the beginning.
        softmax_temperature_end: at the end. Deviation: the last step reaches it, by the same factor at every step, so
            that runs may be short; the paper's 0.999995 takes 277,000 steps from 2 down to 0.5 (Sec. 4.2).
        diversity_weight: alpha, of the loss that keeps all codes in use.
        penalty_weight: of the mean square of the frames before the Transformer (10 in the authors' code).
        feature_gradient: multiplies the gradient that reaches the convolutions (Sec. 4.2: 0.1).
    """

    figures = {
        "val/masked_accuracy": ("hidden frames told from distractors", "{:.1%}"),
        "val/code_perplexity": ("codes in use", "{:.1f}"),
    }

    def __init__(
        self,
        backbone: AudioEncoder,
        optimizer: Callable[..., Any],
        schedule: Callable[..., Any],
        start_probability: Fraction = 0.065,
        span: PositiveInt = 10,
        groups: PositiveInt = 2,
        codes: PositiveInt = 320,
        code_dim: PositiveInt = 256,
        out_dim: PositiveInt = 256,
        negatives: PositiveInt = 100,
        temperature: PositiveFloat = 0.1,
        softmax_temperature: PositiveFloat = 2.0,
        softmax_temperature_end: PositiveFloat = 0.5,
        diversity_weight: NonNegativeFloat = 0.1,
        penalty_weight: NonNegativeFloat = 10.0,
        feature_gradient: Fraction = 0.1,
    ) -> None:
        super().__init__(optimizer, schedule)
        if code_dim % groups:
            raise InputError(f"method.code_dim={code_dim} does not divide into method.groups={groups}")
        self.backbone = backbone
        self.quantizer = ProductQuantizer(backbone.feature_dim, groups, codes, code_dim)
        self.projector = nn.Linear(backbone.out_dim, out_dim)
        self.target_projector = nn.Linear(code_dim, out_dim)
        self.start_probability, self.span, self.distractors = start_probability, span, negatives
        self.temperature, self.softmax_temperatures = temperature, (softmax_temperature, softmax_temperature_end)
        self.diversity_weight, self.penalty_weight = diversity_weight, penalty_weight
        self.feature_gradient = feature_gradient
        self.collapse_below = {"code_perplexity": 1.5 * groups}  # one code a group leaves no distractors: the loss is 0

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Eq. 2: contrastive and diversity loss, and the penalty of Sec. 4.2, over the masked frames."""
        features, visible, masked = self.masked_frames(batch)
        features = features * self.feature_gradient + features.detach() * (1 - self.feature_gradient)
        h = self.backbone.context(features, visible, masked)
        q, codes, probabilities = self._quantized(features)
        places = distractors(masked, self.distractors)
        c, q = self.projector(h), self.target_projector(q)
        contrastive, accuracy = among_distractors(c, q, codes, masked, places, self.temperature)
        loss = contrastive + self.diversity_weight * self._diversity(probabilities[masked])
        loss = loss + self.penalty_weight * _mean_square(features, visible, masked)
        used = nn.functional.one_hot(codes[masked], probabilities.shape[-1]).to(probabilities)
        return {
            "loss": loss,
            "embedding": masked_mean(h.detach(), visible),
            "contrastive_loss": contrastive,
            "masked_accuracy": accuracy,
            "code_perplexity": perplexity(_mean_of_all(used)),
            "weight": masked.sum().to(loss),
        }

    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The sound, the frames that are hidden from the Transformer, and the codes of each group, 0 in padding."""
        features, visible, masked = self.masked_frames(batch)
        codes = self.quantizer(self.backbone.normalized(features))[1]
        columns = {f"codes, group {number + 1}": (x + 1) * visible for number, x in enumerate(codes.unbind(dim=2))}
        return {"sound": batch["waveform"], "hidden": masked.float(), **columns}

    def _quantized(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`ProductQuantizer` of all frames; in training with noise, and by a temperature that falls."""
        x = self.backbone.normalized(features)
        if not self.training:
            return self.quantizer(x)
        start, end = self.softmax_temperatures
        scores = self.quantizer.scores.out_features
        noise = gumbel(draw_for_all_ranks(torch.rand, *x.shape[:2], scores, device=x.device))
        return self.quantizer(x, noise, start * (end / start) ** self.progress)

    @staticmethod
    def _diversity(probabilities: Tensor) -> Tensor:
        """From the probabilities (M, G, V) of the masked frames: 0 if all codes are alike, near 1 for one a group.

        By the perplexity of the mean, as in footnote 2 and the authors' code, not by its entropy as in Eq. 4. The mean
        is over the frames of all ranks, but of one micro-batch where gradients are accumulated.
        """
        mean = _mean_of_all(probabilities)
        return 1 - perplexity(mean) / mean.numel()


def _mean_of_all(rows: Tensor) -> Tensor:
    """The mean over the rows of all ranks, whose numbers may differ."""
    count = rows.new_tensor(len(rows))
    return mean_over_ranks(rows.sum(dim=0)) / mean_over_ranks(count)


def _mean_square(features: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
    """Of the frames (B, T, C) that are not padding; each clip is weighted by its masked frames, as in the loss."""
    each = masked_mean(at_least_float32(features).square().mean(dim=2, keepdim=True), visible)[:, 0]
    return (each * masked.sum(dim=1)).sum() / masked.sum()
