"""`ssl-pretrain`: a run from its config to its result, whether it begins, resumes or is finished already."""

from contextlib import nullcontext
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ssl_lightning.config.validate import validate_config
from ssl_lightning.launch.environment import launched_rank
from ssl_lightning.launch.local_ranks import launch_ranks, processes_to_start
from ssl_lightning.runs.folder import RunFolder, refuse_links_out
from ssl_lightning.runs.identity import is_finished, refuse_another


def pretrain(config: DictConfig) -> float | None:
    """Trains what `config` composes in Hydra's output folder; returns the metric `config.objective`.

    The same command again in its folder resumes the run from its newest checkpoint, and trains nothing if it is
    finished: this is how sweeps, SLURM and torchrun start a run again. `resume=` may also change it.

    Raises:
        InputError: parts that do not fit, or data, hardware or options that are not there; a folder in which another
            run lies or another process trains.
        TrainingInterrupted: a signal stopped the run; it can be resumed.
    """
    run = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    refuse_links_out(run.path)
    with run.locked() if launched_rank() == 0 else nullcontext():
        if is_finished(run, config):
            return _finished(run, config.objective)
        if not config.resume:
            refuse_another(run, config)
        validate_config(config)
        from ssl_lightning.commands.train import train  # torch, which a finished or refused run does not wait for

        count = processes_to_start(config.trainer)
        return train(config) if count == 1 else launch_ranks(train, count, config)


def _finished(run: RunFolder, objective: str | None) -> float | None:
    value: float | None = run.read_results()["metrics"].get(objective)
    if launched_rank() == 0:
        print(f"{run.path} is already finished" + (f": {objective} = {value:.5g}" if value is not None else ""))
    return value
