"""From a batch of raw images to normalized views."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ssl_lightning.errors import InputError
from ssl_lightning.ranges import PositiveInt
from ssl_lightning.transforms import functional
from ssl_lightning.transforms.ops import Op, Params, Shape

Batch = dict[str, Any]

PIECE = 2**17
"""Floats per CPU thread that pass through a chain together: 0.5 MB, which stay in the cache."""


class Chain(Op):
    """Named transforms `ops`, applied one after the other; `count` views are made by it (multi-crop)."""

    reads_uint8 = True

    def __init__(self, count: int = 1, **ops: Op) -> None:
        super().__init__()
        self.count = count
        self.ops = nn.ModuleDict(ops)

    @property
    def steps(self) -> list[Op]:
        return [cast(Op, op) for op in self.ops.values()]

    def draw(self, shape: Shape, generator: torch.Generator) -> list[Params]:
        """The parameters of every op for images of `shape` (B, C, H, W)."""
        params = []
        for op in self.steps:
            params.append(op.draw(shape, generator))
            shape = op.output_shape(shape)
        return params

    def transform(self, images: Tensor, params: list[Params]) -> Tensor:
        """(B, C, H, W) uint8 or float -> (B, C, h, w) float."""
        for op, drawn in zip(self.steps, params, strict=True):
            images = op.transform(images if op.reads_uint8 else functional.to_float(images), drawn)
        return functional.to_float(images)

    def output_shape(self, shape: Shape) -> Shape:
        for op in self.steps:
            shape = op.output_shape(shape)
        return shape


class Normalized(nn.Module):
    """Shared by the views: images of `len(mean)` channels, normalized on whatever device they come.

    Args:
        mean: per channel, of images in [0, 1].
        std: likewise.
    """

    requires: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.tensor(list(mean)), persistent=False)
        self.std = nn.Buffer(torch.tensor(list(std)), persistent=False)

    def images(self, batch: Batch) -> Tensor:
        """The images of a batch, to whose device this module moves: no Trainer moves a DataModule."""
        images = batch["image"]
        if images.shape[1] != len(self.mean):
            raise InputError(f"the images have {images.shape[1]} channels, but data.channels and mean {len(self.mean)}")
        self.to(images.device)
        return images


class MultiView(Normalized):
    """Adds `views`, a list with `count` normalized views (B, C, h, w) of every image per chain.

    Args:
        views: the chains, in order.
        mean: per channel, of images in [0, 1].
        std: likewise.
        channels: C of the images that the views are for; None: any.
    """

    produces: ClassVar[tuple[str, ...]] = ("views",)

    def __init__(
        self, views: Mapping[str, Chain], mean: Sequence[float], std: Sequence[float], channels: int | None = None
    ) -> None:
        super().__init__(mean, std)
        if channels not in (None, len(mean)):
            raise InputError(f"these views are for images of {channels} channel(s), and mean has {len(mean)}")
        self.views = nn.ModuleDict(views)
        sizes = [chain.output_shape((1, 1, 1, 1))[2:] for chain in views.values()]
        if any(chain.count > 1 and size == sizes[0] for chain, size in zip(views.values(), sizes, strict=True)):
            raise InputError("local crops are as large as the global ones: lower transform.views.local.crop.size")

    def forward(self, batch: Batch, generator: torch.Generator) -> Batch:
        images = self.images(batch)
        chains = [cast(Chain, chain) for chain in self.views.values()]
        views = [self._view(chain, images, generator) for chain in chains for _ in range(chain.count)]
        return {**batch, "views": views}

    def _view(self, chain: Chain, images: Tensor, generator: torch.Generator) -> Tensor:
        B, C, H, W = images.shape
        params = chain.draw((B, C, H, W), generator)
        shape = chain.output_shape((B, C, H, W))
        view = torch.empty(shape, device=images.device)
        on_cpu = images.device.type == "cpu"
        step = max(1, PIECE * torch.get_num_threads() // (shape[1] * shape[2] * shape[3])) if on_cpu else B
        for start in range(0, B, step):
            piece = slice(start, start + step)
            drawn = [{name: value[piece] for name, value in op.items()} for op in params]
            functional.normalize(chain.transform(images[piece], drawn), self.mean, self.std, out=view[piece])
        return view


class EvaluationView(Normalized):
    """The view of evaluation: replaces `image` by its normalized largest central square, resized to `size`."""

    produces = ("image",)

    def __init__(self, size: PositiveInt, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(mean, std)
        self.size = size

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        square = functional.central_square(self.images(batch), self.size)
        return {**batch, "image": functional.normalize(square, self.mean, self.std)}
