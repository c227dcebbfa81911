"""From any image file to a square uint8 array."""

from contextlib import nullcontext
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ORIENTATION = 0x0112  # EXIF tag


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
        upright = file if file.getexif().get(ORIENTATION, 1) == 1 else ImageOps.exif_transpose(file)
        image = to_channels(upright, channels)
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        if (width, height) != (size, size):
            box = (left, top, left + side, top + side)
            image = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
        pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


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
