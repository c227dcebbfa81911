"""What the CPU at hand can do."""

import functools
import os

import torch


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16 natively; other CPUs emulate it, many times slower."""
    return any(getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))
