"""The arguments of a command become arguments of Hydra."""

import os
import re
from pathlib import Path

from ssl_lightning.config.choices import did_you_mean
from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.config.trust import refuse_places
from ssl_lightning.errors import InputError
from ssl_lightning.launch.environment import launcher
from ssl_lightning.launch.sweep_folder import resumed_arguments
from ssl_lightning.runs.folder import find_run, quoted
from ssl_lightning.runs.stored_config import read_config


def options_first(arguments: list[str]) -> list[str]:
    """Hydra takes options before overrides alone, its users in any order.

    Raises:
        InputError: an option that there is not.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    found, behind = parser.parse_known_args(arguments)
    for option in (word.partition("=")[0] for word in behind if word.startswith("-")):
        raise InputError(f"there is no option {option}; {did_you_mean(option, parser._option_string_actions)}")
    overrides = [*found.overrides, *behind]
    return [*(word for word in arguments if word not in overrides), *overrides]


def keep_downloads(arguments: list[str]) -> None:
    """The data of a run folder is downloaded to where its user says, not to where the folder does."""
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    if {"run", "resume", "resume_sweep"} & given.keys():
        os.environ["SSL_DOWNLOADS"] = given.get("data.root", os.environ.get("SSL_DATA", "data")).strip("'\"")


def with_sweep_folder(arguments: list[str]) -> list[str]:
    """Turns `resume_sweep=DIR` into the overrides of that sweep, in its own folder."""
    given = next((argument for argument in arguments if re.match("resume_sweep=(?!null$).", argument)), None)
    if given is None:
        return arguments
    return resumed_arguments(given.partition("=")[2], [other for other in arguments if other != given])


def with_run_folder(arguments: list[str]) -> list[str]:
    """Checks every `run=`; turns `resume=RUN` into the composed config of that run, in its own folder."""
    options: list[str] = []
    rest: list[str] = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key in ("run", "resume", "resume_sweep", "input", "among") and equals and value in ("", "''"):
            what = "a file or a folder" if key in ("input", "among") else "the folder of a run"
            raise InputError(f"{key}= is empty: give {what}")
        if key == "run":
            places = [value] if os.path.exists(value) else value.split(",")
            argument = f"run={','.join(quoted(find_run(place).path.resolve()) for place in places)}"
        if key == "resume" and value not in ("null", ""):
            run = find_run(value).path.resolve()
            _refuse_groups_and_hydra(run / ".hydra" / "config.yaml", arguments)
            options = [f"--config-path={run / '.hydra'}", "--config-name=config"]
            # the run writes its config itself, when it is known to fit
            rest += [f"hydra.run.dir={quoted(run)}", "hydra.output_subdir=null"]
            argument = f"resume={quoted(run)}"
        if key == "logger" and any(other.startswith("resume=") for other in arguments):
            rest.append(f"hydra.searchpath=[{quoted(CONFIG_DIR)}]")  # the run's folder holds no choices
            argument = f"+{argument}"
        rest.append(argument)
    return [*options, *rest]


def with_one_length(arguments: list[str]) -> list[str]:
    """Of `trainer.max_epochs` and `trainer.max_steps`, the one that is given takes the place of the run's other one."""
    other = {"trainer.max_epochs": "trainer.max_steps=-1", "trainer.max_steps": "trainer.max_epochs=null"}
    keys = [argument.partition("=")[0].lstrip("+") for argument in arguments]
    given = [place for place, key in enumerate(keys) if key in other]  # beside it: an override stands behind no option
    if len(given) != 1 or arguments[given[0]].partition("=")[2] in ("null", "-1", ""):
        return arguments
    return [*arguments[: given[0]], other[keys[given[0]]], *arguments[given[0] :]]


def with_places(arguments: list[str]) -> list[str]:
    """Turns folders that stand alone into `runs=[...]`; what is written of a single one lies in it."""
    from hydra._internal.utils import get_args_parser

    words = get_args_parser().parse_known_args(arguments)[0].overrides
    places = [word for word in words if "=" not in word or os.path.exists(word)]
    rest = [argument for argument in arguments if argument not in places]
    if places:
        rest.append(f"runs=[{','.join(map(quoted, places))}]")
    if len(places) == 1 and os.path.isdir(places[0]) and not any(word.startswith("hydra.run.dir=") for word in words):
        rest.append(f"hydra.run.dir={quoted(places[0])}")
    return rest


def verbatim(argument: str) -> str:
    """`text=` and `input=` take what stands behind as it is, whatever commas, brackets and quotes mean to Hydra."""
    key, equals, text = argument.partition("=")
    return f"{key}={quoted(text)}" if key in ("text", "input") and equals else argument


def refuse_launched_sweep(arguments: list[str]) -> None:
    """Under torchrun and srun, all processes belong to one run."""
    several = {"-m", "--multirun"} & set(arguments) or any(argument.startswith("sweep=") for argument in arguments)
    if launcher() is not None and several:
        raise InputError(f"a multirun starts the processes of its jobs itself: leave out {launcher()}")


def _refuse_groups_and_hydra(config: Path, arguments: list[str]) -> None:
    """A run resumes as it was composed, and its config has no say in how Hydra itself works."""
    refuse_places(read_config(config), arguments)
    if any(path.is_dir() for path in config.parent.iterdir()):
        raise InputError(f"{config.parent} holds a folder, from which Hydra would take choices; remove it")
    for argument in arguments:
        key, _, value = argument.partition("=")
        if (CONFIG_DIR / key).is_dir() and value and key != "logger":
            raise InputError(f"resume= keeps the choices of its run: give values such as seed=1, not {argument}")
