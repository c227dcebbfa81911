"""Emoji in the drawings of several vendors, with their names."""

from typing import Any

from ssl_lightning.data.image_text.dataset import PairDataset
from ssl_lightning.data.image_text.image_text import image_text
from ssl_lightning.ranges import Seed, Size


def emoji_captions(
    root: str,
    split: str,
    held_vendor: str | None = None,
    test_size: Size = 1 / 3,
    seed: Seed = 0,
    cache: str | None = None,
) -> PairDataset:
    """A split of `root/emoji_captions/captions.csv`, images (N, 3, 48, 48), labeled by category, grouped by emoji.

    The test set is all of `held_vendor`, a style that is never trained on; None: `test_size` of the emoji, which no
    vendor shows in training.
    """
    held = {"split_column": None if held_vendor is None else "vendor", "test_value": held_vendor or ""}
    where: dict[str, Any] = {"files": "emoji_captions/captions.csv", "label": "category", "group": "caption", **held}
    return image_text(root, split, **where, test_size=test_size, seed=seed, store_size=48, cache=cache)
