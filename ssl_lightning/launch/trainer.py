"""Lightning's Trainer as this project uses it."""

import ctypes
import inspect
import logging
import warnings
from typing import Annotated, Any, Literal, TypedDict, Unpack

import lightning
import torch
from annotated_types import Ge
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from timm.layers.norm_act import convert_sync_batchnorm
from torch.nn.parallel import DistributedDataParallel

from ssl_lightning.config.options import Precision
from ssl_lightning.distributed import load_sharded
from ssl_lightning.errors import InputError
from ssl_lightning.launch.environment import launcher, local_devices
from ssl_lightning.modules.norm import gather_batch_norm
from ssl_lightning.ranges import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFraction, PositiveInt
from ssl_lightning.runs.checkpoints import AtomicCheckpointIO

_HARMLESS = (
    ".*does not have many workers.*",  # whole-array batches need none
    ".*The number of training batches.*smaller than the logging interval.*",
    ".*GPU available but not used.*",
    ".*Total length of `list` across ranks is zero.*",  # nothing is held out
    ".*isinstance\\(treespec, LeafSpec\\).*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*`srun` command is available on your system but is not used.*",  # a login node, or one task a job
    ".*resuming from a checkpoint that ended before the epoch ended.*",  # our sampler begins at the very batch
)


class TrainerOptions(TypedDict, total=False):
    """What goes to `lightning.Trainer` as it is, with the ranges that it does not declare itself."""

    accumulate_grad_batches: PositiveInt
    gradient_clip_val: NonNegativeFloat | None
    log_every_n_steps: PositiveInt
    check_val_every_n_epoch: PositiveInt | None
    val_check_interval: PositiveInt | PositiveFraction
    limit_train_batches: PositiveInt | PositiveFraction
    limit_val_batches: NonNegativeInt | Fraction
    overfit_batches: NonNegativeInt | Fraction
    fast_dev_run: bool | NonNegativeInt
    num_sanity_val_steps: Annotated[int, Ge(-1)]
    max_time: str | dict[str, int] | None
    profiler: Profiler | Literal["simple", "advanced", "pytorch"] | None
    enable_progress_bar: bool
    default_root_dir: str
    logger: Any


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
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD, its maximum: 32 MiB
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


class SyncedBatchNorm(lightning.Callback):
    """Batch normalization over the batches of all devices: torch's own on GPUs, ours on CPUs, which torch's refuses."""

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        on_gpu = trainer.strategy.root_device.type == "cuda"
        convert = convert_sync_batchnorm if on_gpu else gather_batch_norm
        convert(pl_module)


class _WholeFitLoop(_FitLoop):
    """Lightning's, but a run that was killed after its last step is ended as any other, by all that ends a training."""

    def __init__(self, trainer: lightning.Trainer) -> None:
        super().__init__(trainer, trainer.fit_loop.min_epochs, trainer.fit_loop.max_epochs)
        self.epoch_loop = trainer.fit_loop.epoch_loop

    @property
    def skip(self) -> bool:
        return self.max_batches == 0 or self.trainer.limit_train_batches == 0


class _Sharded(ModelParallelStrategy):
    """Lightning's, but it takes the checkpoint of any strategy, which has been read already."""

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        checkpoint: dict[str, Any] = self.checkpoint_io.load_checkpoint(checkpoint_path)
        assert self.model is not None
        load_sharded(self.model, checkpoint["state_dict"], self.optimizers, checkpoint["optimizer_states"])
        return checkpoint


def buffers_broadcast(on: bool) -> dict[str, Any]:
    """The option of `DistributedDataParallel` that lets every forward pass overwrite all buffers by those of rank 0."""
    known = inspect.signature(DistributedDataParallel).parameters
    return {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": on}


def _strategy(name: str, devices: int, sync_batchnorm: bool) -> Any:
    if name == "fsdp":
        return _Sharded(devices, 1, save_distributed_checkpoint=False)
    if devices == 1:
        return "auto"
    # With synchronized statistics all buffers are equal on all ranks; without, rank 0's hold, as in the checkpoint.
    return DDPStrategy(gradient_as_bucket_view=True, **buffers_broadcast(not sync_batchnorm))


def _environment() -> ClusterEnvironment:
    started = launcher()
    if started == "srun":
        return SLURMEnvironment(auto_requeue=False)  # callbacks.graceful_stop does it
    return TorchElasticEnvironment() if started == "torchrun" else LightningEnvironment()


def make_trainer(
    *,
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto",
    precision: Precision = "auto",
    deterministic: bool = False,
    devices: PositiveInt | Literal["auto", -1] | list[NonNegativeInt] = 1,
    num_nodes: PositiveInt = 1,
    strategy: Literal["auto", "ddp", "fsdp"] = "auto",
    sync_batchnorm: bool = True,
    max_epochs: PositiveInt | None = None,
    max_steps: PositiveInt | Literal[-1] = -1,
    callbacks: list[lightning.Callback],
    **options: Unpack[TrainerOptions],
) -> lightning.Trainer:
    """A Trainer with our checkpoint files, samplers and silence; `options` go to `lightning.Trainer`.

    `max_steps`, where it is given, alone decides the length. (With both limits, Lightning 2.6 ends a run that was
    resumed at the end of an epoch one epoch early.)

    On several devices, 'auto' is 'ddp' (DistributedDataParallel); 'fsdp' shards weights and optimizer state (FSDP2).
    `sync_batchnorm`: batch statistics are those of the batches of all devices.

    Raises:
        InputError: an accelerator or a number of devices that this machine does not have; an option it does not know.
    """
    for pattern in _HARMLESS:
        warnings.filterwarnings("ignore", pattern)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
    else:
        _keep_freed_memory()
    total = num_nodes * local_devices(accelerator, devices, strategy)
    synced = total > 1 and sync_batchnorm
    try:
        trainer = lightning.Trainer(
            accelerator=accelerator,
            precision=choose_precision(precision, accelerator),  # type: ignore[arg-type]
            deterministic=deterministic,
            benchmark=not deterministic,
            devices=local_devices(accelerator, devices, strategy) if devices == "auto" else devices,
            num_nodes=num_nodes,
            strategy=_strategy(strategy, total, synced),
            max_epochs=max_epochs if max_steps < 0 else None,
            max_steps=max_steps,
            callbacks=[*callbacks, *([SyncedBatchNorm()] if synced else [])],
            plugins=[AtomicCheckpointIO(), _environment()],
            use_distributed_sampler=False,
            enable_model_summary=False,
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            **options,
        )
    except (TypeError, ValueError, lightning.fabric.utilities.exceptions.MisconfigurationException) as error:
        raise InputError(f"the trainer refuses its options: {' '.join(str(error).split())}") from error
    trainer.fit_loop = _WholeFitLoop(trainer)
    # Lightning's own news of SIGTERM would wait for the GPU at every batch; callbacks.graceful_stop tells all ranks.
    setattr(trainer.fit_loop.epoch_loop, "_broadcast_sigterm_tensor", lambda: None)  # noqa: B010
    return trainer
