"""What all commands share: Hydra around a task, and one clear line for every mistake."""

import difflib
import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_lightning.errors import InputError, mistake_behind, show_in_one_line
from ssl_lightning.runs.configs import CONF
from ssl_lightning.runs.folder import find_run, quoted
from ssl_lightning.runs.processes import launch_name, launched_rank, launcher
from ssl_lightning.runs.slurm import launcher_mistake, register_resolvers
from ssl_lightning.runs.stop import Interrupted
from ssl_lightning.runs.sweeps import SweepFailed, resumed_arguments

_CHOICES = "${hydra:runtime.choices.method}_${hydra:runtime.choices.data}"
Task = Callable[[DictConfig], Any]


# Hydra takes sweepers and launchers from the namespace `hydra_plugins` alone, which may lie in several places.
sys.path.append(str(Path(__file__).parent / "plugins"))


def command(name: str) -> Callable[[Task], Callable[[], None]]:
    """Makes a console command of a task: the config `conf/<name>.yaml`, `resume=`, errors as one line.

    Exit status: 0 done, 2 a mistake in the input, 128 + signal when stopped, 1 anything else: jobs of a sweep that
        failed, or a defect (with its traceback).
    """

    def decorate(task: Task) -> Callable[[], None]:
        @functools.wraps(task)
        def main() -> None:
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")
            register_resolvers()
            show_in_one_line(name)
            arguments = sys.argv[1:]
            try:
                _refuse_unknown_options(arguments)
                sys.argv[1:] = _with_run_folder(_with_sweep_folder(arguments, name))
                if name == "generate":
                    sys.argv[1:] = [_verbatim(argument) for argument in sys.argv[1:]]
                if name == "pretrain":
                    sys.argv[1:] = _as_one_of_many(sys.argv[1:])
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(single)()
            except Interrupted as interrupted:
                _exit_stopped(interrupted, name)
            except KeyboardInterrupt:
                _exit(name, "stopped", 130)
            except SweepFailed as failed:
                _exit(name, str(failed), 1)
            except Exception as error:
                _exit_if_mistaken(error, name, arguments)
                raise

        @functools.wraps(task)
        def single(config: DictConfig) -> Any:
            try:
                return task(config)
            except Interrupted as interrupted:
                if "SUBMITIT_EXECUTOR" in os.environ:  # the sweep waits on another machine
                    _exit_stopped(interrupted, name)
                raise
            except Exception as error:
                if HydraConfig.get().mode is RunMode.RUN:
                    _exit_if_mistaken(error, name, sys.argv[1:])
                    raise
                line = _mistake(error, name, sys.argv[1:])  # a sweep goes on, and tells at its end which jobs failed
                if line is None:
                    traceback.print_exc()
                    raise
                print(f"ssl-{name}: this job fails: {line}", file=sys.stderr, flush=True)
                raise InputError(line) from error

        single.command = name  # type: ignore[attr-defined]
        main.job = single  # type: ignore[attr-defined]
        return main

    return decorate


def _exit_stopped(interrupted: Interrupted, name: str) -> None:
    if launched_rank() > 0:
        sys.exit(0)  # any other status makes srun and torchrun kill the first process, which may still be saving
    _exit(name, str(interrupted), 128 + interrupted.signal)


def _exit_if_mistaken(error: Exception, name: str, arguments: list[str]) -> None:
    line = _mistake(error, name, arguments)
    if line is not None:
        _exit(name, line, 2)


def _exit(name: str, line: str, status: int) -> None:
    print(f"ssl-{name}: {line}", file=sys.stderr, flush=True)
    sys.exit(status)


def _refuse_unknown_options(arguments: list[str]) -> None:
    from hydra._internal.utils import get_args_parser

    known = [option for option in get_args_parser()._option_string_actions if option.startswith("--")]
    for argument in arguments:
        option = argument.partition("=")[0]
        if option.startswith("--") and not any(name.startswith(option) for name in known):
            raise InputError(f"there is no option {option}; {_did_you_mean(option, known)}")


def _with_sweep_folder(arguments: list[str], name: str) -> list[str]:
    """Turns `resume_sweep=DIR` into the overrides of that sweep, in its own folder."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        if name == "pretrain" and key == "resume_sweep" and value not in ("null", ""):
            return resumed_arguments(value, [other for other in arguments if other != argument])
    return arguments


def _with_run_folder(arguments: list[str]) -> list[str]:
    """Checks every `run=`; turns `resume=RUN` into the composed config of that run, in its own folder."""
    rest: list[str] = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key == "run":
            places = [value] if os.path.exists(value) else value.split(",")
            argument = f"run={','.join(quoted(find_run(place).path.resolve()) for place in places)}"
        if key == "resume" and value not in ("null", ""):
            run = find_run(value).path.resolve()
            _refuse_groups_and_hydra(run / ".hydra" / "config.yaml", arguments)
            rest += [f"--config-path={run / '.hydra'}", "--config-name=config", f"hydra.run.dir={quoted(run)}"]
            rest.append("hydra.output_subdir=null")  # written by `pretrain`, at once: other processes read it
            argument = f"resume={quoted(run)}"
        rest.append(argument)
    return rest


def _verbatim(argument: str) -> str:
    """`text=` and `input=` take what stands behind as it is, whatever commas, brackets and quotes mean to Hydra."""
    key, equals, text = argument.partition("=")
    return f"{key}={quoted(text)}" if key in ("text", "input") and equals else argument


def _as_one_of_many(arguments: list[str]) -> list[str]:
    """Under torchrun and srun: all processes have one run folder, which does not change when they are started again."""
    started = launcher()
    if started is None:
        return arguments
    if {"-m", "--multirun"} & set(arguments) or any(argument.startswith("sweep=") for argument in arguments):
        raise InputError(f"a multirun starts the processes of its jobs itself: leave out {started}")
    rest = list(arguments)
    if not any(argument.startswith("hydra.run.dir=") for argument in arguments):
        rest.append(f"hydra.run.dir=outputs/{_CHOICES}/{launch_name()}")
    if launched_rank() > 0:
        rest.append("hydra.output_subdir=null")
    return rest


def _refuse_groups_and_hydra(config: Path, arguments: list[str]) -> None:
    """A run is gone on with as it was composed, and its config has no say in how Hydra itself works."""
    if {"hydra", "defaults"} & set(OmegaConf.load(config)):
        raise InputError(f"{config} is not the config of a run: it sets hydra or defaults")
    for argument in arguments:
        key, _, value = argument.partition("=")
        if (CONF / key).is_dir() and value:
            raise InputError(
                f"resume= keeps the choices of its run; give values (trainer.max_epochs=50), not {argument}"
            )


def _mistake(error: BaseException, name: str, arguments: list[str]) -> str | None:
    """The one line for an error that the user can mend; None for what is a defect of ours."""
    if (mistake := mistake_behind(error)) is not None:
        return str(mistake)
    if (line := launcher_mistake(error)) is not None:
        return line
    if isinstance(error, InstantiationException) or not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    return _composition_mistake(error, name, arguments)


def _composition_mistake(error: Exception, name: str, arguments: list[str]) -> str:
    if missing := re.search(r"Missing mandatory value: (\w+)", str(error)):
        return f"{missing[1]} is missing: ssl-{name} {missing[1]}=... (see ssl-{name} --help)"
    overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
    keys = _keys(name, overrides)
    for override in overrides:
        key, _, value = override.partition("=")
        key = key.lstrip("+~")
        group = CONF / key
        if group.is_dir():
            choices = _choices(key)
            wrong = [choice for choice in value.strip("[]").split(",") if choice not in (*choices, "null", "")]
            if wrong and (not key.startswith("hydra/") or wrong[0] in str(error)):  # Hydra has choices of its own
                return f"there is no {key} '{wrong[0]}'; {_did_you_mean(wrong[0], choices)}"
        elif keys and key not in keys and not override.startswith("+") and not key.startswith("hydra"):
            return f"there is no '{key}'; {_did_you_mean(key, keys)}"
    first, *others = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return f"{first} ({others[0]})" if others else first


def _choices(group: str) -> list[str]:
    """What there is in a group of configs, Hydra's own and its plugins' included."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        names: list[str] = GlobalHydra.instance().config_loader().get_group_options(group)
    return [name for name in names if not name.startswith("_")]


def _keys(name: str, overrides: Iterable[str]) -> list[str]:
    """All keys and groups that could be overridden, as composed with those overrides that name a choice."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    groups = [str(path.relative_to(CONF)) for path in CONF.rglob("*") if path.is_dir()]
    chosen = [o for o in overrides if (CONF / o.partition("=")[0] / f"{o.partition('=')[2]}.yaml").is_file()]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(name, chosen)
    return groups + _flat(OmegaConf.to_container(config, resolve=False))


def _flat(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    names = [f"{prefix}{key}" for key in node]
    return names + [key for name, child in node.items() for key in _flat(child, f"{prefix}{name}.")]


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    known = list(dict.fromkeys(known))
    near = [name for name in known if name.rpartition(".")[2] == word][:3]
    near = near or difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(known)}" if len(known) <= 20 else "see --cfg job for what there is"
