"""How a CPU multiplies matrices: by oneDNN where the other library at hand, MKL, is slow; in bfloat16 where it can.

On CPUs that are not Intel's MKL leaves AVX-512 aside: on an AMD EPYC its float32 products reach half the rate of
oneDNN's. The operator is the one that torch.compile takes; where torch does not have it, nothing changes.
"""

import functools
import os
from pathlib import Path

import torch
from torch import Tensor


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def prefers_onednn() -> bool:
    """Whether this is a CPU of another maker than Intel, and torch has both libraries."""
    try:
        cpu = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    other = "vendor_id" in cpu and "GenuineIntel" not in cpu
    return other and torch.backends.mkl.is_available() and onednn_is_there()


def onednn_is_there() -> bool:
    """Whether torch was built with oneDNN's linear operator."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@functools.cache
def cpu_has_bfloat16() -> bool:
    """Whether this CPU has instructions for products in bfloat16; the others emulate them, many times slower."""
    return any(getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (M, K) times weight (N, K) transposed, plus bias (N,): by oneDNN, in float32 on a CPU, without gradient."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
