"""From a composed config to objects, after what can be refused has been refused."""

from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ssl_lightning.config.validate import validate_targets
from ssl_lightning.errors import InputError


def build_data(config: DictConfig) -> Any:
    """The DataModule of a run with its transform."""
    return instantiate(config.data, transform=instantiate(config.transform))


def build_method(config: DictConfig, data: Any = None) -> Any:
    """The method of a run with the initial weights that belong to its seed.

    What stands as null in the config of the backbone and only `data` knows, its modality's `facts` tell.
    """
    lightning.seed_everything(config.seed, verbose=False)
    method = instantiate(
        config.method,
        backbone=instantiate(config.backbone, **_facts(config.backbone, data)),
        optimizer=instantiate(config.optimizer),
        schedule=instantiate(config.schedule),
    )
    if config.channels_last:
        method.to(memory_format=torch.channels_last)
    return method


def _facts(backbone: DictConfig, data: Any) -> dict[str, Any]:
    facts = {} if data is None else data.modality.facts
    return {key: fact for key, fact in facts.items() if key in backbone and backbone[key] is None}


def load_config(path: Path) -> DictConfig:
    """The composed config of a run, refused unless it builds only what is ours."""
    config = OmegaConf.load(path)
    if not isinstance(config, DictConfig):
        raise InputError(f"{path} is not the config of a run")
    validate_targets(config)
    return config
