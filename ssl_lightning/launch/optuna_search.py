"""A search over overrides with Optuna; the study lies in the folder of the sweep and resumes from there."""

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import OmegaConf

from ssl_lightning.errors import InputError, RunFailed, described, warn
from ssl_lightning.launch.jobs import Job, compose_job, run_jobs, tell_failed
from ssl_lightning.launch.sweep_folder import save_sweep
from ssl_lightning.runs.folder import RunFolder, write_atomically
from ssl_lightning.runs.history import direction_of

try:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState
    from optuna.visualization.matplotlib import plot_slice
except ImportError as missing:
    raise InputError("sweep=optuna needs the package optuna: pip install 'ssl-lightning[sweep]'") from missing

_SAMPLERS = {
    "tpe": optuna.samplers.TPESampler,
    "gp": optuna.samplers.GPSampler,
    "random": optuna.samplers.RandomSampler,
}


class Search:
    """Trials proposed by Optuna, run as jobs: a trial's number is its job's.

    What is proposed depends on the seed, the trial's number and the trials before it alone, so that a search that was
    killed and resumed gives the same result. A trial that was running when the search stopped is started again, and so
    resumes. The study is an Optuna journal (`study.log`), which also network file systems bear.

    Args:
        sweeper: an `OptunaSweeper`.
        overrides: those with a range are searched, the others are given to every trial.

    Raises:
        InputError: nothing to search, a range that is none, or a folder that holds something else.
    """

    def __init__(self, sweeper: Any, overrides: Sequence[Override]) -> None:
        if not sweeper.config.objective:
            raise InputError("sweep=optuna needs an objective: the name of a metric, e.g. objective=probe/knn_accuracy")
        self.sweeper = sweeper
        self.folder = Path(str(sweeper.config.hydra.sweep.dir)).resolve()
        self.objective = str(sweeper.config.objective)
        named = {override.get_key_element(): override for override in overrides}
        self.space = {key: _distribution(override) for key, override in named.items() if override.is_sweep_override()}
        self.fixed = [
            f"{key}={override.get_value_element_as_str()}"
            for key, override in named.items()
            if not override.is_sweep_override()
        ]
        if not self.space:
            raise InputError(
                "sweep=optuna has nothing to search; give a key a range: 'optimizer.lr=interval(1e-4,0.1)'"
            )
        save_sweep(sweeper.config, self.folder)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        wish = sweeper.direction or f"{direction_of(self.objective)}imize"
        journal = self.folder / "study.log"
        try:
            self.study = _open(journal, wish)
            for trial in self._trials():
                if any(self.space.get(key) != kind for key, kind in trial.distributions.items()):
                    raise ValueError(f"trial {trial.number} is of other ranges")
        except Exception as error:  # whatever Optuna stumbles over in a file that anyone may have written
            damaged = journal.replace(journal.with_suffix(".damaged"))
            warn(f"{journal} is damaged ({described(error)}) and kept as {damaged.name}; the search begins anew")
            self.study = _open(journal, wish)

    def run(self, *, n_trials: int, batch: int) -> list[Job]:
        """Runs trials until the study has so many trials, `batch` at a time; tells the best and writes it down.

        Raises:
            InputError: a run logs no such objective.
            RunFailed: no trial at all succeeded.
            SweepStopped: a signal arrived.
        """
        for trial in self._trials(TrialState.RUNNING):
            if set(trial.params) != set(self.space):  # the search was killed while it was proposed: it is given up
                self.study.tell(trial.number, state=TrialState.FAIL)
        over = self._finish(self._trials(TrialState.RUNNING))
        while (room := n_trials - len(self._trials())) > 0:
            over += self._finish([self._ask() for _ in range(min(batch, room))])
        self._close()
        return over

    def _trials(self, *states: Any) -> list[Any]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _ask(self) -> Any:
        number = len(self._trials())
        self.study.sampler = _SAMPLERS[self.sweeper.sampler](seed=(self.sweeper.seed * 1_000_003 + number) % 2**32)
        return self.study.ask(self.space)

    def _finish(self, trials: Sequence[Any]) -> list[Job]:
        """Runs trials, which are the last ones of the study, and tells it what came of them."""
        if not trials:
            return []
        over = run_jobs(self.sweeper, [self._job(trial) for trial in trials], first=trials[0].number)
        for trial, job in zip(trials, over, strict=True):
            if job.error is None and job.value is None:
                logged = ", ".join(sorted(RunFolder(job.folder).read_results().get("metrics", {}))) or "nothing"
                raise InputError(f"objective={self.objective} was not logged by {job.folder}, which logged {logged}")
            if job.error is None and not math.isfinite(job.value):
                job = replace(job, error=f"{self.objective} is {job.value}")
            if tell_failed([job]):
                self.study.tell(trial.number, state=TrialState.FAIL)
            else:
                self.study.tell(trial.number, job.value)
                words = " ".join(_overrides(trial.params))
                print(f"trial {trial.number}: {self.objective} = {job.value:.5g} with {words}", flush=True)
        return over

    def _job(self, trial: Any) -> list[str]:
        return [*self.fixed, *_overrides(trial.params)]

    def _close(self) -> None:
        """The best trial: on the screen, in `optimization_results.yaml` as Hydra's sweepers write it, in a picture."""
        done = self._trials(TrialState.COMPLETE)
        if not done:
            raise RunFailed(f"all {len(self._trials())} trials failed; their folders are in {self.folder}")
        best = self.study.best_trial
        results = {"name": "optuna", "best_params": best.params, "best_value": best.value, "best_trial": best.number}
        write_atomically(self.folder / "optimization_results.yaml", OmegaConf.to_yaml(OmegaConf.create(results)))
        figures = self.folder / "figures"
        figures.mkdir(exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            axes: Any = plot_slice(self.study, target_name=self.objective)  # over each key that is searched
        getattr(axes, "flat", [axes])[0].figure.savefig(figures / "search.png", bbox_inches="tight")
        _, run = compose_job(self.sweeper, best.number, self._job(best))
        words = " ".join(_overrides(best.params))
        print(f"best of {len(done)} trials: {self.objective} = {best.value:.5g} with {words} ({run})", flush=True)


def _open(journal: Path, direction: str) -> "optuna.Study":
    if journal.exists():  # without a line that was cut, to which the next one would be written
        os.truncate(journal, journal.read_bytes().rfind(b"\n") + 1)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name="sweep",
        direction=direction,  # type: ignore[arg-type]
        load_if_exists=True,
    )


def _distribution(override: Override) -> "BaseDistribution":
    """What may be tried: choices as they are written, ranges as numbers."""
    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            kind: Any = IntDistribution if isinstance(value.start, int) else FloatDistribution
            return kind(value.start, value.end, log="log" in value.tags)
        if isinstance(value, RangeSweep) and not value.shuffle:
            numbers = sorted(value.range())
            kind = IntDistribution if all(isinstance(number, int) for number in numbers) else FloatDistribution
            return kind(numbers[0], numbers[-1], step=abs(value.step))
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except (ValueError, IndexError) as error:
        raise InputError(f"{override.input_line} is not a range: {error}") from error


def _overrides(params: Mapping[str, Any]) -> list[str]:
    return [f"{key}={value if isinstance(value, str) else repr(value)}" for key, value in params.items()]
