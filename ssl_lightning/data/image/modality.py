"""Images as commands and callbacks see them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ssl_lightning.data.image.decode import decode
from ssl_lightning.data.image.image_folder import EXTENSIONS
from ssl_lightning.data.modality import Batch, Modality
from ssl_lightning.errors import told
from ssl_lightning.figures.images import columns_figure, unnormalized
from ssl_lightning.transforms.functional import central_square, contrast, gaussian_blur
from ssl_lightning.transforms.ops import RandomResizedCrop
from ssl_lightning.transforms.views import EvaluationView

_AREA = (0.4, 1.0)
"""Of random boxes for a linear probe, as in He et al. 2020, https://arxiv.org/abs/1911.05722, Sec. 4.1.

Deviation: not from 0.08 on, and not mirrored: a digit or a letter would become another one.
"""


class ImageModality(Modality):
    """`image` (B, C, H, W) uint8; networks see `channels` of `image_size` squared, normalized by `mean` and `std`."""

    name = "image"
    key = "image"
    extensions = EXTENSIONS

    def __init__(self, image_size: int, channels: int, mean: Sequence[float], std: Sequence[float]) -> None:
        self.image_size, self.channels, self.mean, self.std = image_size, channels, tuple(mean), tuple(std)
        self.view = EvaluationView(image_size, mean, std)
        self.augmentation = RandomResizedCrop(image_size, scale=_AREA, flip=0.0)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.channels, self.image_size, self.image_size

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"image_size": self.image_size, "channels": self.channels}

    def evaluation_view(self, batch: Batch) -> Batch:
        """The batch with its `image` as (B, C, image_size, image_size) normalized floats."""
        return self.view(batch)

    @property
    def corruptions(self) -> Mapping[str, Sequence[Callable[[Batch], Batch]]]:
        """Gaussian noise and low contrast as strong as in ImageNet-C, blur as in CIFAR-C, by the side of the image.

        Hendrycks and Dietterich 2019, https://arxiv.org/abs/1903.12261, and their code. Noise is the same at each call.
        """
        blur = [sigma / 32 * self.image_size for sigma in (0.4, 0.6, 0.7, 0.8, 1.0)]
        kinds: dict[str, tuple[Any, Sequence[float]]] = {
            "noise": (_noisy, (0.08, 0.12, 0.18, 0.26, 0.38)),
            "blur": (_blurred, blur),
            "contrast": (_pale, (0.4, 0.3, 0.2, 0.1, 0.05)),
        }
        return {
            kind: [partial(self._corrupted, function, strength) for strength in strengths]
            for kind, (function, strengths) in kinds.items()
        }

    def _corrupted(self, function: Callable[[Tensor, float], Tensor], strength: float, batch: Batch) -> Batch:
        images = batch[self.key]
        squares = central_square(images.flatten(0, -4), self.image_size)
        return {**batch, self.key: function(squares, strength).unflatten(0, images.shape[:-3])}

    def draw(self, columns: Mapping[str, Tensor], names: Sequence[str] = ()) -> Figure:
        return columns_figure(self.looked_at(columns), names)

    def looked_at(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Normalized columns in [0, 1]."""
        return {title: unnormalized(column, self.mean, self.std) for title, column in columns.items()}

    def thumbnails(self, batch: Batch) -> Tensor:
        """Each image, or the first frame of each clip."""
        images = unnormalized(self.evaluation_view(batch)[self.key], self.mean, self.std)
        return images if images.ndim == 4 else images[:, 0]

    def read_samples(self, samples: Sequence[Any]) -> Batch:
        """Of image files or PIL images: (B, C, image_size, image_size) uint8."""
        return {"image": self.decoded(samples)}

    def decoded(self, images: Sequence[Path | Image.Image]) -> Tensor:
        """(N, C, image_size, image_size) uint8, each the central square of a file or image."""
        return torch.from_numpy(np.stack([self._decoded(image) for image in images]))

    def _decoded(self, image: Path | Image.Image) -> np.ndarray:
        with told(f"{image} cannot be read as an image"):
            return decode(image, self.image_size, self.channels)


def _noisy(images: Tensor, std: float) -> Tensor:
    generator = torch.Generator(images.device).manual_seed(0)
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + std * noise).clamp(0, 1)


def _blurred(images: Tensor, sigma: float) -> Tensor:
    size = min(2 * round(3 * sigma) + 1, 2 * min(images.shape[2:]) - 1)
    return gaussian_blur(images, torch.full((len(images),), sigma, device=images.device), size)


def _pale(images: Tensor, factor: float) -> Tensor:
    return contrast(images, torch.full((len(images),), factor, device=images.device))
