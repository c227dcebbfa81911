"""The standard small image sets, read by torchvision, as arrays."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets

from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.splits import require_split
from ssl_lightning.errors import InputError

CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class _Set:
    """How torchvision names a set: its class, its argument for a split, and the files that a user may put into root."""

    reader: Callable
    files: tuple[str, ...]
    folder: str = ""
    argument: Callable[[str], dict] = lambda split: {"train": split != "test"}


def _mnist_like(reader: type[datasets.MNIST]) -> _Set:
    return _Set(reader, tuple(name for name, _ in reader.resources), f"{reader.__name__}/raw")


SETS = {
    "mnist": _mnist_like(datasets.MNIST),
    "fashion_mnist": _mnist_like(datasets.FashionMNIST),
    "kmnist": _mnist_like(datasets.KMNIST),
    "cifar10": _Set(datasets.CIFAR10, ("cifar-10-python.tar.gz",)),
    "cifar100": _Set(datasets.CIFAR100, ("cifar-100-python.tar.gz",)),
    "svhn": _Set(
        datasets.SVHN,
        ("train_32x32.mat", "test_32x32.mat"),
        argument=lambda split: {"split": "test" if split == "test" else "train"},
    ),
    "stl10": _Set(
        datasets.STL10,
        ("stl10_binary.tar.gz",),
        argument=lambda split: {"split": "train+unlabeled" if split == "pretrain" else split},
    ),
}


def torchvision_images(name: str, root: str, split: str, download: bool = True) -> ImageDataset:
    """One split of a torchvision set, images in its own size and channels.

    `split`: "pretrain" (what is trained on without labels: the training set, for STL-10 followed by its unlabeled
    images), "train" (labeled) or "test". Files that are there are read without touching the network; others are
    downloaded into `root` unless `download` is false.

    Raises:
        InputError: the name or split is unknown, or files are missing or damaged and cannot be fetched.
    """
    if name not in SETS:
        raise InputError(f"no torchvision set named {name!r}: choose one of {', '.join(SETS)}")
    require_split(split, name)
    known = SETS[name]
    home = Path(root).expanduser()
    try:
        with _socket_timeout(CONNECT_SECONDS):
            return _as_array(known.reader(str(home), download=download, **known.argument(split)))
    except Exception as error:  # on damaged files torchvision raises whatever it stumbles over
        detail = next(reversed(str(error).strip().splitlines()), type(error).__name__)
        tried = "cannot be downloaded" if download else "downloading is switched off"
        raise InputError(
            f"{name} is missing or damaged in {(home / known.folder).resolve()}, and {tried} ({detail}): put"
            f" {', '.join(known.files)} there, and remove what is damaged"
        ) from error


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


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
