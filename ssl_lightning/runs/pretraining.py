"""A training run from its config to its last line on the screen."""

from pathlib import Path

import lightning
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ssl_lightning.errors import InputError
from ssl_lightning.runs import report
from ssl_lightning.runs.build import build_data, build_method, refuse_what_cannot_work
from ssl_lightning.runs.checkpoints import read_checkpoint
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.loggers import close
from ssl_lightning.runs.metrics import Metrics
from ssl_lightning.runs.record import Record
from ssl_lightning.runs.stop import Interrupted


def pretrain(config: DictConfig) -> float | None:
    """Trains what `config` composes in Hydra's output folder; returns the metric `config.objective`.

    Raises:
        InputError: parts that do not fit, or data, hardware or options that are not there.
        Interrupted: a signal stopped the run; it can go on by `resume=`.
    """
    run = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    refuse_what_cannot_work(config)
    checkpoint = _checkpoint_to_resume(config, run)
    metrics = Metrics(run.metrics)
    data, method = build_data(config), build_method(config)
    record = Record(run, metrics, config.seed)
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
    metrics.forget_after(read_checkpoint(checkpoint)["global_step"] if checkpoint is not None else -1)
    for logger in trainer.loggers:
        logger.log_hyperparams(OmegaConf.to_container(config, resolve=True))
    lightning.seed_everything(config.seed, verbose=False)
    report.opening(config, run, method, data, trainer, resumed=checkpoint is not None)
    try:
        trainer.fit(method, data, ckpt_path=checkpoint)
        record.write(trainer, "finished")
    except Interrupted as interrupted:
        raise Interrupted(interrupted.signal, interrupted.step, run.path) from None
    except SystemExit:
        raise KeyboardInterrupt from None  # Lightning's answer to Ctrl-C before the first step
    finally:
        for logger in trainer.loggers:
            close(logger)
    report.closing(run, metrics, trainer)
    return metrics.latest.get(config.objective) if config.objective else None


def _checkpoint_to_resume(config: DictConfig, run: RunFolder) -> Path | None:
    if not config.resume:
        return None
    for checkpoint in (run.last, run.best):
        if checkpoint.exists():
            return checkpoint
    raise InputError(f"{run.path} has no checkpoints/last.ckpt to go on from; start it anew without resume=")
