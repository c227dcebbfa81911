"""The standard small image sets, read by torchvision, as arrays."""

import lzma
import pickle
import socket
import tarfile
import zlib
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
UNREADABLE: tuple[type[Exception], ...] = (OSError, EOFError, RuntimeError, ValueError, AssertionError, KeyError)
UNREADABLE += (TypeError, pickle.UnpicklingError, tarfile.TarError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class _Set:
    """How torchvision names a set: its class, the argument for a split, and the files that a user may put there."""

    reader: Callable
    arguments: Callable[[str], dict]
    folder: str
    files: tuple[str, ...]
    unpacked: str


def _by_flag(split: str) -> dict:
    return {"train": split != "test"}


def _mnist_like(reader: type[datasets.MNIST], folder: str) -> _Set:
    files = tuple(name for name, _ in reader.resources)
    return _Set(reader, _by_flag, f"{folder}/raw", files, files[0].removesuffix(".gz"))


SETS = {
    "mnist": _mnist_like(datasets.MNIST, "MNIST"),
    "fashion_mnist": _mnist_like(datasets.FashionMNIST, "FashionMNIST"),
    "kmnist": _mnist_like(datasets.KMNIST, "KMNIST"),
    "cifar10": _Set(datasets.CIFAR10, _by_flag, "", ("cifar-10-python.tar.gz",), "cifar-10-batches-py"),
    "cifar100": _Set(datasets.CIFAR100, _by_flag, "", ("cifar-100-python.tar.gz",), "cifar-100-python"),
    "svhn": _Set(
        datasets.SVHN,
        lambda split: {"split": "test" if split == "test" else "train"},
        "",
        ("train_32x32.mat", "test_32x32.mat"),
        "train_32x32.mat",
    ),
    "stl10": _Set(
        datasets.STL10,
        lambda split: {"split": "train+unlabeled" if split == "pretrain" else split},
        "",
        ("stl10_binary.tar.gz",),
        "stl10_binary",
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
    arguments = known.arguments(split)
    try:
        data = known.reader(str(home), **arguments)
    except UNREADABLE as error:
        _fetch(name, known, home, arguments, download, error)
        data = _read(name, known, home, arguments)
    return _as_array(data)


def _fetch(name: str, known: _Set, home: Path, arguments: dict, download: bool, reason: Exception) -> None:
    """Downloads, or unpacks archives that a user has put in place; an InputError says what to do by hand."""
    folder = (home / known.folder).resolve()
    wanted = f"put {', '.join(known.files)} into {folder}"
    there = (folder / known.unpacked).exists()
    state = f"damaged or incomplete in {folder}" if there else f"not in {folder}"
    if not download:
        raise InputError(f"{name} is {state} and downloading is switched off: {wanted}") from reason
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _socket_timeout(CONNECT_SECONDS):
            known.reader(str(home), download=True, **arguments)
    except UNREADABLE as error:
        first = str(error).strip().splitlines()
        detail = first[-1] if first else type(error).__name__
        failed = "cannot be repaired" if there else "cannot be downloaded"
        remove = f"remove {folder / known.unpacked} and " if there else ""
        raise InputError(f"{name} is {state} and {failed} ({detail}): {remove}{wanted}") from error


def _read(name: str, known: _Set, home: Path, arguments: dict) -> Any:
    try:
        return known.reader(str(home), **arguments)
    except UNREADABLE as error:
        folder = (home / known.folder).resolve()
        raise InputError(f"{name} in {folder} cannot be read ({error}): remove it there and start again") from error


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
