"""Where a number comes from: code, packages, hardware, config."""

import functools
import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import ssl_lightning

_PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "timm", "transformers")


def provenance(config_text: str, precision: str, devices: int, seed: int) -> dict[str, Any]:
    """What `results.json` states so that a figure can be traced and made again."""
    return {
        "git_commit": git_commit(),
        "packages": packages(),
        "hardware": hardware(),
        "precision": precision,
        "devices": devices,
        "seed": seed,
        "config_sha256": hashlib.sha256(config_text.encode()).hexdigest(),
    }


@functools.cache
def packages() -> dict[str, str]:
    """The versions of what computes the figures."""
    return {name: version(name) for name in _PACKAGES} | {"ssl-lightning": ssl_lightning.__version__}


@functools.cache
def git_commit() -> str | None:
    """The commit of the checkout, with `+changes` where files differ from it; None for an installed wheel."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def hardware() -> str:
    """The accelerator, or the processor with its threads."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
