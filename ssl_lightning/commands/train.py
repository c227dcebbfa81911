"""The training of a run in this process, which may be one of several, by Lightning."""

import shlex
import signal
from pathlib import Path
from typing import Any

import lightning
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch.callbacks import LambdaCallback
from omegaconf import DictConfig, OmegaConf

from ssl_lightning.config.build import (
    build_data,
    build_method,
    parent_runs,
    parents,
    store_networks,
    with_own_networks,
)
from ssl_lightning.distributed import wait_for_all
from ssl_lightning.errors import (
    WORKER_ENDED,
    InputError,
    RunFailed,
    TrainingInterrupted,
    machine_failure,
    mistake_behind,
)
from ssl_lightning.figures.console import print_run_header, print_run_summary
from ssl_lightning.launch.interrupts import REQUEUE, requeue
from ssl_lightning.record import TakesResults
from ssl_lightning.runs.checkpoints import Checkpoint, newest_checkpoint
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.metrics import Metrics
from ssl_lightning.runs.run_summary import RunSummary


def train(config: DictConfig) -> float | None:
    """Trains what `config` composes in Hydra's output folder, from its newest checkpoint if there is one.

    Returns:
        The last value of the metric `config.objective`.

    Raises:
        InputError: as `pretrain`.
        TrainingInterrupted: a signal stopped the run.
    """
    run = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    checkpoint = newest_checkpoint(run)
    if config.resume and checkpoint is None:
        raise InputError(f"{run.path} has no checkpoints/last.ckpt to resume from; start it anew without resume=")
    step = None if checkpoint is None else checkpoint.step
    metrics = Metrics(run.metrics, step)
    begins_trained = bool(parents(config))
    summary = RunSummary(run, metrics, config, begins_trained)
    header = LambdaCallback(on_fit_start=lambda trainer, method: print_run_header(run.path, trainer, resumed=step))
    callbacks = [callback for callback in instantiate(config.callbacks or {}).values() if callback is not None]
    trainer: lightning.Trainer = instantiate(
        config.trainer,
        callbacks=[header, *callbacks, summary],
        logger=[metrics, *instantiate(config.get("logger") or {}).values()],
        default_root_dir=str(run.path),
        _convert_="all",
    )
    data = build_data(config)
    tokenizers = parent_runs(config) if checkpoint is None else [run.path]
    for folder in tokenizers[:1]:
        data.restore(folder)
    _prepare(data, trainer)
    method = build_method(config if checkpoint is None else with_own_networks(config, run.config), data)
    if checkpoint is not None:
        checkpoint.load_into(method)  # refused now, before the folder is touched
    if config.compile:
        method.compile_parts()
    lightning.seed_everything(config.seed, verbose=False)
    if trainer.is_global_zero:
        data.store(run.path)
        if checkpoint is None:
            store_networks(method, run.config)
    composed: Any = OmegaConf.to_container(config, resolve=True)
    facts = {"modality": data.modality.name, "provenance": summary.provenance(trainer)}
    for logger in trainer.loggers:
        logger.log_hyperparams({**composed, **facts})
    try:
        _fit(trainer, method, data, checkpoint, summary)
    except TrainingInterrupted as stop:
        if stop.signal in REQUEUE and trainer.is_global_zero:
            requeue(config.max_requeues, run.path)
        raise TrainingInterrupted(stop.signal, stop.step, run.path) from None
    untrained = {} if begins_trained else metrics.rows.get(0, {})
    next_command = _next_command(run, method, data)
    print_run_summary(run.path, trainer.global_step, metrics.latest, untrained, method.figures, next_command)
    return metrics.latest.get(config.objective) if config.objective else None


def _prepare(data: Any, trainer: lightning.Trainer) -> None:
    """Downloads, decodes and tokenizes in the first process of each machine while the others wait; then opens the data.

    The processes are connected here, and Lightning finds them so.
    """
    trainer.strategy.connect(lightning.LightningModule())  # FSDP asks for one
    trainer.strategy.setup_environment()
    if trainer.local_rank == 0:
        data.prepare_data()
    wait_for_all()
    data.setup()
    data.train_dataloader()  # which refuses a batch that is larger than the set, before anything is written


def _fit(
    trainer: lightning.Trainer, method: Any, data: Any, checkpoint: Checkpoint | None, summary: RunSummary
) -> None:
    trainer.strategy.checkpoint_io.read = checkpoint  # type: ignore[attr-defined]
    try:
        trainer.fit(method, data, ckpt_path=None if checkpoint is None else checkpoint.path)
        summary.end(trainer)
    except BaseException as error:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise the death of a worker anew
        summary.end(trainer, error)
        if isinstance(error, SystemExit):
            raise KeyboardInterrupt from None  # Lightning's answer to Ctrl-C before the first step
        lost_pipe = isinstance(error, ConnectionError | EOFError)
        reason = WORKER_ENDED if lost_pipe else machine_failure(error)
        if reason and isinstance(error, Exception) and not mistake_behind(error):
            raise RunFailed(f"{reason}; resume the run with: ssl-pretrain resume={summary.run.path}") from error
        raise
    finally:
        for logger in trainer.loggers:
            logger.finalize("finished")
            if isinstance(logger, TakesResults):
                logger.close(summary.status)


def _next_command(run: RunFolder, method: Any, data: Any) -> str:
    """A command that works on what this run trained, to be copied to a shell."""
    place = shlex.quote(str(run.path))
    if data.probe_train is not None:
        return f"ssl-evaluate run={place}"
    if data.modality.option == "text" or method.declares("show"):
        return f"ssl-generate run={place} {data.modality.option}=..."
    return f"ssl-embed run={place} neighbours=5"
