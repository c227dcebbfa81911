"""The standard small image sets, read by torchvision, as arrays."""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets

from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.splits import require_split
from ssl_lightning.errors import InputError

CONNECT_SECONDS = 10.0


IDX = "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz"
BY_FLAG = {split: {"train": split != "test"} for split in ("pretrain", "train", "test")}
BY_NAME = {"pretrain": {"split": "train"}, "train": {"split": "train"}, "test": {"split": "test"}}
UNLABELED = BY_NAME | {"pretrain": {"split": "train+unlabeled"}}
SETS: dict[str, tuple[Callable[..., Any], Mapping[str, Mapping[str, Any]], str, str]] = {
    "mnist": (datasets.MNIST, BY_FLAG, "MNIST/raw", IDX),
    "fashion_mnist": (datasets.FashionMNIST, BY_FLAG, "FashionMNIST/raw", IDX),
    "kmnist": (datasets.KMNIST, BY_FLAG, "KMNIST/raw", IDX),
    "cifar10": (datasets.CIFAR10, BY_FLAG, "", "cifar-10-python.tar.gz"),
    "cifar100": (datasets.CIFAR100, BY_FLAG, "", "cifar-100-python.tar.gz"),
    "svhn": (datasets.SVHN, BY_NAME, "", "train_32x32.mat, test_32x32.mat"),
    "stl10": (datasets.STL10, UNLABELED, "", "stl10_binary.tar.gz"),
}
"""What torchvision calls a set and its splits, and the folder below `root` and the files that a user may put there."""


def torchvision_images(name: str, root: str, split: str, download: bool = True) -> ImageDataset:
    """One split of a torchvision set, images in its own size and channels.

    `split`: "pretrain" (what is trained on without labels: the training set, for STL-10 followed by its unlabeled
    images), "train" (labeled) or "test". Files that are there are read without touching the network; others are
    downloaded into `root` unless `download` is false, or the environment allows it in another folder alone, by
    SSL_DOWNLOADS.

    Raises:
        InputError: the name or split is unknown, or files are missing or damaged and cannot be fetched.
    """
    if name not in SETS:
        raise InputError(f"no torchvision set named {name!r}: choose one of {', '.join(SETS)}")
    require_split(split, name)
    reader, splits, folder, files = SETS[name]
    place = Path(root).expanduser()
    allowed = Path(os.environ.get("SSL_DOWNLOADS", place)).expanduser() == place
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        return _as_array(reader(str(place), download=download and allowed, **splits[split]))
    except Exception as error:  # on damaged files torchvision raises whatever it stumbles over
        detail = next(reversed(str(error).strip().splitlines()), type(error).__name__)
        tried = "cannot be downloaded" if download else "downloading is switched off"
        tried = tried if allowed else "a run says where it is, but not where to download it: give data.root= yourself"
        raise InputError(
            f"{name} is missing or damaged in {(place / folder).resolve()}, and {tried} ({detail}): put {files} there,"
            " and remove what is damaged"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _as_array(data: Any) -> ImageDataset:
    images = np.asarray(data.data)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] == 3:
        images = images.transpose(0, 3, 1, 2)
    labels = np.asarray(data.targets if hasattr(data, "targets") else data.labels).astype(np.int64)
    classes = list(getattr(data, "classes", [])) or [str(label) for label in range(int(labels.max()) + 1)]
    # STL-10 marks its unlabeled images with -1
    return ImageDataset(np.ascontiguousarray(images), None if (labels < 0).any() else labels, classes)
