"""Image files decoded once into a memory-mapped array that later runs open at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import UnidentifiedImageError

from ssl_lightning.data.cache import reading
from ssl_lightning.data.decoded import decoded_once, in_threads, refuse_full_disk
from ssl_lightning.data.image.decode import decode

VERSION = 1  # raise it when `decode` gives other pixels, so that old caches are not used


@dataclass(frozen=True)
class DecodedFolder:
    """`images` (N, C, S, S) uint8 memory-mapped, one row a file; `corrupt`: row -> why it could not be read."""

    images: np.ndarray
    corrupt: dict[int, str]


def decode_folder(folder: Path, files: list[str], size: int, channels: int, cache: Path) -> DecodedFolder:
    """All `files` (paths relative to `folder`, in this order) as one array, see `decoded_once`.

    Raises:
        InputError: the cache is damaged or cannot be written, or files change while they are decoded.
    """
    name = f"{size}x{size}x{channels}-v{VERSION}"
    shape = (len(files), channels, size, size)
    path, corrupt = decoded_once(folder, files, cache, name, lambda beside: _build(beside, folder, files, shape))
    with reading(path):
        return DecodedFolder(np.load(path / "images.npy", mmap_mode="r"), corrupt)


def _build(beside: Path, folder: Path, files: list[str], shape: tuple[int, int, int, int]) -> Iterator[str | None]:
    refuse_full_disk(beside, int(np.prod(shape)), folder, "choose a smaller store_size")
    images = np.lib.format.open_memmap(beside / "images.npy", mode="w+", dtype=np.uint8, shape=shape)

    def fill(row: int) -> str | None:
        """Why an image could not be read; None if it could."""
        try:
            images[row] = decode(str(folder / files[row]), shape[2], shape[1])
        except UnidentifiedImageError:
            return "not an image"
        except Exception as error:  # on damaged files the decoders raise whatever they stumble over
            return str(error) or type(error).__name__
        return None

    yield from in_threads("decoding images", fill, len(files))
    images.flush()
