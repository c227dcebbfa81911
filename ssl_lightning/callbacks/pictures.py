"""The pictures that every run leaves in `figures/`, and in loggers that take images."""

import re
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lightning.runs.features import split_features
from ssl_lightning.runs.films import film_figure, write_gif
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.metrics import Metrics
from ssl_lightning.runs.pictures import columns_figure, do_task, unnormalised

_TASK = re.compile(r"(train|val)/\w*accuracy")


class Pictures(lightning.Callback):
    """`views.png` at the start; `curves.png` at every epoch; at the end `embedding.png`, a map of the
    validation set, and `task.png`, what the method makes of held-out images; of clips `task.gif`, too.

    Args:
        images: rows of `views.png` and `task.png`.
        points: at most so many samples on the map.
    """

    def __init__(self, images: int = 8, points: int = 1000) -> None:
        self.images, self.points = images, points

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self.run = RunFolder(Path(trainer.default_root_dir))

    @rank_zero_only
    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if "views" not in data.transform.makes:
            return
        images = self._spread(data.train)
        batch = self._transformed(images, data, pl_module)
        views = {f"view {number}": view for number, view in enumerate(batch["views"], start=1)}
        self._save_columns(trainer, "views", {"image": data.plain(images)["image"], **views})

    def _spread(self, part: Any) -> dict[str, Tensor]:
        """`images` samples of a set, evenly spread over it."""
        count = min(self.images, len(part))
        return part.__getitems__([row * len(part) // count for row in range(count)])

    def _transformed(self, samples: dict[str, Tensor], data: Any, pl_module: lightning.LightningModule) -> dict:
        return data.augment({key: value.to(pl_module.device) for key, value in samples.items()}, seed=data.seed)

    def _save_columns(self, trainer: lightning.Trainer, name: str, columns: dict[str, Tensor]) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        shown = {title: unnormalised(column, data.mean, data.std) for title, column in columns.items()}
        if next(iter(shown.values())).ndim == 4:
            self._save(trainer, name, columns_figure(shown))
            return
        self._save(trainer, name, film_figure(shown))
        try:
            write_gif(self.run.figures / f"{name}.gif", shown)
        except OSError as error:
            print(f"\nwarning: figures/{name}.gif was not written ({error.strerror})")

    @rank_zero_only
    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        metrics = next(logger for logger in trainer.loggers if isinstance(logger, Metrics))
        self._save(trainer, "curves", curves_figure(metrics))

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if data.val is None or len(data.val) < 4:
            return
        if hasattr(pl_module, "show"):
            self._show_task(trainer, pl_module)
        found = split_features(pl_module, data, "val")
        if not trainer.is_global_zero:
            return
        if not found["features"].isfinite().all():
            return
        chosen = torch.randperm(len(found["features"]), generator=torch.Generator().manual_seed(0))[: self.points]
        labels = found["labels"][chosen] if "labels" in found else None
        self._save(trainer, "embedding", map_figure(found["features"][chosen], labels, data.classes))

    def _show_task(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        batch = self._transformed(self._spread(data.val), data, pl_module)
        columns = do_task(pl_module, batch, data.seed)
        if trainer.is_global_zero and all(column.isfinite().all() for column in columns.values()):
            self._save_columns(trainer, "task", columns)

    def _save(self, trainer: lightning.Trainer, name: str, figure: Figure) -> None:
        path = self.run.figures / f"{name}.png"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=120, bbox_inches="tight")
        except OSError as error:
            print(f"\nwarning: {path} was not written ({error.strerror})")
            return
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image(key=f"figures/{name}", images=[str(path)], step=trainer.global_step)


def curves_figure(metrics: Metrics) -> Figure:
    """Loss, probes beside their control, and health over the steps."""
    panels = {
        "loss": ("train/loss", "val/loss"),
        "bits per byte": ("val/bits_per_byte",),
        "squared error of pixels": ("train/pixel_error", "val/pixel_error"),
        "squared error of frames to come": ("val/error", "val/persistence_error", "val/mean_frame_error"),
        "accuracy of the task": tuple(sorted(name for name in metrics.latest if _TASK.fullmatch(name))),
        "accuracy of the probes": ("probe/knn_accuracy", "probe/linear_accuracy"),
        "effective rank": ("health/effective_rank",),
        "learning rate": ("train/learning_rate",),
    }
    shown = {title: names for title, names in panels.items() if any(metrics.curve(name)[0] for name in names)}
    figure = Figure(figsize=(4.5 * max(1, len(shown)), 3.2), layout="constrained")
    for axes, (title, names) in zip(
        figure.subplots(1, max(1, len(shown)), squeeze=False).flat, shown.items(), strict=False
    ):
        for name in names:
            steps, values = metrics.curve(name)
            if not steps:
                continue
            (line,) = axes.plot(steps, values, label=name, marker="o" if len(steps) < 40 else "", markersize=3)
            if name.startswith("probe/") and steps[0] == 0:
                axes.axhline(values[0], color=line.get_color(), linestyle=":", label="untrained encoder")
        axes.set(title=title, xlabel="optimizer step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    return figure


def map_figure(features: Tensor, labels: Tensor | None, classes: list[str] | None) -> Figure:
    """t-SNE of `features (N, D)`, coloured by label where there are labels."""
    from sklearn.manifold import TSNE

    places = TSNE(
        init="pca", perplexity=min(30.0, (len(features) - 1) / 3), max_iter=500, random_state=0
    ).fit_transform(torch.nn.functional.normalize(features, dim=1).numpy())
    figure = Figure(figsize=(5.5, 5))
    axes = figure.subplots()
    many = labels is not None and int(labels.max()) >= 10
    colours, palette = (None, None) if labels is None else (labels.numpy(), "nipy_spectral" if many else "tab10")
    points = axes.scatter(places[:, 0], places[:, 1], c=colours, s=8, cmap=palette, alpha=0.8)
    if labels is not None and not many:
        handles, _ = points.legend_elements(num=None)  # type: ignore[arg-type]
        present = [int(label) for label in labels.unique()]
        names = [classes[label] if classes else str(label) for label in present]
        axes.legend(handles, names, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.set(title="embedding of the validation set (t-SNE)", xticks=[], yticks=[])
    return figure
