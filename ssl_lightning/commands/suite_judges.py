"""What a suite measures beyond its protocol, of frozen encoders; see `evaluation_suite` for what a judge is."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from ssl_lightning.commands.evaluation_suite import Figures, Findings
from ssl_lightning.evaluation.features import evaluating, spread
from ssl_lightning.evaluation.layers import pooled, stages, watched
from ssl_lightning.evaluation.protocol import Protocol
from ssl_lightning.evaluation.suite import Suite
from ssl_lightning.figures.evaluation import THIS_RUN, UNTRAINED
from ssl_lightning.runs.frozen_features import FrozenFeatures, embedded, label_free_figures, part_features


@dataclass
class SuiteJudges:
    """The judges of a `suite`; the control of each is the untrained encoder."""

    suite: Suite
    protocol: Protocol
    features: FrozenFeatures
    console: Console

    def __iter__(self) -> Iterator[Any]:
        return (partial(self._compare, what) for what in ("neighborhoods", "robustness", "layers", "health"))

    def _compare(self, what: str, method: Any, data: Any) -> Findings:
        if data.probe_train is not None or what == "health":
            for name in (THIS_RUN, UNTRAINED):
                with self.console.status(f"{what}: {name}"):
                    yield name, getattr(self, what)(name, self.features.encoders[name], data)

    def neighborhoods(self, name: str, encoder: Any, data: Any) -> Figures:
        """kNN with more neighbors; clusters, and retrieval, in the test set."""
        probe_train, test = (
            {key: values.to(encoder.device) for key, values in self.features(name, split).items()}
            for split in ("probe_train", "test")
        )
        return self.suite.on_features(self.protocol, probe_train, test, data.num_classes, data.groups("test"))

    def robustness(self, name: str, encoder: Any, data: Any) -> Figures:
        """Accuracies on corrupted samples of the test set, by kind and strength, of a linear probe fitted on clean.

        `robustness/KIND_accuracy`: the mean over all strengths; KIND "clean": the same samples as they are.
        """
        kinds = data.modality.corruptions
        if not kinds:
            return {}
        figures: Figures = {}
        test = _some(data.test, self.suite.samples)
        probe = self._linear_probe(self.features(name, "probe_train"), data.num_classes, encoder.device)
        for kind, corruptions in {"clean": [dict], **kinds}.items():
            correct = []
            for strength, corrupt in enumerate(corruptions, 1):
                seen = partial(_embedded_after, corrupt, encoder, data)
                correct.append(_correct(probe, part_features(encoder, data, test, seen)))
                judged = self.protocol.mean(f"robustness/{kind}_{strength}_accuracy", correct[-1], _groups(test))
                figures |= judged if kind in kinds else {}
            mean = torch.stack(correct).double().mean(dim=0)
            figures |= self.protocol.mean(f"robustness/{kind}_accuracy", mean, _groups(test))
        return figures

    def layers(self, name: str, encoder: Any, data: Any) -> Figures:
        """Accuracy of a linear probe on the output of each stage or block of the encoder, averaged over positions."""
        train, test = _some(data.probe_train, self.suite.train_samples), _some(data.test, self.suite.samples)
        encode = _Layers(encoder, data, train)
        if not encode.stages:
            return {}
        seen, seen_test = (part_features(encoder, data, part, encode) for part in (train, test))
        figures: Figures = {}
        for number, (x, x_test) in enumerate(zip(encode.split(seen), encode.split(seen_test), strict=True), 1):
            correct = _correct(self._linear_probe(x, data.num_classes, encoder.device), x_test)
            figures |= self.protocol.mean(f"layers/{number}_accuracy", correct, _groups(test))
        return figures

    def health(self, name: str, encoder: Any, data: Any) -> Figures:
        """What needs no labels."""
        return label_free_figures(encoder, data)

    def _linear_probe(self, seen: dict[str, Tensor], num_classes: int, device: torch.device) -> Any:
        rows = spread(len(seen["labels"]), self.suite.train_samples)
        x, y = (seen[key][rows].to(device) for key in ("features", "labels"))
        return self.protocol.linear_probe(x, y, num_classes)[0]


class _Layers:
    """From a raw batch to the pooled outputs of all stages of an encoder, side by side (B, sum of widths)."""

    def __init__(self, encoder: Any, data: Any, part: Any) -> None:
        self.encoder, self.data = encoder, data
        self.widths: list[int] = []
        self.channels_last = any(getattr(module, "output_fmt", "") == "NHWC" for module in encoder.modules())
        batch = {key: value.to(encoder.device) for key, value in part.__getitems__([0]).items()}
        with evaluating(encoder), torch.no_grad():
            self.stages = stages(encoder, lambda: embedded(encoder, data, batch))

    def __call__(self, batch: dict[str, Any]) -> Tensor:
        inputs = self.data.modality.evaluation_view(batch)[self.data.modality.key]
        pad = self.data.modality.facts.get("pad_id")
        visible = None if pad is None else inputs != pad
        found: dict[Any, Tensor] = {}

        def see(stage: Any, output: Any) -> None:
            found[stage] = pooled(output, len(inputs), visible, self.channels_last)

        with watched(self.stages, see):
            embedded(self.encoder, self.data, batch)
        self.widths = [found[stage].shape[1] for stage in self.stages]
        return torch.cat([found[stage] for stage in self.stages], dim=1)

    def split(self, seen: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """What was extracted, stage by stage."""
        return ({**seen, "features": columns} for columns in seen["features"].split(self.widths, dim=1))


def _embedded_after(corrupt: Any, encoder: Any, data: Any, batch: dict[str, Any]) -> Tensor:
    return embedded(encoder, data, corrupt(batch))


def _correct(probe: Any, seen: dict[str, Tensor]) -> Tensor:
    """(N,) bool."""
    return probe.predict(seen["features"].to(probe.weight.device)).cpu() == seen["labels"]


def _some(part: Any, count: int) -> Any:
    return part.subset(spread(len(part), count))


def _groups(part: Any) -> Tensor | None:
    return None if part.groups is None else torch.as_tensor(part.groups)
