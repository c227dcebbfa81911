"""Loss of pretext tasks with K classes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.losses.precision import in_float32


@in_float32()
def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy and accuracy: two scalars, the second without gradient.

    `logits`: (B, K); `targets`: (B,) in 0..K-1.
    """
    if logits.ndim != 2 or targets.shape != logits.shape[:1]:
        raise InputError(f"cross_entropy needs (B, K) and (B,), got {tuple(logits.shape)} and {tuple(targets.shape)}")
    right = logits.detach().argmax(dim=1) == targets
    return F.cross_entropy(logits, targets), right.to(torch.float32).mean()
