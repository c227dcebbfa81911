import numpy as np
import pytest
import torch

from ssl_lightning.data.image.digits import digits, draw
from ssl_lightning.errors import InputError


def test_sizes_and_classes():
    train, test = digits(split="train"), digits(split="test")
    assert train.images.shape == (12000, 1, 28, 28)
    assert test.images.shape == (2376, 1, 28, 28)
    assert train.classes == test.classes == list("0123456789")
    assert np.bincount(train.labels).min() > 1100
    assert np.bincount(test.labels).min() > 200


def test_no_digit_is_on_both_sides():
    train, test = digits(split="train"), digits(split="test")
    assert not set(train.groups) & set(test.groups)
    assert len(set(train.groups)) + len(set(test.groups)) == 1797


def test_always_the_same_and_never_twice_the_same():
    first, again = digits(split="pretrain"), digits(split="train")
    assert (first.images == again.images).all()
    copies = first.images[first.groups == first.groups[0]]
    assert len(np.unique(copies.reshape(8, -1), axis=0)) == 8


def test_digits_stand_out():
    images = digits(split="test").images
    assert (images.reshape(len(images), -1).max(1) > 120).all()
    assert (images[:, :, 0, 0] == 0).all()


def test_drawing_is_centered_and_keeps_the_mass():
    glyphs = torch.ones(4000, 1, 8, 8)
    drawn = draw(glyphs, 28, torch.Generator().manual_seed(0)).double() / 255
    assert drawn.sum((1, 2, 3)).sqrt().min() > 0.40 * 28
    assert drawn.sum((1, 2, 3)).sqrt().max() < 0.80 * 28
    columns = (drawn.sum((1, 2)) * torch.arange(28)).sum(1) / drawn.sum((1, 2, 3))
    assert abs(columns.mean() - 13.5) < 0.2
    assert columns.std() > 1


def test_unknown_split():
    with pytest.raises(InputError, match="'valid'"):
        digits(split="valid")
