"""`hydra/launcher=local`: the jobs of a sweep side by side on this machine."""

from collections.abc import Sequence

from hydra.core.utils import JobReturn, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from ssl_lightning.ranges import PositiveInt


class LocalLauncher(Launcher):
    """Gives every job a process of its own, so that one that dies takes no other with it.

    Args:
        n_jobs: jobs at once.
        threads: CPU threads of a job; None shares the cores out, or takes OMP_NUM_THREADS where it is set.
    """

    def __init__(self, n_jobs: PositiveInt, threads: PositiveInt | None = None) -> None:
        self.n_jobs, self.threads = n_jobs, threads

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from ssl_lightning.config.validate import validate_arguments
        from ssl_lightning.launch.local_launcher import local_jobs, run_side_by_side

        validate_arguments(self.config.hydra.launcher, "hydra.launcher")
        setup_globals()
        jobs = local_jobs(self, job_overrides, initial_job_idx)
        command = str(self.config.hydra.job.config_name)
        return run_side_by_side(jobs, command=command, n_jobs=self.n_jobs, threads=self.threads)
