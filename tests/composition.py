"""What Hydra composes from `conf/`, once in a process: each takes a tenth of a second."""

from copy import deepcopy
from functools import cache
from unittest import mock

from hydra import compose, initialize_config_dir
from hydra._internal.config_repository import ConfigRepository
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from ssl_lightning.config.paths import CONFIG_DIR

_load = ConfigRepository.load_config
_files: dict[tuple[str, ...], ConfigResult | None] = {}


def _load_once(self: ConfigRepository, config_path: str) -> ConfigResult | None:
    """Hydra reads every file anew for every config, which takes a third of the time."""
    key = (config_path, *(source.path for source in self.sources))
    if key not in _files:
        _files[key] = _load(self, config_path)
    return deepcopy(_files[key])


@cache
def _composed(name: str, overrides: tuple[str, ...]) -> DictConfig:
    with (
        mock.patch.object(ConfigRepository, "load_config", _load_once),
        initialize_config_dir(str(CONFIG_DIR), version_base="1.3"),
    ):
        return compose(name, list(overrides), return_hydra_config=True)


def whole(*overrides: str, name: str = "pretrain") -> DictConfig:
    """With Hydra's part. It is shared: whoever changes it does so in a copy."""
    return _composed(name, overrides)


def task(*overrides: str, name: str = "pretrain") -> DictConfig:
    """A copy without Hydra's part."""
    config = whole(*overrides, name=name)
    return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
