"""Which samples make which batch: a pure function of (seed, epoch), so a run can begin at any batch of any epoch."""

import hashlib
from collections.abc import Iterator

import numpy as np

from ssl_lightning.errors import InputError


class BatchSampler:
    """Batches of positions for one of `world_size` processes.

    `batch_size` is global: every global batch is cut into `world_size` contiguous slices, one a process, so that
    the processes together see what one process with the whole batch would see.

    Training: the order is drawn, every slice is full, and the samples that fill no batch are left out of this epoch.
    Evaluation: samples come in order, each exactly once over all processes. The slices of the last batch may differ by
    one sample, and empty ones are not yielded.
    """

    def __init__(
        self, size: int, batch_size: int, rank: int = 0, world_size: int = 1, seed: int = 0, training: bool = True
    ) -> None:
        if training and batch_size % world_size:
            raise InputError(
                f"data.batch_size={batch_size} is the global batch and must be divisible by the {world_size} devices; "
                f"try {max(1, batch_size // world_size) * world_size}"
            )
        if training and batch_size > size:
            raise InputError(
                f"data.batch_size={batch_size} is larger than the set of {size} samples that data.val_size and"
                " data.fraction leave of the data"
            )
        self.size, self.batch_size, self.rank, self.world_size = size, batch_size, rank, world_size
        self.seed, self.training = seed, training
        self.epoch = 0
        self.start_batch = 0

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Takes effect at the next `iter`: which order, and how many of its first batches to pass over."""
        self.epoch, self.start_batch = epoch, start_batch

    def order(self) -> np.ndarray:
        """(size,) int64: the positions in the order of this epoch, the same on every process."""
        if not self.training:
            return np.arange(self.size)
        return np.random.default_rng(mix("order", self.seed, self.epoch)).permutation(self.size)

    def _slice(self, batch: int) -> tuple[int, int]:
        start = batch * self.batch_size
        width = min(self.batch_size, self.size - start)
        return start + width * self.rank // self.world_size, start + width * (self.rank + 1) // self.world_size

    def __len__(self) -> int:
        """Batches in a whole epoch of this process, wherever the next `iter` begins."""
        full, rest = divmod(self.size, self.batch_size)
        if self.training or not rest:
            return full
        low, high = self._slice(full)
        return full + (high > low)

    def __iter__(self) -> Iterator[np.ndarray]:
        order = self.order()
        for batch in range(self.start_batch, len(self)):
            low, high = self._slice(batch)
            yield order[low:high]


def mix(*parts: int | str) -> int:
    """A well mixed 63-bit seed: equal parts give the same seed on every machine, other parts an unrelated one."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
