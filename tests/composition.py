"""What Hydra composes from `conf/`, once in a process: each takes a tenth of a second."""

from functools import cache

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from ssl_lightning.config.paths import CONFIG_DIR


@cache
def _composed(name: str, overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose(name, list(overrides), return_hydra_config=True)


def whole(*overrides: str, name: str = "pretrain") -> DictConfig:
    """With Hydra's part. It is shared: whoever changes it does so in a copy."""
    return _composed(name, overrides)


def task(*overrides: str, name: str = "pretrain") -> DictConfig:
    """A copy without Hydra's part."""
    config = whole(*overrides, name=name)
    return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
