"""From any image files to square uint8 arrays."""

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ssl_lightning.data.cache import digest
from ssl_lightning.data.decoded import decode_files

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # twice as large ones are refused
VERSION = 3  # raise it when `decode` gives other pixels, so that old caches are not used
Source = str | bytes | tuple[str, int, int]
"""Of an image: its file, its content, or a part of a larger file: the path of that, where it begins, and its size."""


def decode(source: str | Path | BytesIO | Image.Image, size: int, channels: int) -> np.ndarray:
    """One image, or image file, as (channels, size, size) uint8: shorter side resized to `size`, center cropped.

    Photographs are turned upright by their EXIF tag; of an animation the first frame is taken. `channels` is 1
    (luminance) or 3 (RGB). Transparency is laid over white, 16-bit depths keep their upper 8 bits, floating-point
    images are taken as 0 to 1, and CMYK, palettes and other modes are converted by Pillow.

    A file that is no whole image raises what Pillow raises, mostly an OSError.
    """
    with nullcontext(source) if isinstance(source, Image.Image) else Image.open(source) as file:
        # JPEG can be decoded at 1/2, 1/4 or 1/8; twice the wanted size leaves the resampling enough to work on
        file.draft(None, (2 * size, 2 * size))
        image = to_channels(ImageOps.exif_transpose(file), channels)
        pixels = np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def decode_images(
    folder: Path, sources: Sequence[Source], size: int, channels: int, cache: str | Path | None
) -> tuple[np.ndarray, dict[int, str]]:
    """Images (N, channels, size, size) uint8, memory-mapped, and why some could not be read: see `decode_files`."""
    name = f"{size}x{size}x{channels}-v{VERSION}"
    files = [source[0] if isinstance(source, tuple) else source for source in sources if not isinstance(source, bytes)]
    if files != sources:
        name += f"-{digest(*(source if isinstance(source, bytes) else repr(source) for source in sources))}"
        files = list(dict.fromkeys(files))

    def pixels(row: int) -> np.ndarray:
        try:
            return decode(_opened(folder, sources[row]), size, channels)
        except UnidentifiedImageError as error:
            raise ValueError("not an image") from error

    black = np.zeros((channels, size, size), np.uint8)
    values, _, corrupt = decode_files(folder, files, cache, name, pixels, len(sources), black, at_once=64)
    return values.reshape(-1, *black.shape), corrupt


def _opened(folder: Path, source: Source) -> Path | BytesIO:
    """What an image is decoded from."""
    if not isinstance(source, tuple):
        return BytesIO(source) if isinstance(source, bytes) else folder / source
    path, begin, size = source
    with (folder / path).open("rb") as stream:
        stream.seek(begin)
        return BytesIO(stream.read(size))


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """`image` in mode "L" (1 channel) or "RGB" (3)."""
    mode = {1: "L", 3: "RGB"}[channels]
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        image = Image.fromarray(np.clip(np.asarray(image) // 256, 0, 255).astype(np.uint8))
    elif image.mode == "F":
        image = Image.fromarray((np.clip(np.asarray(image), 0, 1) * 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert(mode)
