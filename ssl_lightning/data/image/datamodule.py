"""Images for a run: any source of uint8 arrays, split, batched and transformed."""

from collections.abc import Callable, Sequence

from torch import nn

from ssl_lightning.data.datamodule import DataModule
from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.image.modality import ImageModality
from ssl_lightning.errors import InputError


class ImageDataModule(DataModule):
    """``image (B, C, H, W) uint8``, ``index (B,)`` and, where there are labels, ``label (B,)``.

    ``image_size``, ``mean`` and ``std`` (one number a channel, of pixels in [0, 1]) describe the evaluation view;
    training views are the business of ``transform``. ``channels`` must be those of the source. ``num_classes`` is
    counted from the source if it is None.
    """

    provides = ("image", "index", "label")
    modality: ImageModality

    def __init__(
        self,
        source: Callable[..., ImageDataset],
        root: str,
        transform: nn.Module,
        *,
        image_size: int,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int,
        num_workers: int = 0,
        val_size: int | float = 0,
        fraction: float = 1.0,
        seed: int = 0,
        num_classes: int | None = None,
    ) -> None:
        super().__init__(
            source,
            root,
            transform,
            batch_size=batch_size,
            num_workers=num_workers,
            val_size=val_size,
            fraction=fraction,
            seed=seed,
        )
        if len(mean) != channels or len(std) != channels:
            raise InputError(f"data.mean and data.std must have one number for each of data.channels={channels}")
        self.modality = ImageModality(image_size, channels, mean, std)
        self.num_classes = num_classes

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if self.channels_found != self.modality.channels:
            raise InputError(f"data.channels={self.modality.channels}, but the images have {self.channels_found}")
        classes = None if self.classes is None else len(self.classes)
        if self.num_classes is None:
            self.num_classes = classes
        elif classes is not None and classes != self.num_classes:
            raise InputError(f"data.num_classes={self.num_classes}, but the images have {classes} classes")

    @property
    def channels_found(self) -> int:
        """Channels of the images of the source, after ``setup``."""
        return self.train.images.shape[1]
