"""The judges of methods on image-text pairs, as those of `evaluation_suite`: on the test set, next to the untrained
encoders and to chance.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from ssl_lightning.commands.evaluation_suite import Figures, Findings
from ssl_lightning.evaluation.features import evaluating, extract
from ssl_lightning.evaluation.protocol import Protocol
from ssl_lightning.evaluation.retrieval import chance, figures, ranks
from ssl_lightning.evaluation.zero_shot import class_embeddings, classify
from ssl_lightning.figures.evaluation import CHANCE, THIS_RUN, UNTRAINED

BATCH = 512  # texts that are encoded at a time


@dataclass
class Retrieval:
    """Of each image the first of its captions, among all that differ, and of each caption the first of its images."""

    untrained: nn.Module
    console: Console

    def __call__(self, method: Any, data: Any) -> Findings:
        if not method.declares("encode_text"):
            return
        captions, rows = data.test.captions, data.test.rows
        texts, text = np.unique([captions.corpus.text(n) for n in captions.of(rows)], return_inverse=True)
        image = np.repeat(np.arange(len(rows)), captions.counts[rows])
        right = torch.from_numpy(np.stack([image, text], axis=1)).unique(dim=0)
        for name, subject in {THIS_RUN: method, UNTRAINED: self.untrained}.items():
            with self.console.status(f"retrieval: {name}"):
                images, words = encoded_images(subject, data), encoded_texts(subject, data, texts.tolist())
                yield name, _both(figures(ranks(images, words, right)), figures(ranks(words, images, right.flip(1))))
        image_right, text_right = (right[:, side].bincount() for side in (0, 1))
        yield CHANCE, _both(chance(image_right, len(texts)), chance(text_right, len(rows)))


def _both(image_to_text: Figures, text_to_image: Figures) -> Figures:
    ways = {"image_to_text": image_to_text, "text_to_image": text_to_image}
    return {f"test/{way}_{name}": value for way, found in ways.items() for name, value in found.items()}


@dataclass
class ZeroShot:
    """Accuracy of classes that are described in words, by `data.prompts`; of images with labels."""

    protocol: Protocol
    untrained: nn.Module
    console: Console

    def __call__(self, method: Any, data: Any) -> Findings:
        if not method.declares("encode_text") or data.probe_train is None:
            return
        names, labels = list(data.class_names or data.classes), torch.as_tensor(data.test.labels)
        for name, subject in {THIS_RUN: method, UNTRAINED: self.untrained}.items():
            with self.console.status(f"zero-shot: {name}"):
                classes = class_embeddings(partial(encoded_texts, subject, data), names, data.prompts)
                predicted = classify(encoded_images(subject, data), classes)
            yield name, self.protocol.judge("test/zero_shot_accuracy", predicted, labels, data.groups("test"))
        yield CHANCE, {f"test/zero_shot_accuracy{end}": 1 / len(names) for end in ("", "_low", "_high")}


def encoded_images(method: Any, data: Any) -> Tensor:
    """The test images in the space of images and texts (N, K), on the CPU."""
    with evaluating(method):
        view = data.modality.evaluation_view
        batches = data.features_loader("test")
        return extract(lambda batch: method.encode_image(view(batch)["image"]), batches, method.device)["features"]


@torch.no_grad()
def encoded_texts(method: Any, data: Any, texts: list[str]) -> Tensor:
    """Texts in the same space (T, K), on the CPU."""
    with evaluating(method):
        parts = (
            data.text.read_samples(texts[start : start + BATCH])["tokens"] for start in range(0, len(texts), BATCH)
        )
        return torch.cat([method.encode_text(part.to(method.device)).float().cpu() for part in parts])
