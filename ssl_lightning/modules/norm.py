"""Batch normalisation in groups, as if each group were on a device of its own."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_lightning.errors import InputError


class SplitBatchNorm(nn.Module):
    """Batch normalisation over consecutive groups of the batch (the single-device stand-in for MoCo's many GPUs).

    In training, (B, C, ...) is cut into `splits` groups of B / splits samples and each is normalised by its own
    statistics; the running ones move by the mean over the groups. In evaluation it is ordinary batch normalisation,
    and so are its parameters and buffers, by the same names.

    Raises:
        InputError: a batch that does not divide into `splits` groups of two or more.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: _BatchNorm, splits: int) -> None:
        super().__init__()
        if norm.momentum is None:
            raise InputError("batch normalisation with a cumulative average cannot be split: use method.bn_splits=1")
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
            self.running_mean.lerp_(means.mean(0), self.momentum)
            self.running_var.lerp_(variances.mean(0), self.momentum)
            self.num_batches_tracked.add_(1)
        return torch.cat(groups)


def split_batch_norm(module: nn.Module, splits: int) -> nn.Module:
    """Replaces every batch normalisation in `module`, in place, by one over `splits` groups; returns the module.

    Raises:
        InputError: a kind of batch normalisation that does more than normalise, as timm's BatchNormAct2d.
    """
    if isinstance(module, _BatchNorm):
        if type(module).forward is not _BatchNorm.forward:
            raise InputError(
                f"the backbone's {type(module).__name__} does more than batch normalisation and cannot be split;"
                " use method.bn_splits=1"
            )
        return SplitBatchNorm(module, splits)
    for name, child in module.named_children():
        setattr(module, name, split_batch_norm(child, splits))
    return module
