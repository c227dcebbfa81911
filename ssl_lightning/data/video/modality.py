"""Clips of video as commands and callbacks see them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lightning.data.folder import files_at
from ssl_lightning.data.image.modality import ImageModality
from ssl_lightning.data.modality import Batch, Samples, UserInput
from ssl_lightning.errors import InputError
from ssl_lightning.figures.clips import clip_figure, write_gif


class VideoModality(ImageModality):
    """`video` (B, T, C, H, W) uint8, each frame as an image."""

    name = "video"
    key = "video"
    raw_name = "raw input, mean frame"

    frames: int
    """Of a clip."""

    def __init__(self, image_size: int, channels: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(image_size, channels, mean, std)
        self.augmentation = None

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.frames, *super().sample_shape

    def evaluation_view(self, batch: Batch) -> Batch:
        """The batch with its `video` as (B, T, C, image_size, image_size) normalized floats."""
        images = self.view({"image": batch["video"].flatten(0, 1)})["image"]
        return {**batch, "video": images.unflatten(0, batch["video"].shape[:2])}

    def read_input(self, given: str, limit: int) -> UserInput:
        """The last `limit` images of a folder as the frames of one clip: (1, T, C, image_size, image_size) uint8."""
        files = files_at(given, self.extensions, "image")
        batch = {**self.read_samples([files[-limit:]]), "index": torch.zeros(1, dtype=torch.long)}
        return UserInput(batch, files[-limit:], len(files[:-limit]))

    def find_samples(self, given: str) -> Samples:
        """Each folder of images at or below a place is a clip; all have as many frames."""
        clips: dict[Path, list[Path]] = {}
        for file in files_at(given, self.extensions, "image"):
            clips.setdefault(file.parent, []).append(file)
        names, frames = [os.path.relpath(clip, given) for clip in clips], list(clips.values())
        return Samples(names, lambda rows: self.read_samples([frames[row] for row in rows]))

    def read_samples(self, samples: Sequence[Any]) -> Batch:
        """Of clips, each a sequence of image files or PIL images, all of one length T."""
        if len({len(clip) for clip in samples}) != 1:
            raise InputError("the clips must have equally many frames")
        return {"video": torch.stack([self.decoded(clip) for clip in samples])}

    def draw(self, columns: Mapping[str, Tensor], names: Sequence[str] = ()) -> Figure:
        return clip_figure(self.looked_at(columns), names)

    def animate(self, columns: Mapping[str, Tensor], path: Path) -> bool:
        write_gif(path, self.looked_at(columns))
        return True

    def _numbers(self, batch: Batch) -> Tensor:
        """The pixels of the mean frame: those of all T frames cost the linear probe more than T times as much."""
        return self.evaluation_view(batch)["video"].mean(dim=1).flatten(1)
