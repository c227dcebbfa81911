"""Lightning's Trainer as this project uses it."""

import ctypes
import logging
import warnings
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint

from ssl_lightning.errors import InputError
from ssl_lightning.runs.checkpoints import AtomicCheckpointIO

_HARMLESS = (
    ".*does not have many workers.*",  # whole-array batches need none
    ".*The number of training batches.*smaller than the logging interval.*",
    ".*GPU available but not used.*",
    ".*isinstance\\(treespec, LeafSpec\\).*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*`srun` command is available on your system but is not used.*",  # a login node, or one task a job
    ".*resuming from a checkpoint that ended before the epoch ended.*",  # our sampler begins at the very batch
)


def choose_precision(precision: str, accelerator: str) -> str:
    """'auto' becomes bf16 autocast where a GPU computes in it, and float32 elsewhere.

    On CPUs bf16 autocast is many times slower than float32 unless they have the instructions.
    """
    if precision != "auto":
        return precision
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"


def _keep_freed_memory() -> None:
    """Tells glibc to keep what tensors free; asking the system anew at every step costs up to a tenth of the speed."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD, its maximum: 32 MiB
    mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def make_trainer(
    *,
    accelerator: str = "auto",
    precision: str = "auto",
    deterministic: bool = False,
    devices: int | str | list[int] = 1,
    max_epochs: int | None = None,
    max_steps: int = -1,
    accumulate_grad_batches: int = 1,
    gradient_clip_val: float | None = None,
    log_every_n_steps: int = 50,
    callbacks: list[lightning.Callback],
    **options: Any,
) -> lightning.Trainer:
    """A Trainer with our checkpoint files, samplers and silence; `options` go to `lightning.Trainer`.

    `max_steps`, where it is given, alone decides the length. (With both limits, Lightning 2.6 ends a run that was
    resumed at the end of an epoch one epoch early.)

    Raises:
        InputError: an accelerator or a number of devices that this machine does not have; an option it does not know.
    """
    for pattern in _HARMLESS:
        warnings.filterwarnings("ignore", pattern)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise InputError(f"trainer.accelerator={accelerator}, but torch sees no GPU here; use trainer=cpu")
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
    else:
        _keep_freed_memory()
    try:
        return lightning.Trainer(
            accelerator=accelerator,
            precision=choose_precision(precision, accelerator),  # type: ignore[arg-type]
            deterministic=deterministic,
            benchmark=not deterministic,
            devices=devices,
            max_epochs=max_epochs if max_steps < 0 else None,
            max_steps=max_steps,
            accumulate_grad_batches=accumulate_grad_batches,
            gradient_clip_val=gradient_clip_val,
            log_every_n_steps=log_every_n_steps,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            use_distributed_sampler=False,
            sync_batchnorm=torch.cuda.is_available(),  # of several GPUs; there is none for CPUs
            enable_model_summary=False,
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            **options,
        )
    except (TypeError, ValueError, lightning.fabric.utilities.exceptions.MisconfigurationException) as error:
        raise InputError(f"the trainer refuses its options: {' '.join(str(error).split())}") from error
