"""How metrics are called and written, on every table and picture."""

FIGURES = {
    "probe/knn_accuracy": ("kNN accuracy", "{:.1%}"),
    "probe/linear_accuracy": ("linear accuracy", "{:.1%}"),
    "probe/effective_rank": ("effective rank of the embedding", "{:.1f}"),
    "probe/uniformity": ("uniformity (lower is more even)", "{:.2f}"),
    "probe/alignment": ("alignment of two views (lower is closer)", "{:.3f}"),
    "val/loss": ("loss", "{:.4f}"),
    "val/perplexity": ("perplexity", "{:.2f}"),
    "val/bits_per_byte": ("bits per byte", "{:.3f}"),
}
"""Of any method: label and format."""


_PARTS = {"evaluate/": "test ", "val/": "held-out ", "train/": "training ", "probe/": "", "health/": ""}


def label(metric: str) -> str:
    """ "kNN accuracy" of `probe/knn_accuracy`, "test kNN accuracy" of `evaluate/probe/knn_accuracy`."""
    for prefix, word in _PARTS.items():
        if metric.startswith(prefix):
            name = metric.removeprefix("evaluate/")
            known = FIGURES[name][0].partition(" (")[0] if name in FIGURES else name.partition("/")[2].replace("_", " ")
            return word + known
    return metric.replace("_", " ")


def is_share(metric: str) -> bool:
    """Whether a metric is written in percent."""
    return any(word in metric for word in ("accuracy", "recall", "purity"))


def written(metric: str, value: float, half: float | None = None) -> str:
    """A value with half of its interval: "91.2%±0.8"."""
    if is_share(metric):
        return f"{value:.1%}" + ("" if half is None else f"±{100 * half:.1f}")
    form = FIGURES.get(metric.removeprefix("evaluate/"), ("", "{:.4g}"))[1]
    return form.format(value) + ("" if half is None else f"±{half:.2g}")
