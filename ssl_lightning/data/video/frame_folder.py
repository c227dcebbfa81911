"""Any folder of videos, each a folder of its frames as image files."""

import os
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ssl_lightning.data.decoded import readable
from ssl_lightning.data.folder import Files, find_files, label_files, natural
from ssl_lightning.data.image.decode import decode_images
from ssl_lightning.data.image.image_folder import EXTENSIONS
from ssl_lightning.data.splits import numbered, require_split
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

    Files are decoded once, see `decode_files`.

    Raises:
        InputError: the folder is missing or holds no video long enough, or a frame cannot be read: leaving it out
            would tear the clip.
    """
    require_split(split, "a folder of frames")
    step, span = stride or frames, (frames - 1) * skip + 1
    home = Path(root).expanduser() / folder
    place, files, training = find_files(home, split, EXTENSIONS, "image")
    files = sorted(files, key=natural)
    images, corrupt = decode_images(place, files, store_size, channels, cache)
    readable(place, files, corrupt, "raise")
    number, names = numbered(os.path.dirname(file) for file in files)
    videos = Files(place, names)
    if place == home:
        videos.hold_out(test_size, seed)
    frame, first = np.arange(len(files)), np.searchsorted(number, number)
    end = np.searchsorted(number, number, side="right")
    begins = (frame - first) % (step * skip) == 0
    start = np.flatnonzero(begins & (frame + span <= end) & videos.of_split(split)[number])
    if not len(start):
        raise InputError(
            f"{place.resolve()} has no video of {span} frames for the {split} split: give two"
            " folders of frames or more, one a video"
        )
    labels, classes = label_files(names, [os.path.dirname(file) for file in training], place)
    owner = number[start]
    draw = partial(_clips, images, torch.from_numpy(start), torch.arange(0, span, skip))
    clip_labels = None if labels is None else labels[owner]
    return VideoDataset(draw, len(start), labels=clip_labels, classes=classes, groups=owner)


def _clips(images: np.ndarray, start: Tensor, steps: Tensor, rows: Tensor) -> Tensor:
    """Clips (B, T, C, S, S) of images (N, C, S, S): clip i shows those `steps` (T,) behind `start[i]`."""
    return torch.from_numpy(images[start[rows][:, None] + steps])
