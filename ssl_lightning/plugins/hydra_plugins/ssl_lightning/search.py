"""`sweep=optuna`: a search whose trials are the jobs of a sweep."""

from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Searches the keys that are given a range; the other overrides are those of every trial.

    Args:
        n_trials: trials in all, those of a search that is gone on with included.
        direction: 'maximize' or 'minimize'; None: as it is better for the objective.
        sampler: 'tpe', 'gp' or 'random'.
        seed: of the sampler.
        batch: trials proposed together; None for as many as the launcher runs at once.
        params: ranges of keys, as on the command line.
        resume: makes no difference, a search goes on by itself.
    """

    def __init__(
        self,
        n_trials: int,
        direction: str | None,
        sampler: str,
        seed: int,
        batch: int | None = None,
        params: dict[str, str] | None = None,
        resume: bool = False,
    ) -> None:
        self.n_trials, self.direction, self.sampler, self.seed = n_trials, direction, sampler, seed
        self.batch, self.params = batch, params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from ssl_lightning.launch.jobs import Jobs
        from ssl_lightning.launch.optuna_search import Search

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        search = Search(
            Jobs(self.config, self.hydra_context, self.launcher),
            overrides,
            direction=self.direction,
            sampler=self.sampler,
            seed=self.seed,
        )
        batch = self.batch or self.config.hydra.launcher.get("n_jobs") or 1
        return search.run(n_trials=self.n_trials, batch=batch)
