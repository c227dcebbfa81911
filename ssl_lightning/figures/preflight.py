"""What a training is about to do, as far as it can be told without a forward pass, and what might be amiss."""

import os
from typing import Any

import torch
from rich.filesize import decimal

from ssl_lightning.evaluation.features import fingerprint

_FEW_NEGATIVES = 256
"""Below it more negatives help most: Chen et al. 2020, https://arxiv.org/abs/2002.05709, Fig. 9."""
_SAMPLES = 100
"""That the fingerprint is of."""


def preflight(trainer: Any) -> dict[str, str]:
    """Data, batch, length, memory and advice, of a trainer whose optimizer is made and whose training has not begun."""
    method, data, parts = trainer.lightning_module, trainer.datamodule, trainer.accumulate_grad_batches
    negatives, held_out = method.negatives(data.batch_size), len(data.validation_set or ())
    optimizer, schedule = trainer.optimizers[0], next((made.scheduler for made in trainer.lr_scheduler_configs), None)
    rate, warmup = peak(optimizer.param_groups[0], schedule, method.total_steps)
    size, memory = _bytes(method, optimizer), _memory(method.device)
    device = f"{trainer.world_size} x {trainer.accelerator.__class__.__name__.removesuffix('Accelerator').lower()}"
    batch = f"{parts} x {data.batch_size} = {parts * data.batch_size}" if parts > 1 else str(data.batch_size)
    notes = {
        f"the warmup takes {warmup:,} of {method.total_steps:,} steps: train longer, or shorten it (schedule)": (
            2 * warmup > method.total_steps
        ),
        f"few negatives: a data.batch_size of {2 * data.batch_size} would help": (
            0 < negatives < _FEW_NEGATIVES and 2 * data.batch_size <= len(data.train)
        ),
        "accumulated batches add no negatives: raise data.batch_size and set method.chunk_size": (
            parts > 1 and method.uses_batch_negatives
        ),
        f"{len(data.train) % data.batch_size:,} samples of an epoch fill no batch: lower data.batch_size": (
            len(data.train) % data.batch_size > len(data.train) / 4
        ),
        "nothing is held out, so nothing is measured: data.val_size=0.1": not held_out,
        "little memory is left for activations: a smaller backbone, or trainer=fsdp": 2 * size > memory,
    }
    return {
        "data": f"{len(data.train):,} samples ({fingerprint(data.train, _SAMPLES)}), {held_out:,} held out",
        "batch": f"{batch} over {device}, {trainer.precision}"
        + (f", {negatives:,} negatives each" if negatives else ""),
        "steps": f"{method.total_steps:,}, {method.steps_per_epoch:,} an epoch; learning rate {rate:.3g}"
        + (f" after {warmup:,} of warmup" if warmup else ""),
        "memory": f"{decimal(size)} of {decimal(memory)} before activations (ssl-bench measures them, and the speed)",
        "note": "; ".join(note for note, holds in notes.items() if holds),
    }


def peak(group: dict[str, Any], schedule: Any, steps: int) -> tuple[float, int]:
    """The highest learning rate of the first parameter group, and when: of at most 1000 steps that are looked at."""
    factor = getattr(schedule, "lr_lambdas", [lambda step: 1.0])[0]
    best = max(range(0, steps, max(1, steps // 1000)), key=factor)  # the first of equal ones
    return group.get("initial_lr", group["lr"]) * factor(best), best


def _bytes(method: Any, optimizer: torch.optim.Optimizer) -> int:
    """Of weights and buffers and, of what is trained, gradients and the optimizer's moments."""
    moments = 2 if "betas" in optimizer.defaults else int(bool(optimizer.defaults.get("momentum")))
    trained = sum(p.nbytes for p in method.parameters() if p.requires_grad)
    return sum(x.nbytes for x in (*method.parameters(), *method.buffers())) + (1 + moments) * trained


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
