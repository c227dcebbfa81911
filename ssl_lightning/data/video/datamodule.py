"""Clips of video for a run: any source of `VideoDataset`, split, batched and transformed."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from ssl_lightning.data.image.datamodule import ImageDataModule
from ssl_lightning.data.video.modality import VideoModality
from ssl_lightning.errors import InputError


class VideoDataModule(ImageDataModule):
    """``video (B, T, C, H, W) uint8``, ``index (B,)`` and, where there are labels, ``label (B,)``.

    ``frames``: T, which ``source`` is asked for too. All else as for images.
    """

    provides = ("video", "index", "label")
    modality: VideoModality

    def __init__(
        self,
        source: Callable[..., Any],
        root: str,
        transform: nn.Module,
        *,
        frames: int,
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
            image_size=image_size,
            channels=channels,
            mean=mean,
            std=std,
            batch_size=batch_size,
            num_workers=num_workers,
            val_size=val_size,
            fraction=fraction,
            seed=seed,
            num_classes=num_classes,
        )
        if frames < 2:
            raise InputError(f"data.frames={frames} must be 2 or more")
        self.modality = VideoModality(image_size, channels, mean, std)

    @property
    def channels_found(self) -> int:
        return self.train.shape[1]
