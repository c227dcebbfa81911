"""What makes a run this run and no other: its composed config but for where and by what it is computed."""

import hashlib
import json
from typing import Any

from omegaconf import DictConfig

from ssl_lightning.errors import InputError
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.stored_config import nodes, read_config, storable

_ELSEWHERE = (
    *("resume.", "resume_sweep.", "sweep.", "max_requeues.", "objective.", "logger."),
    *("trainer.accelerator.", "trainer.devices.", "trainer.num_nodes.", "trainer.strategy."),
    *("data.num_workers.", "data.workers.", "data.cache."),
)
"""Keys, and what is below them, that may change from one start of a run to the next."""


def identity(config: DictConfig) -> str:
    """The part of a config that makes its run, as canonical JSON, as it is stored."""
    return json.dumps(settings(config), sort_keys=True)


def differing_keys(one: DictConfig, other: DictConfig) -> list[str]:
    """The keys in which two runs differ, in alphabetical order."""
    ours, theirs = settings(one), settings(other)
    return sorted(key for key in ours | theirs if ours.get(key, settings) != theirs.get(key, settings))


def is_finished(run: RunFolder, config: DictConfig) -> bool:
    """Whether the run of this config came to its end in this folder."""
    stored = run.read_results()
    digest = stored.get("provenance", {}).get("config_sha256")
    return stored.get("status") == "finished" and digest == hashlib.sha256(identity(config).encode()).hexdigest()


def refuse_another(run: RunFolder, config: DictConfig) -> None:
    """A folder that has a checkpoint or the results of one run does not take another.

    Raises:
        InputError: it holds a run of another config; the message names the first keys that differ.
    """
    if not run.config.is_file() or not (run.checkpoints or run.read_results().get("status") == "finished"):
        return
    if keys := differing_keys(read_config(run.config), config):
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        raise InputError(
            f"{run.path} holds a run of another config: it differs in {', '.join(keys[:3])}{more};"
            f" give another hydra.run.dir, or change that run by resume={run.path}"
        )


def settings(config: DictConfig) -> dict[str, Any]:
    """The same part as one mapping: `{"optimizer.lr": 0.002, ...}`."""
    found = nodes(storable(config))
    leaves = {key: node for key, node in found if "[" not in key and not (isinstance(node, dict) and node)}
    return {key: node for key, node in leaves.items() if not f"{key}.".startswith(_ELSEWHERE)}
