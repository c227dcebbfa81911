"""Images for a run: any source of uint8 arrays, split, batched and transformed."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

from ssl_lightning.data.datamodule import DataModule
from ssl_lightning.data.image.modality import ImageModality
from ssl_lightning.errors import InputError
from ssl_lightning.ranges import PositiveFloat, PositiveInt


@dataclass(eq=False, repr=False)
class ImageDataModule(DataModule):
    """`image (B, C, H, W) uint8`, `index (B,)` and, where there are labels, `label (B,)`.

    `image_size`, `mean` and `std` (one number a channel, of pixels in [0, 1]) describe the evaluation view;
    training views are the business of `transform`. `channels` are those of the source; views refuse other images.
    """

    provides: ClassVar[tuple[str, ...]] = ("image", "index", "label")
    modality: ImageModality = field(init=False)

    _: KW_ONLY
    image_size: PositiveInt
    channels: PositiveInt
    mean: Sequence[float]
    std: Sequence[PositiveFloat]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise InputError(f"data.mean and data.std must have one number for each of data.channels={self.channels}")
        self.modality = ImageModality(self.image_size, self.channels, self.mean, self.std)
