"""`sweep=optuna`: a search whose trials are the jobs of a sweep."""

from pathlib import Path
from typing import Any, Literal

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from ssl_lightning.ranges import PositiveInt, Seed


class OptunaSweeper(BasicSweeper):
    """Searches the keys that are given a range; the other overrides are those of every trial.

    Args:
        n_trials: trials in all, those of a search that is resumed included.
        direction: 'maximize' or 'minimize'; None: as it is better for the objective.
        sampler: 'tpe', 'gp' or 'random'.
        seed: of the sampler.
        batch: trials proposed together; None for as many as the launcher runs at once.
        params: ranges of keys, as on the command line.
    """

    def __init__(
        self,
        n_trials: PositiveInt,
        direction: Literal["maximize", "minimize"] | None,
        sampler: Literal["tpe", "gp", "random"],
        seed: Seed,
        batch: PositiveInt | None = None,
        params: dict[str, str] | None = None,
    ) -> None:
        super().__init__(batch, params)
        self.n_trials, self.direction, self.sampler, self.seed = n_trials, direction, sampler, seed

    def sweep(self, arguments: list[str]) -> Any:
        from ssl_lightning.config.validate import validate_arguments
        from ssl_lightning.figures.leaderboard import print_sweep
        from ssl_lightning.launch.jobs import parsed_overrides
        from ssl_lightning.launch.optuna_search import Search
        from ssl_lightning.runs.folder import RunFolder

        assert self.config is not None
        validate_arguments(self.config.hydra.sweeper, "sweep")
        overrides = parsed_overrides(self, arguments)
        batch = self.max_batch_size or self.config.hydra.launcher.get("n_jobs") or 1
        folder = Path(str(self.config.hydra.sweep.dir)).resolve()
        with RunFolder(folder).locked():
            over = Search(self, overrides).run(n_trials=self.n_trials, batch=batch)
        print_sweep(folder, self.config.get("objective"))
        return over
