"""Clips of video for a run: any source of `VideoDataset`, split, batched and transformed."""

from dataclasses import KW_ONLY, dataclass, field

from ssl_lightning.data.image.datamodule import ImageDataModule
from ssl_lightning.data.video.modality import VideoModality
from ssl_lightning.ranges import AtLeastTwo


@dataclass(eq=False, repr=False)
class VideoDataModule(ImageDataModule):
    """`video (B, T, C, H, W) uint8`, `index (B,)` and, where there are labels, `label (B,)`.

    `frames`: T, which `source` is asked for too. All else as for images.
    """

    provides = ("video", "index", "label")
    modality: VideoModality = field(init=False)

    _: KW_ONLY
    frames: AtLeastTwo

    def __post_init__(self) -> None:
        super().__post_init__()
        self.modality = VideoModality(self.image_size, self.channels, self.mean, self.std)
        self.modality.frames = self.frames
