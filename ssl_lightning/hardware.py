"""What the CPU at hand can do."""

import functools

import torch


@functools.cache
def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16 natively; other CPUs emulate it, many times slower."""
    return any(getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))
