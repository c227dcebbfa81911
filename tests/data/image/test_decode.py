import numpy as np
import pytest
from PIL import Image

from ssl_lightning.data.image.decode import decode

GRAY = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)


def saved(tmp_path, image, name="image.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return str(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_gray_is_exact_and_repeated_over_rgb(tmp_path, channels):
    pixels = decode(saved(tmp_path, Image.fromarray(GRAY)), 8, channels)
    assert pixels.dtype == np.uint8
    assert (pixels == GRAY[None].repeat(channels, 0)).all()


def test_sixteen_bits_keep_the_upper_eight(tmp_path):
    image = Image.fromarray(GRAY.astype(np.uint16) * 256 + 17)
    assert (decode(saved(tmp_path, image), 8, 1)[0] == GRAY).all()


def test_floats_are_zero_to_one(tmp_path):
    image = Image.fromarray(np.full((8, 8), 0.5, dtype=np.float32))
    assert (decode(saved(tmp_path, image, "image.tiff"), 8, 3) == 127).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white(tmp_path, mode, channels):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 4, 8))
    pixels = decode(saved(tmp_path, image.convert(mode)), 8, channels)
    assert (pixels[:, :, :4] == 0).all()
    assert (pixels[:, :, 4:] == 255).all()


@pytest.mark.parametrize(("mode", "name"), [("CMYK", "a.jpg"), ("1", "a.png"), ("YCbCr", "a.jpg"), ("P", "a.gif")])
def test_other_modes(tmp_path, mode, name):
    image = Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode)
    assert (decode(saved(tmp_path, image, name), 8, 3) >= 254).all()


@pytest.mark.parametrize("size", [(40, 20), (20, 40)])
def test_the_center_is_kept_whatever_the_shape(tmp_path, size):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8))
    resized = np.asarray(image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC))
    top, left = (resized.shape[0] - 10) // 2, (resized.shape[1] - 10) // 2
    pixels = decode(saved(tmp_path, image), 10, 1)[0].astype(int)
    assert abs(pixels - resized[top : top + 10, left : left + 10]).max() <= 1


def test_shrinking_is_antialiased(tmp_path):
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (64, 32))
    pixels = decode(saved(tmp_path, Image.fromarray(stripes)), 8, 1).astype(int)
    assert abs(pixels - 127).max() < 12


def test_photographs_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("L", (16, 16), 0)
    image.paste(255, (0, 0, 16, 8))
    pixels = decode(saved(tmp_path, image, "a.jpg", exif=exif, quality=95), 16, 1)[0]
    assert pixels[:, 10:].min() > 240
    assert pixels[:, :6].max() < 15


def test_large_jpeg_is_close_to_its_full_decode(tmp_path):
    ramp = np.linspace(0, 255, 512).astype(np.uint8)[None].repeat(512, 0)
    pixels = decode(saved(tmp_path, Image.fromarray(ramp), "a.jpg", quality=95), 32, 1)[0].astype(int)
    assert abs(pixels - np.linspace(0, 255, 512).reshape(32, 16).mean(1)).max() <= 3
