"""A training run from its config to its last line on the screen."""

from pathlib import Path
from typing import Any

import lightning
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ssl_lightning.config.build import build_data, build_method
from ssl_lightning.config.validate import validate_config
from ssl_lightning.errors import InputError, TrainingInterrupted
from ssl_lightning.figures.console import print_run_header, print_run_summary
from ssl_lightning.launch.environment import launched_again, launched_rank
from ssl_lightning.launch.interrupts import REQUEUE, requeue
from ssl_lightning.launch.local_ranks import launch_ranks, processes_to_start
from ssl_lightning.runs.checkpoints import CorruptCheckpointError, read_checkpoint
from ssl_lightning.runs.folder import RunFolder, write_atomically
from ssl_lightning.runs.metrics import Metrics
from ssl_lightning.runs.run_summary import RunSummary


def pretrain(config: DictConfig) -> float | None:
    """Trains what `config` composes in Hydra's output folder; returns the metric `config.objective`.

    Raises:
        InputError: parts that do not fit, or data, hardware or options that are not there.
        TrainingInterrupted: a signal stopped the run; it can go on by `resume=`.
    """
    validate_config(config)
    if config.resume and launched_rank() == 0:
        write_atomically(RunFolder(Path(config.resume)).config, OmegaConf.to_yaml(config))
    count = processes_to_start(config.trainer)
    return train(config) if count == 1 else launch_ranks(pretrain, count, config)


def train(config: DictConfig) -> float | None:
    """`pretrain` in this process, one of `trainer.devices`."""
    run = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    checkpoint = _checkpoint_to_go_on_from(config, run)
    metrics = Metrics(run.metrics)
    data = build_data(config)
    if checkpoint is not None:
        data.restore(run.path)
    method = build_method(config, data)
    record = RunSummary(run, metrics, config.seed, OmegaConf.to_yaml(config))
    callbacks = [callback for callback in instantiate(config.callbacks or {}).values() if callback is not None]
    trainer = instantiate(
        config.trainer,
        callbacks=[*callbacks, record],
        logger=[metrics, *instantiate(config.get("logger") or {}).values()],
        default_root_dir=str(run.path),
        _convert_="all",
    )
    if config.compile:
        method.compile_parts()
    metrics.forget_after(-1 if checkpoint is None else read_checkpoint(checkpoint)["global_step"])
    described: Any = OmegaConf.to_container(config, resolve=True)
    for logger in trainer.loggers:
        logger.log_hyperparams(
            {
                **described,
                "modality": type(data.modality).__name__.removesuffix("Modality").lower(),
                "provenance": record.provenance(trainer),
            }
        )
    lightning.seed_everything(config.seed, verbose=False)
    if trainer.is_global_zero:
        data.store(run.path)
    print_run_header(config, run.path, method, trainer, resumed=checkpoint is not None)
    stopped: TrainingInterrupted | None = None
    try:
        trainer.fit(method, data, ckpt_path=checkpoint)
        record.finish(trainer)
    except TrainingInterrupted as interrupted:
        stopped = TrainingInterrupted(interrupted.signal, interrupted.step, run.path)
    except SystemExit:
        raise KeyboardInterrupt from None  # Lightning's answer to Ctrl-C before the first step
    finally:
        for logger in trainer.loggers:
            logger.finalize("finished")
            if hasattr(logger, "close"):
                logger.close(record.status)
    if stopped is not None:
        if stopped.signal in REQUEUE and trainer.is_global_zero:
            requeue(config.max_requeues, run.path)
        raise stopped
    print_run_summary(
        run.path,
        trainer.global_step,
        metrics.latest,
        metrics.rows.get(0, {}),
        method.figures,
        _following(run, method, data),
    )
    return metrics.latest.get(config.objective) if config.objective else None


def _checkpoint_to_go_on_from(config: DictConfig, run: RunFolder) -> Path | None:
    """The newest whole checkpoint of the run, if it is to be gone on with."""
    if not config.resume and not launched_again():
        return None
    damaged = []
    for checkpoint in (run.last, run.previous, run.best):
        if not checkpoint.exists():
            continue
        try:
            step = read_checkpoint(checkpoint)["global_step"]
        except CorruptCheckpointError as error:
            damaged.append(str(error))
            continue
        if damaged and launched_rank() == 0:
            print(f"warning: {'; '.join(damaged)}; going on from {checkpoint.name}, step {step}", flush=True)
        return checkpoint
    if damaged:
        raise InputError("; ".join(damaged))
    if config.resume:
        raise InputError(f"{run.path} has no checkpoints/last.ckpt to go on from; start it anew without resume=")
    return None


def _following(run: RunFolder, method: Any, data: Any) -> str:
    """A command that works on what this run trained."""
    if data.probe_train is not None:
        return f"ssl-evaluate run={run.path}"
    if data.modality.option == "text" or method.declares("show"):
        return f"ssl-generate run={run.path} {data.modality.option}=..."
    return f"ssl-evaluate run={run.path} data.root=FOLDER_OF_CLASSES"
