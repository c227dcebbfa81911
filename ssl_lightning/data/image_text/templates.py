"""Captions from templates for any set of labeled images: paired supervision by its classes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ssl_lightning.data.image_text.dataset import PairDataset
from ssl_lightning.data.sampler import mix
from ssl_lightning.errors import InputError
from ssl_lightning.ranges import PositiveInt


def captioned(
    root: str,
    split: str,
    images: Callable[..., Any],
    templates: Sequence[str],
    names: Sequence[str] | None = None,
    count: PositiveInt = 1,
) -> PairDataset:
    """A split of `images(root=, split=)`, each image with `count` different captions, always the same.

    A caption is one of `templates` with the name of the class (`names`; None: those of the set) in the place of "{}".

    Raises:
        InputError: the images have no labels, or there are too few names or templates.
    """
    found = images(root=root, split=split)
    if found.labels is None:
        raise InputError("template captions need labeled images")
    names, templates = list(names or found.classes), list(templates)  # they may be a config's
    if len(names) != len(found.classes) or count > len(templates):
        wanted = f"{len(found.classes)} names and {count} templates or more"
        raise InputError(f"{len(names)} names and {len(templates)} templates are given: give {wanted}")
    rng = np.random.default_rng(mix("captions", split == "test"))
    chosen = rng.random((len(found), len(templates))).argsort(axis=1)[:, :count]
    captions = [
        [templates[place].replace("{}", names[label]) for place in row]
        for row, label in zip(chosen, found.labels, strict=True)
    ]
    known = {name: getattr(found, name) for name in ("labels", "classes", "groups")}
    return PairDataset(found.images[found.rows], captions, **known)
