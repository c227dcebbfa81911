"""Image files decoded once into a memory-mapped array that later runs open at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import UnidentifiedImageError

from ssl_lightning.data.cache import digest, reading
from ssl_lightning.data.decoded import decoded_once, in_threads, refuse_full_disk
from ssl_lightning.data.image.decode import decode

VERSION = 1  # raise it when `decode` gives other pixels, so that old caches are not used
Source = str | bytes | tuple[str, int, int]
"""Of an image: its file, its content, or a part of a larger file: the path of that, where it begins, and its size."""


@dataclass(frozen=True)
class DecodedFolder:
    """`images` (N, C, S, S) uint8 memory-mapped, one row a file; `corrupt`: row -> why it could not be read."""

    images: np.ndarray
    corrupt: dict[int, str]


def decode_folder(folder: Path, files: Sequence[Source], size: int, channels: int, cache: Path) -> DecodedFolder:
    """All `files` (paths relative to `folder`, in this order) as one array, see `decoded_once`.

    Raises:
        InputError: the cache is damaged or cannot be written, or files change while they are decoded.
    """
    name = f"{size}x{size}x{channels}-v{VERSION}"
    shape = (len(files), channels, size, size)
    whole = [file[0] if isinstance(file, tuple) else file for file in files if not isinstance(file, bytes)]
    if whole != files:
        name += f"-{digest(*(file if isinstance(file, bytes) else repr(file) for file in files))}"
    whole = list(dict.fromkeys(whole))
    path, corrupt = decoded_once(folder, whole, cache, name, lambda beside: _build(beside, folder, files, shape))
    with reading(path):
        return DecodedFolder(np.load(path / "images.npy", mmap_mode="r"), corrupt)


def _build(beside: Path, folder: Path, files: Sequence[Source], shape: tuple[int, ...]) -> Iterator[str | None]:
    refuse_full_disk(beside, int(np.prod(shape)), folder, "choose a smaller store_size")
    images = np.lib.format.open_memmap(beside / "images.npy", mode="w+", dtype=np.uint8, shape=shape)

    def fill(row: int) -> str | None:
        """Why an image could not be read; None if it could."""
        try:
            images[row] = decode(_opened(folder, files[row]), shape[2], shape[1])
        except UnidentifiedImageError:
            return "not an image"
        except Exception as error:  # on damaged files the decoders raise whatever they stumble over
            return str(error) or type(error).__name__
        return None

    yield from in_threads("decoding images", fill, len(files))
    images.flush()


def _opened(folder: Path, file: Source) -> Path | BytesIO:
    """What an image is decoded from."""
    if not isinstance(file, tuple):
        return BytesIO(file) if isinstance(file, bytes) else folder / file
    path, begin, size = file
    with (folder / path).open("rb") as stream:
        stream.seek(begin)
        return BytesIO(stream.read(size))
