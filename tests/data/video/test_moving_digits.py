from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.image.digits import digit_glyphs
from ssl_lightning.data.video.dataset import VideoDataset
from ssl_lightning.data.video.moving_digits import Bouncing, moving_digits
from ssl_lightning.errors import InputError

make = partial(moving_digits, root="", split="train", glyphs=digit_glyphs, frames=8, size=24, glyph_size=12)


def bounced(place: float, velocity: float, frames: int) -> list[float]:
    """Step by step: what leaves the room [0, 1] by the wall comes back by the same amount and flies the other way."""
    places = [place]
    for _ in range(frames - 1):
        place += velocity
        while not 0 <= place <= 1:
            place, velocity = (-place if place < 0 else 2 - place), -velocity
        places.append(place)
    return places


def pasted(glyphs: Tensor, corners: list[list[list[int]]], size: int) -> Tensor:
    """One clip, digit by digit and frame by frame, at whole pixels: (T, 1, size, size)."""
    clip = torch.zeros(len(corners[0]), 1, size, size)
    h = glyphs.shape[1]
    for glyph, places in zip(glyphs, corners, strict=True):
        for t, (top, left) in enumerate(places):
            window = clip[t, 0, top : top + h, left : left + h]
            window.copy_(torch.maximum(window, glyph))
    return clip.to(torch.uint8)


def test_they_bounce_as_step_by_step() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(5, 2, 2, generator=generator, dtype=torch.float64)
    velocity = torch.randn(5, 2, 2, generator=generator, dtype=torch.float64)
    draw = Bouncing(torch.ones(1, 4, 4), torch.zeros(5, 2, dtype=torch.long), start, velocity, 12, 20)
    corners = draw.corners(torch.arange(5)) / (20 - 4)
    for clip in range(5):
        for digit in range(2):
            for axis in range(2):
                expected = bounced(start[clip, digit, axis].item(), velocity[clip, digit, axis].item(), 12)
                assert corners[clip, digit, :, axis].tolist() == pytest.approx(expected, abs=1e-9)


def test_at_whole_pixels_the_digits_are_pasted() -> None:
    glyphs = torch.randint(0, 256, (3, 4, 4)).float()
    room = 12 - 4
    start = torch.tensor([[[2, 5], [3, 4]]], dtype=torch.float64) / room
    velocity = torch.tensor([[[1, -1], [0, 1]]], dtype=torch.float64) / room
    draw = Bouncing(glyphs, torch.tensor([[2, 0]]), start, velocity, 4, 12)
    places = [[[2 + t, 5 - t] for t in range(4)], [[3, 4 + t] for t in range(4)]]
    assert torch.equal(draw(torch.tensor([0]))[0], pasted(glyphs[[2, 0]], places, 12))


def test_between_pixels_a_digit_keeps_its_ink_and_its_place() -> None:
    draw = Bouncing(
        torch.full((1, 4, 4), 200.0),
        torch.zeros(1, 1, dtype=torch.long),
        torch.full((1, 1, 2), 0.37, dtype=torch.float64),
        torch.full((1, 1, 2), 0.031, dtype=torch.float64),
        5,
        15,
    )
    clip = draw(torch.tensor([0]))[0, :, 0].float()
    ink = clip.sum(dim=(1, 2))
    torch.testing.assert_close(ink, torch.full((5,), 16 * 200.0), rtol=0.01, atol=0)
    center = (clip.sum(dim=2) * torch.arange(15)).sum(dim=1) / ink
    torch.testing.assert_close(center, draw.corners(torch.tensor([0]))[0, 0, :, 0].float() + 1.5, atol=0.03, rtol=0)


def test_a_clip_depends_on_its_number_and_the_seed_alone() -> None:
    clips = make()
    one, other = clips.__getitems__([3, 7])["video"]
    again = make().__getitems__(np.array([7]))["video"][0]
    assert torch.equal(other, again)
    assert not torch.equal(one, other)
    assert not torch.equal(make(seed=1).__getitems__([7])["video"][0], again)
    subset = clips.subset([5, 7, 9]).subset([1])
    batch = subset.__getitems__([0])
    assert torch.equal(batch["video"][0], again)
    assert batch["index"].tolist() == [7]


def test_shapes_and_labels() -> None:
    clips = make(digits=1)
    batch = clips.__getitems__(range(4))
    assert batch["video"].shape == (4, 8, 1, 24, 24)
    assert batch["video"].dtype == torch.uint8
    assert clips.classes == [str(digit) for digit in range(10)]
    source = digit_glyphs(split="train")
    assert clips.labels is not None
    assert clips.groups is not None
    assert (clips.labels == source.labels).all()
    assert (clips.groups == source.groups).all()


def test_labels_of_two_digits_know_no_order() -> None:
    clips = make(digits=2)
    assert clips.classes is not None
    assert len(clips.classes) == 55
    assert (clips.classes[0], clips.classes[1], clips.classes[10], clips.classes[-1]) == ("0+0", "0+1", "1+1", "9+9")
    assert isinstance(clips.draw, Bouncing)
    digits = digit_glyphs(split="train").labels
    assert digits is not None
    assert clips.labels is not None
    for row in range(0, 1500, 97):
        a, b = sorted(digits[clips.draw.which[row].numpy()])
        assert clips.classes[clips.labels[row]] == f"{a}+{b}"


def test_copies_are_other_clips_of_the_same_digit() -> None:
    clips = make(digits=1, copies=3)
    assert len(clips) == 4500
    first, second = (clips.__getitems__([row]) for row in (11, 11 + 1500))
    assert first["label"] == second["label"]
    assert clips.groups is not None
    assert clips.groups[11] == clips.groups[11 + 1500]
    assert not torch.equal(first["video"], second["video"])


def test_training_and_test_share_no_digit() -> None:
    train, test = make(), make(split="test")
    assert isinstance(train, VideoDataset)
    assert len(test) == 297
    assert train.groups is not None
    assert test.groups is not None
    assert not set(train.groups) & set(test.groups)


def test_speeds_are_within_their_range() -> None:
    clips = make(speed=(0.1, 0.2))
    assert isinstance(clips.draw, Bouncing)
    speed = clips.draw.velocity.norm(dim=2)
    assert 0.1 <= speed.min() < 0.11
    assert 0.19 < speed.max() <= 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"glyph_size": 25}, "data.source.glyph_size=25 is larger than data.image_size=24"),
        (
            {"glyphs": lambda root, split: ImageDataset(np.zeros((2, 3, 8, 8), np.uint8))},
            "need gray images with labels",
        ),
    ],
)
def test_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(**changes)
