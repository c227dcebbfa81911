"""The pictures that every run leaves in `figures/`, and in loggers that take images."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lightning.figures.curves import curves_figure, map_figure
from ssl_lightning.ranges import PositiveInt
from ssl_lightning.record import TakesFilms, TakesImages
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.frozen_features import split_features
from ssl_lightning.runs.metrics import Metrics
from ssl_lightning.runs.pretext import run_pretext_task


class Pictures(Callback):
    """`views.png` at the start; `curves.png` at every epoch; at the end `embedding.png`, a map of the validation set,
    and `task.png`, the method's pretext task on held-out samples; of clips also `task.gif`.

    Args:
        images: rows of `views.png` and `task.png`.
        points: at most so many samples on the map.
    """

    def __init__(self, images: PositiveInt = 8, points: PositiveInt = 1000) -> None:
        self.images, self.points = images, points

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self.run = RunFolder(Path(trainer.default_root_dir))

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if "views" not in data.transform.produces:
            return
        samples, key = self._spread(data.train), data.modality.key
        batch = self._transformed(samples, data, pl_module)
        views = {f"view {number}": view for number, view in enumerate(batch["views"], start=1)}
        self._save_columns(trainer, "views", {key: data.modality.evaluation_view(samples)[key], **views})

    def _spread(self, part: Any) -> dict[str, Tensor]:
        """`images` samples of a set, evenly spread over it."""
        count = min(self.images, len(part))
        return part.__getitems__([row * len(part) // count for row in range(count)])

    def _transformed(self, samples: dict[str, Tensor], data: Any, pl_module: Any) -> dict:
        return data.augment({key: value.to(pl_module.device) for key, value in samples.items()}, seed=data.seed)

    def _save_columns(self, trainer: Trainer, name: str, columns: dict[str, Tensor]) -> None:
        modality: Any = trainer.datamodule.modality  # type: ignore[attr-defined]
        self._save(trainer, name, modality.draw(columns))
        film = self.run.figures / f"{name}.gif"
        with _warning(film):
            if modality.animate(columns, film):
                for logger in trainer.loggers:
                    if isinstance(logger, TakesFilms):
                        logger.log_video(f"figures/{name}_film", [str(film)], step=trainer.global_step, format=["gif"])

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        for metrics in trainer.loggers:
            if isinstance(metrics, Metrics):  # without it no curve is kept that could be drawn
                curves = {name: metrics.curve(name) for name in metrics.latest}
                self._save(trainer, "curves", curves_figure(curves, pl_module.figures))

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if data.val is None or len(data.val) < 4:
            return
        if pl_module.declares("show"):
            self._show_task(trainer, pl_module)
        found = split_features(pl_module, data, "val")
        if not trainer.is_global_zero or not found["features"].isfinite().all():
            return
        chosen = torch.randperm(len(found["features"]), generator=torch.Generator().manual_seed(0))[: self.points]
        labels = found["labels"][chosen] if "labels" in found else None
        self._save(trainer, "embedding", map_figure(found["features"][chosen], labels, data.classes))

    def _show_task(self, trainer: Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        batch = self._transformed(self._spread(data.val), data, pl_module)
        columns = run_pretext_task(pl_module, batch, data.seed)
        if trainer.is_global_zero and all(column.isfinite().all() for column in columns.values()):
            self._save_columns(trainer, "task", columns)

    def _save(self, trainer: Trainer, name: str, figure: Figure) -> None:
        path = self.run.figures / f"{name}.png"
        with _warning(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=120, bbox_inches="tight")
            for logger in trainer.loggers:
                if isinstance(logger, TakesImages):
                    logger.log_image(key=f"figures/{name}", images=[str(path)], step=trainer.global_step)


@contextmanager
def _warning(path: Path) -> Iterator[None]:
    """A picture that cannot be written ends no run."""
    try:
        yield
    except OSError as error:
        print(f"\nwarning: {path} was not written ({error.strerror})")
