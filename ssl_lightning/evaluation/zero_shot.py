"""Zero-shot classification: classes are described in words, and an image is of the class whose words are nearest."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lightning.errors import InputError


@torch.no_grad()
def class_embeddings(encode: Callable[[list[str]], Tensor], names: Sequence[str], prompts: Sequence[str]) -> Tensor:
    """(classes, K) of unit length: the mean of the unit embeddings of each name in the place of "{}" of each prompt.

    An ensemble in the space of embeddings: Radford et al. 2021, https://arxiv.org/abs/2103.00020, Sec. 3.1.4.

    Raises:
        InputError: a prompt without "{}".
    """
    if wrong := [prompt for prompt in prompts if "{}" not in prompt] or not prompts:
        raise InputError(f"data.prompts={list(prompts)}: each needs {{}} for the name of a class; wrong: {wrong}")
    texts = [prompt.replace("{}", name) for name in names for prompt in prompts]
    unit = F.normalize(encode(texts).float(), dim=1).view(len(names), len(prompts), -1)
    return F.normalize(unit.mean(dim=1), dim=1)


def classify(images: Tensor, classes: Tensor) -> Tensor:
    """The nearest of `classes` (C, K) to each of `images` (N, K), by cosine similarity: (N,) int64."""
    return (F.normalize(images.float(), dim=1) @ classes.T).argmax(dim=1)
