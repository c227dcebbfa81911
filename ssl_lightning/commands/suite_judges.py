"""What a suite measures beyond its protocol, of frozen encoders; see `Study` for what a judge is."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from ssl_lightning.commands.study import Figures, Findings, Study
from ssl_lightning.evaluation.class_retrieval import retrieval
from ssl_lightning.evaluation.clustering import cluster_figures
from ssl_lightning.evaluation.features import evaluating, groups_of, spread
from ssl_lightning.evaluation.knn import knn_predict
from ssl_lightning.evaluation.layers import pooled, stages, watched
from ssl_lightning.evaluation.linear_probe import LinearProbe
from ssl_lightning.runs.frozen_features import embedded, label_free_figures


def suite_judges(study: Study) -> list[Callable[[Study], Findings]]:
    """The judges of its suite, by what the data has."""
    labeled = [neighborhoods, robustness, layers] if study.data.probe_train is not None else []
    return [partial(_compared, figures) for figures in (*labeled, health)]


def _compared(figures: Callable[[Study, Any], Figures], study: Study) -> Findings:
    return study.compared(figures.__name__, partial(figures, study))


def neighborhoods(study: Study, encoder: Any) -> Figures:
    """kNN with more neighbors; clusters, and retrieval, in the test set."""
    data, protocol, k, groups = study.data, study.protocol, study.suite.knn_k, study.data.groups("test")
    found = [study.features(encoder, part) for part in (data.test, data.probe_train)]
    x, y, x_train, y_train = (part[key].to(encoder.device) for part in found for key in ("features", "labels"))
    predicted = knn_predict(x, x_train, y_train, data.num_classes, k, protocol.knn_temperature)
    figures = protocol.judge(f"probe/knn_{k}_accuracy", predicted, y, groups)
    figures |= cluster_figures(x, y, data.num_classes, study.suite.starts)
    ranked = retrieval(x, y, study.suite.recalls, groups)
    query = ranked.pop("query").cpu()
    for name, values in ranked.items():
        figures |= protocol.mean(f"retrieval/{name}", values, None if groups is None else groups[query])
    return figures


def robustness(study: Study, encoder: Any) -> Figures:
    """Accuracies on corrupted samples of the test set, by kind and strength, of a linear probe fitted on clean.

    `robustness/KIND_accuracy`: the mean over all strengths; KIND "clean": the same samples as they are.
    """
    data, protocol, kinds = study.data, study.protocol, study.data.modality.corruptions
    if not kinds:
        return {}
    figures: Figures = {}
    test = _some(data.test, study.suite.samples)
    probe = _linear_probe(study, study.features(encoder, data.probe_train), encoder.device)
    for kind, corruptions in {"clean": [dict], **kinds}.items():
        correct = []
        for strength, corrupt in enumerate(corruptions, 1):
            encode = partial(_embedded_after, corrupt, encoder, data)
            correct.append(_correct(probe, study.features(encoder, test, f"{kind} {strength}", encode)))
            judged = protocol.mean(f"robustness/{kind}_{strength}_accuracy", correct[-1], groups_of(test))
            figures |= judged if kind in kinds else {}
        mean = torch.stack(correct).double().mean(dim=0)
        figures |= protocol.mean(f"robustness/{kind}_accuracy", mean, groups_of(test))
    return figures


def layers(study: Study, encoder: Any) -> Figures:
    """Accuracy of a linear probe on the output of each stage or block of the encoder, averaged over positions."""
    train, test = _some(study.data.probe_train, study.suite.train_samples), _some(study.data.test, study.suite.samples)
    encode = _Layers(encoder, study.data, train)
    if not encode.stages:
        return {}
    seen, seen_test = (encode.split(study.features(encoder, part, "layers", encode)) for part in (train, test))
    figures: Figures = {}
    for number, (x, x_test) in enumerate(zip(seen, seen_test, strict=True), 1):
        correct = _correct(_linear_probe(study, x, encoder.device), x_test)
        figures |= study.protocol.mean(f"layers/{number}_accuracy", correct, groups_of(test))
    return figures


def health(study: Study, encoder: Any) -> Figures:
    """What needs no labels."""
    return label_free_figures(encoder, study.data)


def _linear_probe(study: Study, seen: dict[str, Tensor], device: torch.device) -> LinearProbe:
    rows = spread(len(seen["labels"]), study.suite.train_samples)
    x, y = (seen[key][rows].to(device) for key in ("features", "labels"))
    return study.protocol.linear_probe(x, y, study.data.num_classes)[0]


class _Layers:
    """From a raw batch to the pooled outputs of all stages of an encoder, side by side (B, sum of widths)."""

    def __init__(self, encoder: Any, data: Any, part: Any) -> None:
        self.encoder, self.data = encoder, data
        self.channels_last = any(getattr(module, "output_fmt", "") == "NHWC" for module in encoder.modules())
        batch = move_data_to_device(part.__getitems__([0]), encoder.device)
        with evaluating(encoder), torch.no_grad():
            self.stages = stages(encoder, lambda: embedded(encoder, data, batch))
            self.widths = [output.shape[1] for output in self._outputs(batch)]

    def __call__(self, batch: dict[str, Any]) -> Tensor:
        return torch.cat(self._outputs(batch), dim=1)

    def _outputs(self, batch: dict[str, Any]) -> list[Tensor]:
        inputs = self.data.modality.evaluation_view(batch)[self.data.modality.key]
        pad = self.data.modality.facts.get("pad_id")
        visible = None if pad is None or inputs.is_floating_point() else inputs != pad  # pairs are seen as images
        found: dict[Any, Tensor] = {}

        def see(stage: Any, output: Any) -> None:
            found[stage] = pooled(output, len(inputs), visible, self.channels_last)

        with watched(self.stages, see):
            embedded(self.encoder, self.data, batch)
        return [found[stage] for stage in self.stages]

    def split(self, seen: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """What was extracted, stage by stage."""
        return ({**seen, "features": columns} for columns in seen["features"].split(self.widths, dim=1))


def _embedded_after(corrupt: Any, encoder: Any, data: Any, batch: dict[str, Any]) -> Tensor:
    return embedded(encoder, data, corrupt(batch))


def _correct(probe: LinearProbe, seen: dict[str, Tensor]) -> Tensor:
    """(N,) bool."""
    return probe.predict(seen["features"].to(probe.weight.device)).cpu() == seen["labels"]


def _some(part: Any, count: int) -> Any:
    return part.subset(spread(len(part), count))
