"""How metrics are called and written, on every table and picture."""

import re

FIGURES = {
    "probe/knn_accuracy": ("kNN accuracy", "{:.1%}"),
    "probe/linear_accuracy": ("linear accuracy", "{:.1%}"),
    "probe/effective_rank": ("effective rank of the embedding", "{:.1f}"),
    "probe/uniformity": ("uniformity (lower is more even)", "{:.3f}"),
    "probe/alignment": ("alignment of two views (lower is closer)", "{:.3f}"),
    "val/loss": ("loss", "{:.4f}"),
    "val/perplexity": ("perplexity", "{:.2f}"),
    "val/bits_per_byte": ("bits per byte", "{:.3f}"),
}
"""Of any method: label and format."""

_PLACES = {"val": "held-out ", "train": "training ", "probe": "", "health": ""}
_KINDS = {"cluster": "k-means", "finetune": "fine-tuned", "probe": "", "robustness": "corrupted:"}
_WORDS = {"nmi": "NMI", "ari": "ARI", "map": "mAP", "knn": "kNN", "sgd": "linear by SGD", "knn 200": "kNN, k = 200"}
_UNITS = {"percent": "% of labels", "a_class": "a class"}


def label(metric: str) -> str:
    """ "kNN accuracy" of `probe/knn_accuracy`, "test kNN" of `evaluate/probe/knn_accuracy`, and "test kNN on svhn" of
    `evaluate_svhn/probe/knn_accuracy`.
    """
    place, _, name = metric.partition("/")
    of_test, _, data = place.partition("_")
    if of_test == "evaluate":
        return f"test {measured_label(name)}" + (f" on {data}" if data else "")
    known = FIGURES[metric][0].partition(" (")[0] if metric in FIGURES else name.replace("_", " ")
    return _PLACES[place] + known if place in _PLACES else metric.replace("_", " ")


def measured_label(metric: str) -> str:
    """Of what `ssl-evaluate` measures: "linear, 100 labels" of `probe/linear_accuracy_100`."""
    kind, _, what = metric.partition("/")
    if kind in ("test", "val"):
        return what.replace("_", " ") + (", squared, of pixels in [0, 1]" if metric.endswith("_error") else "")
    what, _, few = what.partition("accuracy")
    what = what.replace("recall_", "R@").replace("_", " ").strip() or ("accuracy" if kind == "cluster" else "")
    number, _, unit = few.strip("_").partition("_")
    few = f"{number} {_UNITS.get(unit, 'labels')}" if number else ""
    return ", ".join(filter(None, (f"{_KINDS.get(kind, kind)} {_WORDS.get(what, what)}".strip(), few)))


def is_share(metric: str) -> bool:
    """Whether a metric is written in percent."""
    return bool(re.search(r"accuracy|recall|purity|cluster/|retrieval/", metric))


def written(metric: str, value: float, half: float | None = None) -> str:
    """A value with half of its interval: "91.2%±0.8"."""
    if is_share(metric):
        return f"{value:.1%}" + ("" if half is None else f"±{100 * half:.1f}")
    form = FIGURES.get(re.sub("^evaluate[^/]*/", "", metric), ("", "{:.4g}"))[1]
    return form.format(value) + ("" if half is None else f"±{half:.2g}")
