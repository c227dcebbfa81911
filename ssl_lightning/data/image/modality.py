"""Images as commands and callbacks see them."""

from collections.abc import Mapping, Sequence
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
from ssl_lightning.errors import InputError
from ssl_lightning.figures.images import columns_figure, unnormalized
from ssl_lightning.transforms.views import EvaluationView


class ImageModality(Modality):
    """`image` (B, C, H, W) uint8; networks see `channels` of `image_size` squared, normalized by `mean` and `std`."""

    name = "image"
    key = "image"
    extensions = EXTENSIONS

    def __init__(self, image_size: int, channels: int, mean: Sequence[float], std: Sequence[float]) -> None:
        self.image_size, self.channels, self.mean, self.std = image_size, channels, tuple(mean), tuple(std)
        self.view = EvaluationView(image_size, mean, std)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"image_size": self.image_size, "channels": self.channels}

    def evaluation_view(self, batch: Batch) -> Batch:
        """The batch with its `image` as (B, C, image_size, image_size) normalized floats."""
        return self.view(batch)

    def draw(self, columns: Mapping[str, Tensor], names: Sequence[str] = ()) -> Figure:
        return columns_figure(self.looked_at(columns), names)

    def looked_at(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Normalized columns in [0, 1]."""
        return {title: unnormalized(column, self.mean, self.std) for title, column in columns.items()}

    def read_samples(self, samples: Sequence[Any]) -> Batch:
        """Of image files or PIL images: (B, C, image_size, image_size) uint8."""
        return {"image": self.decoded(samples)}

    def decoded(self, images: Sequence[Path | Image.Image]) -> Tensor:
        """(N, C, image_size, image_size) uint8, each the central square of a file or image."""
        return torch.from_numpy(np.stack([self._decoded(image) for image in images]))

    def _decoded(self, image: Path | Image.Image) -> np.ndarray:
        try:
            return decode(image, self.image_size, self.channels)
        except (OSError, ValueError, SyntaxError, AttributeError, Image.DecompressionBombError) as error:
            raise InputError(f"{image} cannot be read as an image ({type(error).__name__})") from error
