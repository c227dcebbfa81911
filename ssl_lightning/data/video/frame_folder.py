"""Any folder of videos, each a folder of its frames as image files."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ssl_lightning.data.cache import cache_folder
from ssl_lightning.data.folder import label_files, natural
from ssl_lightning.data.image.image_cache import decode_folder
from ssl_lightning.data.image.image_folder import find_images
from ssl_lightning.data.splits import digests_of, held_out, require_split, resolve_size
from ssl_lightning.data.video.dataset import VideoDataset
from ssl_lightning.errors import InputError
from ssl_lightning.ranges import PositiveInt, Seed, Size


def frame_folder(
    root: str,
    split: str,
    folder: str = "",
    frames: PositiveInt = 10,
    skip: PositiveInt = 1,
    stride: PositiveInt | None = None,
    store_size: PositiveInt = 64,
    channels: Literal[1, 3] = 3,
    cache: str | None = None,
    test_size: Size = 0.2,
    seed: Seed = 0,
) -> VideoDataset:
    """Clips (frames, channels, store_size, store_size) of the videos below `root/folder`, without overlap by default.

    A video is a folder that holds image files, in the order of their names, numbers in them counted as numbers. `train`
    and `test` (or `val`) below `root/folder` are the splits; without `train`, `test_size` (count or fraction) of the
    videos is held out, fixed by `seed`. Where videos lie in class folders (`walking/video_1/0001.png`), these are
    the labels. Of every video each `skip`-th frame is taken, and a clip begins each `stride` such frames (None:
    `frames`); its end is left out where it fills no clip. `groups` are the videos.

    Files are decoded once, see `image_cache`.

    Raises:
        InputError: the folder is missing or holds no video long enough, or a frame cannot be read: leaving it out
            would tear the clip.
    """
    require_split(split, "a folder of frames")
    step = frames if stride is None else stride
    found = find_images(Path(root).expanduser() / folder, split)
    place, files = found.place, sorted(found.files, key=natural)
    store = decode_folder(place, files, store_size, channels, cache_folder(cache))
    if store.corrupt:
        row, reason = next(iter(store.corrupt.items()))
        raise InputError(f"{place / files[row]} cannot be read ({reason}); remove its video, or mend it")

    video, number = np.unique([os.path.dirname(file) for file in files], return_inverse=True)
    first = np.flatnonzero(np.diff(number, prepend=-1))
    length = np.diff(first, append=len(files))
    begins = [np.arange(a, a + n - (frames - 1) * skip, step * skip) for a, n in zip(first, length, strict=True)]
    if not found.official:
        count = max(1, resolve_size(test_size, len(video), "data.source.test_size"))
        held = held_out(len(video), count, seed, digests=digests_of(video.tolist()))
        wanted = held if split == "test" else ~held
        begins = [clips[: len(clips) * taken] for clips, taken in zip(begins, wanted, strict=True)]
    start = np.concatenate(begins)
    if not len(start):
        raise InputError(
            f"{place.resolve()} has no video of {(frames - 1) * skip + 1} frames for the {split} split: give two"
            " folders of frames or more, one a video"
        )
    labels, classes = label_files(video.tolist(), [os.path.dirname(file) for file in found.training], place)
    owner = number[start]
    return VideoDataset(
        Windows(store.images, torch.from_numpy(start), frames, skip),
        len(start),
        (frames, channels, store_size, store_size),
        None if labels is None else labels[owner],
        classes,
        owner,
    )


@dataclass(frozen=True)
class Windows:
    """Reads clips from frames (N, C, S, S) uint8, memory-mapped: clip i begins at frame `start[i]`."""

    images: np.ndarray
    start: Tensor
    frames: PositiveInt
    skip: PositiveInt

    def __call__(self, rows: Tensor) -> Tensor:
        """(B,) -> (B, T, C, S, S)."""
        return torch.from_numpy(self.images[self.start[rows][:, None] + torch.arange(self.frames) * self.skip])
