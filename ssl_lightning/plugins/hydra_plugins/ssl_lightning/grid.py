"""`sweep=grid`: every combination of the values."""

from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper, which also tells of every job that failed, not of the first alone."""

    def sweep(self, arguments: list[str]) -> list[Any]:
        from ssl_lightning.errors import InputError
        from ssl_lightning.figures.leaderboard import print_sweep
        from ssl_lightning.launch.jobs import parsed_overrides, raise_if_failed, run_jobs
        from ssl_lightning.launch.sweep_folder import save_sweep
        from ssl_lightning.runs.folder import RunFolder

        if not arguments:
            raise InputError("-m is for several runs: give a key several values, such as -m seed=1,2,3")
        assert self.config is not None
        overrides = parsed_overrides(self, arguments)
        folder = Path(str(self.config.hydra.sweep.dir)).resolve()
        over: list[Any] = []
        with RunFolder(folder).locked():
            save_sweep(self.config, folder)
            for batch in self.split_arguments(overrides, self.max_batch_size):
                over += run_jobs(self, batch, first=len(over))
        if not over:
            raise InputError(f"no run is left to start: one of {' '.join(arguments)} has no value")
        print_sweep(folder, self.config.get("objective"))
        raise_if_failed(over, folder)
        return over
