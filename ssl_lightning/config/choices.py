"""The choices of a group of `conf/`, read without composing a run."""

import difflib
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from ssl_lightning.config.paths import CONFIG_DIR


@cache
def load_choice(group: str, name: str) -> Any:
    """The file of a choice, merged with those of its group that it is based on; not to be changed."""
    own: Any = OmegaConf.load(CONFIG_DIR / group / f"{name}.yaml")
    bases = [base for base in own.pop("defaults", ()) if isinstance(base, str) and base != "_self_"]
    return OmegaConf.merge(*(load_choice(group, base) for base in bases), own)


def choices_that_fit(group: str, fits: Callable[[Any, DictConfig], bool]) -> list[str]:
    """The names of the choices for which `fits(class or function, config)`."""
    names = sorted(file.stem for file in (CONFIG_DIR / group).glob("[!_]*.yaml"))
    nodes = {name: load_choice(group, name) for name in names}
    nodes = {name: node.get(group, node) for name, node in nodes.items()}
    return [name for name, node in nodes.items() if fits(get_object(node._target_), node)]


def methods_that_declare(hook: str) -> str:
    """The names of the methods that declare an optional part of `Method`, as a list to read."""
    return ", ".join(choices_that_fit("method", lambda made, _: made.declares(hook))) or "none"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The known words nearest to one that is not known, as a question; else what there is."""
    known = list(dict.fromkeys(known))
    near = [name for name in known if name.rpartition(".")[2] == word][:3]
    near = near or difflib.get_close_matches(word, known, n=1)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(known)}" if len(known) <= 40 else "see --cfg job for what there is"
