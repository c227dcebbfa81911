from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from sklearn.datasets import load_sample_image

from ssl_lightning.data.image.photo_patches import photo_patches
from ssl_lightning.errors import InputError


def test_sizes_and_classes():
    train, test = photo_patches(split="train"), photo_patches(split="test")
    assert train.images.shape == (7168, 3, 32, 32)
    assert test.images.shape == (1792, 3, 32, 32)
    assert train.classes == test.classes == ["china", "flower"]
    assert np.bincount(train.labels).tolist() == [3584, 3584]
    assert np.bincount(test.labels).tolist() == [896, 896]
    assert (photo_patches().images == train.images).all()


def where(image: np.ndarray, photo: np.ndarray, block: int) -> tuple[int, int]:
    """Place of an image in a photograph, by looking at all of them in its block."""
    row, column = divmod(block % 70, 10)
    for top in range(row * 61, row * 61 + 30):
        for left in range(column * 61, column * 61 + 30):
            if (photo[top : top + 32, left : left + 32].transpose(2, 0, 1) == image).all():
                return top, left
    raise AssertionError("the image is not in its block")


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_image_is_a_patch_of_its_photograph(split: str):
    found = photo_patches(split=split)
    for row in range(0, len(found), 311):
        label, block = found.labels[row], found.groups[row]
        assert block // 70 == label
        where(found.images[row], load_sample_image(f"{found.classes[label]}.jpg"), block)


def test_no_pixel_is_on_both_sides():
    """Blocks do not overlap, and no block is shared."""
    train, test = photo_patches(split="train"), photo_patches(split="test")
    assert not set(train.groups) & set(test.groups)
    assert len(set(train.groups)) == 112
    assert len(set(test.groups)) == 28
    assert len(np.unique(train.images[train.groups == train.groups[0]], axis=0)) == 64


def test_other_sizes():
    assert photo_patches(size=48).images.shape == (112 * 16, 3, 48, 48)


def test_the_statistics_are_those_of_the_config():
    config = OmegaConf.load(Path(__file__).parents[3] / "conf" / "data" / "photo_patches.yaml")
    pixels = photo_patches().images / 255
    assert pixels.mean((0, 2, 3)) == pytest.approx(config.mean, abs=1e-3)
    assert pixels.std((0, 2, 3)) == pytest.approx(config.std, abs=1e-3)


def test_unknown_split():
    with pytest.raises(InputError, match="'valid'"):
        photo_patches(split="valid")
