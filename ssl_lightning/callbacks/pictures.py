"""The pictures that every run leaves in `figures/`, and in loggers that take images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, Trainer
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.errors import warn
from ssl_lightning.evaluation.features import spread
from ssl_lightning.figures.curves import curves_figure, map_figure, principal
from ssl_lightning.figures.style import save
from ssl_lightning.ranges import PositiveInt
from ssl_lightning.record import TakesImages
from ssl_lightning.runs.description import title
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.frozen_features import part_features
from ssl_lightning.runs.metrics import Metrics
from ssl_lightning.runs.pretext import run_pretext_task


class Pictures(Callback):
    """`views.png` at the start; `curves.png` at every epoch; at the end `embedding.png`, maps of the validation set by
    the untrained and the trained encoder, and `task.png`, the method's pretext task on held-out samples; of clips also
    `task.gif`. `views.png` shows what the transform makes: its views, or what it did to the input.

    Args:
        images: rows of `views.png` and `task.png`.
        points: at most so many samples on the maps.
        map: t-SNE, PCA, or UMAP where umap-learn is installed.
    """

    def __init__(
        self, images: PositiveInt = 8, points: PositiveInt = 1000, map: Literal["tsne", "pca", "umap"] = "tsne"
    ) -> None:
        self.images, self.points, self.map = images, points, map
        self.untrained: Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"untrained": self.untrained}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.untrained = state_dict["untrained"]

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self.run = RunFolder(Path(trainer.default_root_dir))

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        data = trainer.datamodule
        if trainer.is_global_zero:
            self._show_transform(trainer, pl_module)
        if trainer.global_step == 0 and self._is_mapped(trainer):
            features = part_features(pl_module, data, self._mapped(data))["features"]
            if features.isfinite().all():
                self.untrained = principal(F.normalize(features, dim=1), 50).half()  # all that the map is made of

    def _show_transform(self, trainer: Any, pl_module: Any) -> None:
        data = trainer.datamodule
        samples, key = self._spread(data.train), data.modality.key
        batch, seen = self._transformed(samples, data, pl_module), data.modality.evaluation_view(samples)[key]
        made = {f"view {number}": view for number, view in enumerate(batch.get("views", ()), start=1)}
        inputs = batch.get("inputs")
        if inputs is not None and (inputs.ndim, inputs.shape[:-2]) == (seen.ndim, seen.shape[:-2]):
            made["transformed"] = inputs
        if made:
            self._save_columns(trainer, "views", {key: seen, **made})

    def _is_mapped(self, trainer: Any) -> bool:
        """Whether samples are held out, at least one for each process."""
        return len(trainer.datamodule.val or ()) >= max(4, trainer.world_size)

    def _mapped(self, data: Any) -> Any:
        """The samples of the validation set that are on the maps."""
        drawn = torch.randperm(len(data.val), generator=torch.Generator().manual_seed(0))[: self.points]
        return data.val.subset(drawn.sort().values.numpy())

    def _spread(self, part: Any) -> dict[str, Tensor]:
        """`images` samples of a set, evenly spread over it."""
        return part.__getitems__(spread(len(part), self.images))

    def _transformed(self, samples: dict[str, Tensor], data: Any, pl_module: Any) -> dict:
        return data.augment(move_data_to_device(samples, pl_module.device), seed=data.seed)

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        for metrics in trainer.loggers:
            if isinstance(metrics, Metrics):  # without it no curve is kept that could be drawn
                curves = {name: metrics.curve(name) for name in metrics.latest}
                self._save(trainer, "curves", curves_figure(curves, pl_module.figures))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        data = trainer.datamodule
        if not self._is_mapped(trainer):
            return
        if pl_module.declares("show"):
            columns = run_pretext_task(pl_module, self._transformed(self._spread(data.val), data, pl_module), data.seed)
            if trainer.is_global_zero and all(column.isfinite().all() for column in columns.values()):
                self._save_columns(trainer, "task", columns)
        found = part_features(pl_module, data, self._mapped(data))
        features = found["features"]
        if not trainer.is_global_zero or not features.isfinite().all():
            return
        maps = {} if self.untrained is None else {"untrained encoder": self.untrained}
        maps[f"after {trainer.global_step:,} steps"] = features
        self._save(trainer, "embedding", map_figure(maps, found.get("labels"), data.classes, self.map))

    def _save_columns(self, trainer: Any, name: str, columns: dict[str, Tensor]) -> None:
        modality = trainer.datamodule.modality
        self._save(trainer, name, modality.draw(columns), lambda film: modality.animate(columns, film))

    def _save(
        self, trainer: Any, name: str, figure: Figure, animate: Callable[[Path], Any] = lambda film: None
    ) -> None:
        path = self.run.figures / f"{name}.png"
        try:
            save(figure, path, title(self.run, trainer.datamodule.seed))
            animate(path.with_suffix(".gif"))
        except OSError as error:  # a picture that cannot be written ends no run
            warn(f"{path} was not written ({error.strerror})")
            return
        for logger in trainer.loggers:
            if isinstance(logger, TakesImages):
                logger.log_image(key=f"figures/{name}", images=[str(path)], step=trainer.global_step)
