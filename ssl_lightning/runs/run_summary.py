"""The record of a run: its config, its speed, and `results.json`."""

import time
from collections.abc import Mapping
from typing import Any

import lightning
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from ssl_lightning.errors import NotSaved, TrainingInterrupted, warn
from ssl_lightning.record import TakesResults, record, record_last
from ssl_lightning.runs.description import store_description
from ssl_lightning.runs.folder import RunFolder, remove_leftovers, write_atomically, write_json
from ssl_lightning.runs.identity import identity
from ssl_lightning.runs.metrics import Metrics
from ssl_lightning.runs.provenance import provenance
from ssl_lightning.runs.stored_config import storable

_STATUS = {TrainingInterrupted: "stopped", KeyboardInterrupt: "stopped", NotSaved: "unsaved"}
"""What became of a run, by the exception that ended it."""


class RunSummary(lightning.Callback):
    """Counts samples and time, saves `metrics.csv` and `results.json` at every epoch and whenever the run ends.

    The rate is that of training alone, from the end of the first step of an epoch, and of the first after a validation:
    validation, probes and compilation do not count. What was counted before a stop is counted on after a resume.

    The folder is touched only once a training begins: a start that fails before leaves what a run before it left.
    """

    state_key = "RunSummary"

    def __init__(self, run: RunFolder, metrics: Metrics, config: DictConfig, begins_trained: bool = False) -> None:
        self.begins_trained = begins_trained  # then what is measured at its start is no control
        self.run, self.metrics, self.config = run, metrics, config
        self.status = "new"
        self.samples, self.training, self.waiting, self.wall = 0, 0.0, 0.0, 0.0
        self.started = self.marked = time.perf_counter()
        self.opened = False

    def state_dict(self) -> dict[str, Any]:
        wall = self.wall + time.perf_counter() - self.started
        return {"samples": self.samples, "training": self.training, "waiting": self.waiting, "wall": wall}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.samples, self.training = state_dict["samples"], state_dict["training"]
        self.waiting, self.wall = state_dict["waiting"], state_dict["wall"]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.status = "running"
        for step in sorted(self.metrics.rows):  # what others decide by, such as EarlyStopping, also after a resume
            record_last(trainer, self.metrics.rows[step])
        self._store_config()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.opened = False

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.opened = False

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = time.perf_counter()
        if self.opened:
            self.samples += len(batch["index"]) * trainer.world_size
            self.training += now - self.marked
            self.waiting += max(0.0, trainer.datamodule.fetched_at - self.marked)
        self.opened, self.marked = True, now
        if trainer.global_step % trainer.log_every_n_steps == 0 and self.training:
            wall = self.state_dict()["wall"]
            record(trainer, {**self.rates(), "time/wall_seconds": wall, "epoch": trainer.current_epoch})

    def rates(self) -> dict[str, float]:
        """Samples a second over all devices, and the share of the time spent waiting for the loader."""
        return {
            "time/samples_per_second": self.samples / max(self.training, 1e-9),
            "time/data_wait_fraction": self.waiting / max(self.training, 1e-9),
        }

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.write(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.write(trainer)

    def end(self, trainer: Any, error: BaseException | None = None) -> None:
        """The training ended by `error`; without, the run is whole: its last checkpoint is written too."""
        if self.status != "new":
            self.status = "finished" if error is None else _STATUS.get(type(error), "failed")
            self.write(trainer)

    @rank_zero_only
    def _store_config(self) -> None:
        """All that made the run; every checkpoint has been loaded by then, so that it is known to fit."""
        remove_leftovers(self.run)
        write_atomically(self.run.config, OmegaConf.to_yaml(storable(self.config)))
        store_description(self.run)

    @rank_zero_only
    def write(self, trainer: Any) -> None:
        """Both files, from what is known by now; a full disk costs a warning, not the run."""
        self.metrics.save()
        untrained: Mapping[str, float] = {} if self.begins_trained else self.metrics.rows.get(0, {})
        timing = {name.partition("/")[2]: value for name, value in self.rates().items()}
        results = {
            "status": self.status,
            "metrics": self.metrics.latest,
            "controls": {name: value for name, value in untrained.items() if name.startswith("probe/")},
            "timing": {"wall_seconds": self.state_dict()["wall"], "steps": trainer.global_step, **timing},
            "provenance": self.provenance(trainer),
        }
        try:
            write_json(self.run.results, results)
        except OSError as error:
            warn(f"{self.run.results} cannot be written ({error.strerror})")
        for logger in trainer.loggers:
            if isinstance(logger, TakesResults):
                logger.log_results(results, self.metrics.best())

    def provenance(self, trainer: Any) -> dict[str, Any]:
        """Code, packages, hardware and config that the figures of the run come from."""
        return provenance(identity(self.config), str(trainer.precision), trainer.world_size, self.config.seed)
