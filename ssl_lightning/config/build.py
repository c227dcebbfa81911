"""From a composed config to objects, after what can be refused has been refused."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from ssl_lightning.config.trust import caches, refuse_places, validate_targets
from ssl_lightning.config.validate import PARTS, validate_arguments, validate_parts
from ssl_lightning.errors import InputError
from ssl_lightning.runs.checkpoints import read_checkpoint
from ssl_lightning.runs.folder import refuse_links_out, write_atomically
from ssl_lightning.runs.stored_config import read_config

_VOCABULARY = ("vocab_size", "pad_id", "cls_id", "sep_id")
_NETWORKS = "networks.yaml"


def build_data(config: DictConfig) -> Any:
    """The DataModule of a run with its transform."""
    return instantiate(config.data, transform=instantiate(config.transform))


def build_method(config: DictConfig, data: Any = None) -> Any:
    """The method of a run with the initial weights that belong to its seed.

    What stands as null in the config of the backbone and only `data` knows, its modality's `facts` tell.
    """
    lightning.seed_everything(config.seed, verbose=False)
    for parent in parents(config).values():
        if data is not None and isinstance(parent, str):
            run = _run_folder(parent)
            data.refuse_other_tokenizer(parent if run is None else run / "tokenizer")
    facts = facts_for(config.backbone, data)
    parts = {"backbone": build_backbone(config.backbone, facts)}
    if text := config.method.get("text_backbone"):
        parts["text_backbone"] = build_backbone(text, facts_for(text, data))
    if teacher := config.method.get("teacher"):
        known = {key: config.backbone[key] for key in _VOCABULARY if key in config.backbone} | dict(facts)
        settings = teacher if isinstance(teacher, DictConfig) else {**config.backbone, "pretrained": teacher}
        parts["teacher"] = build_backbone(OmegaConf.create({**settings, **known}), {})
    method = instantiate(
        config.method, optimizer=instantiate(config.optimizer), schedule=instantiate(config.schedule), **parts
    )
    method.own_networks = {key: _without(parent, key, config, parts) for key, parent in parents(config).items()}
    if config.channels_last:
        method.to(memory_format=torch.channels_last)
    return method


def _without(parent: Any, key: str, config: DictConfig, parts: dict[str, Any]) -> Any:
    """What takes the place of a parent in a config: the network that was built from it, with random weights."""
    if isinstance(parent, bool):
        return False
    place = key.removesuffix(".pretrained")
    settings = config.backbone if place == key else OmegaConf.select(config, place)
    vocabulary = {name: None for name in _VOCABULARY if name in settings}
    return {"_target_": settings._target_, **vocabulary, **parts[place.rpartition(".")[2]].arguments}


def facts_for(backbone: DictConfig, data: Any) -> dict[str, Any]:
    """What stands as null in the config of a backbone and the modality of `data` knows."""
    facts = {} if data is None else data.modality.facts
    return {key: fact for key, fact in facts.items() if key in backbone and backbone[key] is None}


def load_config(path: Path) -> DictConfig:
    """The composed config of a run, refused unless it builds only what is trusted; caches lie where this user's do."""
    config = read_config(path)
    refuse_places(config)
    for key, _ in caches(OmegaConf.to_container(config, resolve=False)):
        OmegaConf.update(config, key, None)
    whole = with_own_networks(config, path)
    validate_parts(whole)
    for part in (*PARTS, "logger"):
        if OmegaConf.is_dict(whole.get(part)):
            validate_arguments(whole[part], part)
    return whole


def parents(config: DictConfig) -> dict[str, Any]:
    """What a run begins from, by key: trained networks, each a run folder, a checkpoint or true."""
    keys = get_class(config.method._target_).starts_from  # type: ignore[attr-defined]
    found = {key: OmegaConf.select(config, key) for key in keys}
    return {key: value for key, value in found.items() if value and not isinstance(value, DictConfig)}


def parent_runs(config: DictConfig) -> list[Path]:
    """Those of them that are run folders."""
    return [run for value in parents(config).values() if (run := _run_folder(value))]


def store_networks(method: Any, path: Path) -> None:
    """Writes beside a run's config at `path` what takes the place of its `parents`, with whose weights it began.

    So the run opens and resumes where they are gone; its weights come from its own checkpoint.
    """
    if method.own_networks:
        write_atomically(path.with_name(_NETWORKS), OmegaConf.to_yaml(OmegaConf.create(method.own_networks)))


def with_own_networks(config: DictConfig, path: Path) -> DictConfig:
    """The config of a run, with the networks stored beside its config at `path` for its `parents`.

    Raises:
        InputError: the config, or what is stored beside it, builds more than is trusted or stands for no parent.
    """
    validate_targets(config)
    stored = path.with_name(_NETWORKS)
    if not stored.is_file():
        return config
    config = copy.deepcopy(config)
    networks: Any = OmegaConf.to_container(read_config(stored))
    for key, value in networks.items():
        method = OmegaConf.select(config, "method._target_")
        if method is None or key not in get_class(method).starts_from:  # type: ignore[attr-defined]
            raise InputError(f"{stored} sets {key}, from which no run begins")
        OmegaConf.update(
            config, key.removesuffix(".pretrained") if isinstance(value, dict) else key, value, merge=False
        )
    validate_targets(config)
    return config


def build_backbone(settings: DictConfig, facts: Mapping[str, Any]) -> Any:
    """The network of a backbone's config; where `pretrained` names a run folder, the network that this run trained."""
    run = _run_folder(settings.get("pretrained"))
    return _trained_backbone(run, settings, facts) if run else instantiate(settings, **facts, _convert_="all")


def _trained_backbone(run: Path, settings: DictConfig, facts: Mapping[str, Any]) -> Any:
    """The language model or encoder of sound that a run trained, from its last checkpoint.

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
    backbone = instantiate(config.backbone, **known, pretrained=None)
    prefix = "backbone."
    try:
        backbone.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    except RuntimeError as error:
        other = (
            f"{known['vocab_size']} tokens: use the tokenizer of that run" if "vocab_size" in known else "its config"
        )
        raise InputError(f"the weights of the run at {run} do not fit {other}") from error
    if settings.get("max_length"):
        backbone.extend_windows(settings.max_length)
    return backbone


def _run_folder(given: Any) -> Path | None:
    """The run folder that a value of a config names, if it names one."""
    path = Path(given).expanduser() if isinstance(given, str) else None
    if path is None or not (path / ".hydra" / "config.yaml").is_file():
        return None
    refuse_links_out(path)
    return path
