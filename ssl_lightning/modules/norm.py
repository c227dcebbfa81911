"""Batch normalization over parts of a device's batch, or over the batches of all devices."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_lightning.distributed import gather, mean_over_ranks, world_size
from ssl_lightning.errors import InputError


class SplitBatchNorm(nn.Module):
    """Batch normalization over consecutive groups of the batch: MoCo's many GPUs, simulated on one device.

    In training, (B, C, ...) is split into `splits` groups of B / splits samples, and each group is normalized by its
    own statistics. The running statistics are updated by the mean over the groups of all devices. Evaluation,
    parameters and buffers are those of ordinary batch normalization.

    Raises:
        InputError: the batch does not divide into `splits` groups of at least two samples.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: _BatchNorm, splits: int) -> None:
        super().__init__()
        if norm.momentum is None:
            raise InputError("batch normalization with a cumulative average cannot be split: use method.bn_splits=1")
        self.splits, self.eps, self.momentum = splits, norm.eps, norm.momentum
        self.weight, self.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
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
        with torch.no_grad():
            self.running_mean.lerp_(mean_over_ranks(means.mean(0)), self.momentum)
            self.running_var.lerp_(mean_over_ranks(variances.mean(0)), self.momentum)
            self.num_batches_tracked.add_(1)
        return torch.cat(groups)


class GatherBatchNorm(_BatchNorm):
    """Batch normalization over the batches of all devices, also on CPUs, which `torch.nn.SyncBatchNorm` refuses.

    Each layer gathers count, mean and sum of squares of every device, with gradient, and merges them (Chan, Golub and
    LeVeque 1979, Eq. 2.1). So devices with unequal batches get the right weight.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Accepts any (B, C, ...)."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(input)
        axes = [0, *range(2, input.ndim)]
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        own = x.mean(axes)
        squares = (x - _along_channels(own, x)).square().sum(axes)
        count = torch.full_like(own, x.numel() / len(own))
        counts, means, sums = gather(torch.stack([count, own, squares])[None]).unbind(1)  # each (W, C)
        total = counts.sum(0)
        mean = (counts * means).sum(0) / total
        variance = (sums + counts * (means - mean).square()).sum(0) / total
        self._track(mean.detach(), (variance * total / (total - 1)).detach())
        scale = (variance + self.eps).rsqrt() * (1 if self.weight is None else self.weight)
        shift = (0 if self.bias is None else self.bias) - mean * scale
        return (x * _along_channels(scale, x) + _along_channels(shift, x)).to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)


def _along_channels(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.ndim - 2))


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

    def gathering(norm: _BatchNorm) -> nn.Module:
        twin = GatherBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        for name, value in (*norm.named_parameters(), *norm.named_buffers()):
            setattr(twin, name, value)
        return twin.train(norm.training)

    return _replaced(module, gathering, "span several CPUs; use trainer.sync_batchnorm=false")


def _replaced(module: nn.Module, make: Callable[[_BatchNorm], nn.Module], not_possible: str) -> nn.Module:
    if isinstance(module, _BatchNorm):
        if type(module).forward is not _BatchNorm.forward:
            raise InputError(
                f"the backbone's {type(module).__name__} does more than batch normalization and cannot {not_possible}"
            )
        return make(module)
    for name, child in module.named_children():
        setattr(module, name, _replaced(child, make, not_possible))
    return module
