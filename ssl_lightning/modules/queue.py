"""A ring buffer of past keys (MoCo: He et al. 2019, https://arxiv.org/abs/1911.05722, Sec. 3.2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_lightning.distributed import gather
from ssl_lightning.errors import InputError


class Queue(nn.Module):
    """The newest Q = `size` keys as unit rows, `rows` (Q, K). They start as random directions.

    Keys wait until the optimizer's step is done: so no key of a batch is among its own negatives, or neighbors.
    """

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.rows = nn.Buffer(F.normalize(torch.randn(size, dim), dim=1))
        self.pointer = nn.Buffer(torch.zeros((), dtype=torch.long))
        self.waiting: list[Tensor] = []

    def add(self, keys: Tensor) -> None:
        """Keys (B, K) of this rank that wait for `advance`, but in evaluation."""
        if self.training:
            self.waiting.append(keys.detach())

    def advance(self) -> None:
        """Takes the keys that wait, of all ranks; batch by batch, which is one order on any number of devices."""
        for keys in self.waiting:
            self.push(gather(keys))
        self.waiting.clear()

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Replaces the oldest rows by `keys` (B, K), normalized here.

        Raises:
            InputError: more keys than the queue holds.
        """
        size = len(self.rows)
        if len(keys) > size:
            raise InputError(f"{len(keys)} keys do not fit a queue of {size}: raise method.queue_size")
        slots = (self.pointer + torch.arange(len(keys), device=keys.device)) % size
        self.rows.index_copy_(0, slots, F.normalize(keys.to(self.rows.dtype), dim=1))
        self.pointer.copy_((self.pointer + len(keys)) % size)
