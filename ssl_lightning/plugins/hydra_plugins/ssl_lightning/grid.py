"""`sweep=grid`: every combination of the values."""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper, which also goes on with a sweep and tells of every job that failed, not of the first.

    Args:
        max_batch_size: jobs handed to the launcher at once; None for all.
        params: values of keys, as on the command line.
        resume: skip the finished jobs of the sweep in this folder.
    """

    def __init__(
        self, max_batch_size: int | None = None, params: dict[str, str] | None = None, resume: bool = False
    ) -> None:
        super().__init__(max_batch_size, params)
        self.resume = resume

    def sweep(self, arguments: list[str]) -> list[Any]:
        from ssl_lightning.launch.jobs import Jobs, raise_if_failed
        from ssl_lightning.launch.sweep_folder import refuse_used, save_sweep

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        jobs = Jobs(self.config, self.hydra_context, self.launcher)
        if not self.resume:
            refuse_used(jobs.folder)
            save_sweep(self.config, jobs.folder)
        over: list[Any] = []
        for batch in self.split_arguments(overrides, self.max_batch_size):
            over += jobs.run(dict(enumerate(batch, start=len(over))), resume=self.resume)
        raise_if_failed(over, jobs.folder)
        return over
