"""From a composed config to objects, after what can be refused has been refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from ssl_lightning.config.trust import validate_targets
from ssl_lightning.errors import InputError
from ssl_lightning.runs.checkpoints import read_checkpoint
from ssl_lightning.runs.stored_config import read_config

_VOCABULARY = ("vocab_size", "pad_id", "cls_id", "sep_id")


def build_data(config: DictConfig) -> Any:
    """The DataModule of a run with its transform."""
    return instantiate(config.data, transform=instantiate(config.transform))


def build_method(config: DictConfig, data: Any = None) -> Any:
    """The method of a run with the initial weights that belong to its seed.

    What stands as null in the config of the backbone and only `data` knows, its modality's `facts` tell.
    """
    lightning.seed_everything(config.seed, verbose=False)
    facts = _facts(config.backbone, data)
    teacher = _run_folder(config.method.get("teacher"))
    trained = {"teacher": trained_backbone(teacher, config.backbone, facts)} if teacher else {}
    method = instantiate(
        config.method,
        backbone=build_backbone(config.backbone, facts),
        optimizer=instantiate(config.optimizer),
        schedule=instantiate(config.schedule),
        **trained,
    )
    if config.channels_last:
        method.to(memory_format=torch.channels_last)
    return method


def _facts(backbone: DictConfig, data: Any) -> dict[str, Any]:
    facts = {} if data is None else data.modality.facts
    return {key: fact for key, fact in facts.items() if key in backbone and backbone[key] is None}


def load_config(path: Path) -> DictConfig:
    """The composed config of a run, refused unless it builds only what is trusted."""
    config = read_config(path)
    validate_targets(config)
    return config


def build_backbone(settings: DictConfig, facts: Mapping[str, Any]) -> Any:
    """The network of a backbone's config; where `pretrained` names a run folder, the network that this run trained."""
    run = _run_folder(settings.get("pretrained"))
    return trained_backbone(run, settings, facts) if run else instantiate(settings, **facts)


def trained_backbone(run: Path, settings: DictConfig, facts: Mapping[str, Any]) -> Any:
    """The language model that a run trained, from its last checkpoint.

    Args:
        run: the run folder.
        settings: config of the backbone that it replaces, with its vocabulary and `max_length`.
        facts: what the data knows of `settings`.

    Raises:
        InputError: the run's config is not trusted, it has another kind of backbone or another vocabulary, or its
            checkpoint is missing or damaged.
    """
    config = load_config(run / ".hydra" / "config.yaml")
    if config.backbone._target_ != settings._target_:
        raise InputError(f"the run at {run} trained {config.backbone._target_}, not {settings._target_}")
    state = read_checkpoint(run / "checkpoints" / "last.ckpt").get("state_dict", {})
    known = {key: settings[key] for key in _VOCABULARY if key in settings} | dict(facts)
    backbone = build_backbone(config.backbone, known)
    prefix = "backbone."
    try:
        backbone.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    except RuntimeError as error:
        raise InputError(
            f"the weights of the run at {run} do not fit {known['vocab_size']} tokens: use the tokenizer of that run"
        ) from error
    backbone.extend_windows(settings.max_length)
    return backbone


def _run_folder(given: Any) -> Path | None:
    """The run folder that a value of a config names, if it names one."""
    path = Path(given).expanduser() if isinstance(given, str) else None
    return path if path and (path / ".hydra" / "config.yaml").is_file() else None
