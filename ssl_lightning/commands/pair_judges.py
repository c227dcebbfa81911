"""The judges of methods on image-text pairs, on the test set, also beside chance; see `Study` for what a judge is."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl_lightning.commands.study import Figures, Findings, Study
from ssl_lightning.evaluation.features import evaluating
from ssl_lightning.evaluation.retrieval import chance, figures, ranks
from ssl_lightning.evaluation.zero_shot import class_embeddings, classify
from ssl_lightning.figures.evaluation import CHANCE

BATCH = 512  # texts that are encoded at a time


def retrieval(study: Study) -> Findings:
    """Of each image the first of its captions, among all that differ, and of each caption the first of its images."""
    if not study.trained.declares("encode_text"):
        return
    captions, rows = study.data.test.captions, study.data.test.rows
    texts, text = np.unique([captions.corpus.text(n) for n in captions.of(rows)], return_inverse=True)
    image = np.repeat(np.arange(len(rows)), captions.counts[rows])
    right = torch.from_numpy(np.stack([image, text], axis=1)).unique(dim=0)

    def both(method: Any) -> Figures:
        images, words = _encoded_images(study, method), encoded_texts(method, study.data, texts.tolist())
        return _both(figures(ranks(images, words, right)), figures(ranks(words, images, right.flip(1))))

    yield from study.compared("retrieval", both)
    image_right, text_right = (right[:, side].bincount() for side in (0, 1))
    yield CHANCE, _both(chance(image_right, len(texts)), chance(text_right, len(rows)))


def _both(image_to_text: Figures, text_to_image: Figures) -> Figures:
    ways = {"image_to_text": image_to_text, "text_to_image": text_to_image}
    return {f"test/{way}_{name}": value for way, found in ways.items() for name, value in found.items()}


def zero_shot(study: Study) -> Findings:
    """Accuracy of classes that are described in words, by `data.prompts`; of images with labels."""
    data = study.data
    if not study.trained.declares("encode_text") or data.probe_train is None:
        return
    names = list(data.class_names or data.classes)

    def accuracy(method: Any) -> Figures:
        classes = class_embeddings(partial(encoded_texts, method, data), names, data.prompts)
        return study.accuracy("test/zero_shot_accuracy", classify(_encoded_images(study, method), classes))

    yield from study.compared("zero-shot", accuracy)
    yield CHANCE, {f"test/zero_shot_accuracy{end}": 1 / len(names) for end in ("", "_low", "_high")}


def _encoded_images(study: Study, method: Any) -> Tensor:
    """The test images in the space of images and texts (N, K), on the CPU."""
    view = study.data.modality.evaluation_view
    encode = lambda batch: method.encode_image(view(batch)["image"])  # noqa: E731
    return study.features(method, study.data.test, "space of images and texts", encode)["features"]


@torch.no_grad()
def encoded_texts(method: Any, data: Any, texts: list[str]) -> Tensor:
    """Texts in the same space (T, K), on the CPU."""
    with evaluating(method):
        parts = (
            data.text.read_samples(texts[start : start + BATCH])["tokens"] for start in range(0, len(texts), BATCH)
        )
        return torch.cat([method.encode_text(part.to(method.device)).float().cpu() for part in parts])
