"""Weights & Biases: a run as its users compare it, beside `metrics.csv` and `results.json`."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch.loggers
from lightning.fabric.utilities.logger import _flatten_dict
from lightning.pytorch.utilities import rank_zero_only
from pydantic import ValidationError

from ssl_lightning.config.trust import own_entity
from ssl_lightning.errors import InputError, first_line, warn
from ssl_lightning.runs.description import describe, title
from ssl_lightning.runs.folder import RunFolder, write_atomically

Figures = Mapping[str, float]


class WandbLogger(lightning.pytorch.loggers.WandbLogger):
    """Lightning's logger under a name that says what the run is, with controls and gains in the summary.

    A resumed run keeps the id in its file `wandb_id`. Offline, each start writes a folder `wandb/offline-run-*` of its
    own; `wandb sync` sends those that share an id to one run, in the order of their start. The curves stand over
    `trainer/global_step`, which a resume continues, and not over W&B's `_step`, which each folder counts from 0.

    Args:
        folder: the run folder.
        project, entity: as in `wandb.init`.
        name, tags: as in `wandb.init`; None for the choices of the run, such as "simclr digits seed=0".
        group: as in `wandb.init`; None puts the jobs of one multirun under the name of its folder.
        mode: 'offline' writes to the run folder alone.
        log_model: stores the checkpoints and the config as an artifact when the run ends.

    Raises:
        InputError: at the first use, wandb is not logged in, does not reach its server, or refuses an argument.
    """

    def __init__(
        self,
        folder: str,
        project: str = "ssl-lightning",
        mode: Literal["online", "offline"] = "online",
        group: str | None = None,
        name: str | None = None,
        entity: str | None = None,
        tags: list[str] | None = None,
        log_model: bool = False,
    ) -> None:
        import wandb

        self.run, self.stores_model = RunFolder(Path(folder)), log_model
        id_file = self.run.path / "wandb_id"
        self.named_here = name is None and not id_file.exists()  # afterwards W&B's page may name it
        if getattr(rank_zero_only, "rank", 0) == 0 and not id_file.exists():
            write_atomically(id_file, secrets.token_hex(4))
        sweep = self.run.path.resolve().parent
        if group is None and (sweep / "multirun.yaml").exists():
            group = sweep.name
        self.choices = describe(self.run)[0]
        if tags is None:
            tags = [self.choices[key] for key in ("method", "data", "experiment") if key in self.choices]
        super().__init__(
            save_dir=folder,
            project=project,
            id=id_file.read_text().strip() if id_file.exists() else None,  # None where the first process is elsewhere
            name=name,
            mode=mode,
            group=group,
            entity=entity,
            tags=tags,
            job_type="pretrain",
            settings=wandb.Settings(silent=True),
        )
        self._wandb_init.pop("anonymous")  # which W&B warns of

    @property
    def experiment(self) -> Any:
        """The run of W&B, opened at the first use; on other processes than the first a dummy."""
        from wandb.errors import CommError, UsageError

        try:
            return super().experiment
        except (UsageError, ValidationError) as error:
            said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else first_line(error)
            if "API key" in said:
                raise InputError("W&B is not logged in: wandb login, or logger.wandb.mode=offline") from error
            raise InputError(f"W&B refuses logger.wandb, or the run's file wandb_id: {said}") from error
        except CommError as error:
            raise InputError(f"W&B cannot be reached, or logger.wandb.mode=offline: {error}") from error

    def where(self) -> str:
        """The address of the run or, offline, the command that sends it."""
        run = self.experiment
        return f"wandb sync {Path(run.dir).parent}" if run.offline else run.url

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override]
        """A composed config as flat keys to compare by: `method: simclr`, `method/temperature: 0.2`."""
        self.experiment.config.update({**_flatten_dict(dict(params)), **self.choices}, allow_val_change=True)
        if self.named_here:
            self.experiment.name = title(self.run, params["seed"])
        if modality := params.get("modality"):
            self.experiment.tags = (*(self.experiment.tags or ()), modality)

    @rank_zero_only
    def log_results(self, results: Mapping[str, Any], best: Mapping[str, float]) -> None:
        """`results.json` as the summary: last values, `best/`, `untrained/` and `gain/`; in the end a table of them.

        `best`: of each held-out metric; the others have the last value alone.
        """
        last, untrained = results["metrics"], _without_intervals(results["controls"])
        gain = _gain(last, untrained)
        compared = _under("best", best) | _under("untrained", untrained) | _under("gain", gain)
        self.experiment.summary.update({"status": results["status"], **last, **compared})
        if results["status"] != "running":
            columns = (last, best, untrained, gain)
            rows = [[name, *(column.get(name) for column in columns)] for name in dict.fromkeys([*untrained, *best])]
            self.log_table("results", ["metric", "last", "best", "untrained encoder", "gain"], rows)
            if self.stores_model:
                import wandb

                artifact = wandb.Artifact(f"run-{self.version}", "model")  # which W&B keeps once a version
                for file in filter(Path.exists, (self.run.config, self.run.last, self.run.best)):
                    artifact.add_file(str(file), str(file.relative_to(self.run.path)))
                self.experiment.log_artifact(artifact)

    @rank_zero_only
    def close(self, status: str) -> None:
        """Ends the run of W&B: left open, it would take in the next job of a multirun."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=int(status not in ("finished", "stopped")))
            self._experiment = None


def log_evaluation(
    run: RunFolder, settings: Mapping[str, Any], results: Mapping[str, Any], named: str, figures: list[Path], key: str
) -> None:
    """Adds an evaluation to the W&B run of its training, by the id that the run folder keeps.

    W&B puts the tables of the runs of a project below each other, so each row says whose it is.

    Args:
        run: the run that was evaluated.
        settings: `logger.wandb` of its config.
        results: as in `results.json`.
        named: what was evaluated.
        figures: PNG files.
        key: under which all of it stands: "evaluate", or another one of other data.
    """
    logger = _reopened(run, settings, "the evaluation")
    if logger is None:
        return
    metrics, controls, raw = results["metrics"], results["controls"], results["raw"] or {}
    ends = ("", "_low", "_high")
    rows = [
        [named, name, *(metrics.get(name + end) for end in ends), controls.get(name), raw.get(name)]
        for name in _without_intervals(metrics)
    ]
    columns = ["run", "metric", "this run", "low", "high", "untrained encoder", "raw input"]
    logger.log_table(f"{key}/results", columns, rows)
    for figure in figures:
        logger.log_image(f"{key}/{figure.stem}", [str(figure)])
    protocol = {name: results["protocol"][name] for name in ("name", "hash", "suite", "data")}
    untrained = _without_intervals(controls)
    compared = _under("untrained", untrained) | _under("gain", _gain(metrics, untrained))
    logger.experiment.summary.update({f"{key}/protocol": protocol, **_under(key, {**metrics, **compared})})
    logger.close("finished")


def log_report(run: RunFolder, settings: Mapping[str, Any], columns: list[str], rows: list[list], page: Path) -> None:
    """Adds a comparison of runs, as a table and as its page, to the W&B run of one of them; `settings` as above."""
    import wandb

    logger = _reopened(run, settings, "the report")
    if logger is not None:
        logger.log_table("report/leaderboard", columns, rows)
        logger.experiment.log({"report/page": wandb.Html(str(page))})
        logger.close("finished")


def _reopened(run: RunFolder, settings: Mapping[str, Any], what: str) -> WandbLogger | None:
    """The W&B run of a training; a warning and None where it cannot be, for what is to be added is done and stored."""
    if settings.get("entity") not in (None, own_entity()):
        warn(f"{what} is not tracked: if {settings['entity']} is yours, set WANDB_ENTITY to it")
        return None
    kept = {name: value for name, value in settings.items() if name not in ("_target_", "folder")}
    logger = WandbLogger(str(run.path), **kept)
    try:
        return logger if logger.experiment else None
    except InputError as error:
        warn(f"{what} is not tracked: {error}")
        return None


def _without_intervals(figures: Figures) -> Figures:
    return {name: value for name, value in figures.items() if not name.endswith(("_low", "_high"))}


def _gain(metrics: Figures, untrained: Figures) -> Figures:
    return {name: metrics[name] - value for name, value in untrained.items() if name in metrics}


def _under(prefix: str, figures: Figures) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in figures.items()}
