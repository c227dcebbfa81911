"""Batch normalization over parts of a device's batch, or over the batches of all devices."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_lightning.distributed import gather, mean_over_ranks, world_size
from ssl_lightning.errors import InputError


class _OtherBatchNorm(nn.Module):
    """With the parameters, the buffers and the evaluation of an ordinary one; a subclass normalizes in training."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.eps, self.momentum = norm.eps, norm.momentum
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = nn.Buffer(norm.running_mean), nn.Buffer(norm.running_var)
        self.num_batches_tracked = nn.Buffer(norm.num_batches_tracked)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        normalized, mean, variance = self.normalized(x)
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_var.lerp_(variance.to(self.running_var), self.momentum)
            self.num_batches_tracked.add_(1)
        return normalized

    def normalized(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A batch (B, C, ...), normalized, with the mean (C,) and the unbiased variance (C,) to be tracked."""
        raise NotImplementedError


class SplitBatchNorm(_OtherBatchNorm):
    """Batch normalization over consecutive groups of the batch: MoCo's many GPUs, simulated on one device.

    In training, (B, C, ...) is split into `splits` groups of B / splits samples, and each group is normalized by its
    own statistics. The running statistics are updated by the mean over the groups of all devices.

    Raises:
        InputError: the batch does not divide into `splits` groups of at least two samples.
    """

    def __init__(self, norm: Any, splits: int) -> None:
        super().__init__(norm)
        self.splits = splits

    def normalized(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if len(x) % self.splits or len(x) < 2 * self.splits:
            raise InputError(
                f"a device's batch of {len(x)} does not divide into {self.splits} groups of two or more: "
                "change data.batch_size or method.bn_splits"
            )
        means = self.running_mean.new_zeros(self.splits, len(self.running_mean))
        variances = torch.ones_like(means)
        groups = [
            F.batch_norm(group, mean, var, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps)
            for group, mean, var in zip(x.chunk(self.splits), means, variances, strict=True)
        ]
        return torch.cat(groups), mean_over_ranks(means.mean(0)), mean_over_ranks(variances.mean(0))


class GatherBatchNorm(_OtherBatchNorm):
    """Batch normalization over the equal batches of all devices, also on CPUs, which `torch.nn.SyncBatchNorm` refuses.

    Each layer gathers mean and variance of every device, with gradient, and merges them.
    """

    def normalized(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        own = torch.stack(torch.var_mean(wide, [0, *range(2, x.ndim)], correction=0))
        variances, means = gather(own[None]).unbind(1)  # (W, C) each
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        scale = (variance + self.eps).rsqrt() * (1 if self.weight is None else self.weight)
        shift = (0 if self.bias is None else self.bias) - mean * scale
        scale, shift = (values.view(-1, *[1] * (x.ndim - 2)) for values in (scale, shift))
        count = world_size() * x.numel() / len(mean)
        return (wide * scale + shift).to(x.dtype), mean, variance * count / (count - 1)


def split_batch_norm(module: nn.Module, splits: int) -> nn.Module:
    """Replaces every batch normalization in `module` by one over `splits` groups, in place; returns the module.

    Raises:
        InputError: a batch normalization that does more than normalize, such as timm's BatchNormAct2d.
    """
    return _replaced(module, lambda norm: SplitBatchNorm(norm, splits), "be split; use method.bn_splits=1")


def gather_batch_norm(module: nn.Module) -> nn.Module:
    """Replaces every batch normalization in `module` by one over all devices, in place; returns the module.

    Raises:
        InputError: a batch normalization that does more than normalize, such as timm's BatchNormAct2d.
    """
    return _replaced(module, GatherBatchNorm, "span several CPUs; use trainer.sync_batchnorm=false")


def _replaced(module: nn.Module, make: Callable[[_BatchNorm], nn.Module], not_possible: str) -> nn.Module:
    if isinstance(module, _BatchNorm):
        ordinary = type(module).forward is _BatchNorm.forward and module.track_running_stats
        if not ordinary or module.momentum is None:
            raise InputError(
                f"the backbone's {type(module).__name__} does more than batch normalization and cannot {not_possible}"
            )
        return make(module).train(module.training)
    for name, child in module.named_children():
        setattr(module, name, _replaced(child, make, not_possible))
    return module
