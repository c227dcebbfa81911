"""What all commands share: Hydra around a task, and one clear line for every mistake."""

import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

import ssl_lightning
from ssl_lightning.cli.arguments import (
    keep_downloads,
    options_first,
    refuse_launched_sweep,
    verbatim,
    with_one_length,
    with_places,
    with_run_folder,
    with_sweep_folder,
)
from ssl_lightning.cli.help import choices
from ssl_lightning.cli.mistakes import mistake
from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.config.trust import take_trust
from ssl_lightning.config.validate import validate_options
from ssl_lightning.errors import InputError, TrainingInterrupted, causes, mistake_behind, one_line, show_in_one_line
from ssl_lightning.launch.environment import launched_rank, run_folder, share_cores
from ssl_lightning.launch.slurm import gpus_per_node, tasks_per_node
from ssl_lightning.runs.folder import output_folder, remove_empty

# Hydra takes sweepers and launchers from the namespace `hydra_plugins` alone, which may lie in several places.
sys.path.append(str(Path(__file__).parents[1] / "plugins"))


def command(name: str) -> Callable[..., None]:
    """The console command `ssl-<name>`: the function `commands.<name>.<name>` on the config `conf/<name>.yaml`.

    It takes `resume=` and answers a mistake by one line. Exit status: 0 done, 2 a mistake in the input, 128 + signal
    when stopped, 1 anything else: a run that the machine ended, jobs of a sweep that failed, or a defect (with its
    traceback).
    """

    def main(prepared: bool = False) -> None:
        """`prepared`: the arguments are those of Hydra already."""
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # ranks that lose another warn by pages of C++
        share_cores()
        _register_resolvers()
        show_in_one_line(name)
        arguments = sys.argv[1:]
        if "--version" in arguments:
            print(f"ssl-lightning {ssl_lightning.__version__}")
            return
        try:
            arguments = take_trust(arguments)
            sys.argv[1:] = arguments if prepared else _prepared(arguments, name)
            hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=name)(task)()
        except TrainingInterrupted as interrupted:
            _exit_stopped(interrupted, name)
        except (KeyboardInterrupt, Exception) as error:
            if any(isinstance(link, KeyboardInterrupt) for link in causes(error)):  # Hydra makes another error of it
                _exit(name, "stopped", 130)
            _exit_if_mistaken(error, name, arguments)
            raise

    def task(config: DictConfig) -> Any:
        try:
            validate_options(config, name)
            return getattr(import_module(f"ssl_lightning.commands.{name}"), name)(config)
        except TrainingInterrupted as interrupted:
            if "SUBMITIT_EXECUTOR" in os.environ:  # the sweep waits on another machine
                _exit_stopped(interrupted, name)
            raise
        except KeyboardInterrupt:
            _leave_no_folder(sys.argv[1:])
            raise
        except Exception as error:
            if HydraConfig.get().mode is RunMode.RUN:
                _exit_if_mistaken(error, name, sys.argv[1:])
                raise
            line = mistake(error, name, sys.argv[1:])  # a sweep goes on, and tells at its end which jobs failed
            if line is None:
                traceback.print_exc()
                raise
            print(one_line(f"ssl-{name}: this job fails: {line}"), file=sys.stderr, flush=True)
            raise InputError(line) from error

    task.__module__ = f"ssl_lightning.{name}"  # from which Hydra takes the name of the job
    return main


def _register_resolvers() -> None:
    """What `conf/` calls by these names."""
    for resolver in (choices, output_folder, tasks_per_node, gpus_per_node):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)  # it makes a folder


def _prepared(arguments: list[str], name: str) -> list[str]:
    """The arguments of a command as Hydra takes them."""
    arguments = options_first(arguments)
    keep_downloads(arguments)
    if name == "pretrain":
        refuse_launched_sweep(arguments)
        arguments = with_sweep_folder(arguments)
    if name in ("generate", "embed"):
        arguments = [verbatim(argument) for argument in arguments]
    if name == "report":
        return with_places(arguments)
    arguments = with_run_folder(arguments)
    return with_one_length(arguments) if name == "pretrain" else arguments


def _exit_stopped(interrupted: TrainingInterrupted, name: str) -> None:
    if launched_rank() > 0:
        sys.exit(0)  # any other status makes srun and torchrun kill the first process, which may still be saving
    _exit(name, str(interrupted), 128 + interrupted.signal)


def _exit_if_mistaken(error: BaseException, name: str, arguments: list[str]) -> None:
    line = mistake(error, name, arguments)
    if line is None:
        return
    _leave_no_folder(arguments)
    _exit(name, line, getattr(mistake_behind(error), "exit_status", 2))


def _leave_no_folder(arguments: list[str]) -> None:
    """Of a command that is refused or stopped before it has done anything, unless it was to resume what is in it."""
    composed = HydraConfig.instance().cfg
    resumed = any(argument.startswith("resume=") for argument in arguments)
    folder = composed and OmegaConf.select(composed, "hydra.runtime.output_dir")  # type: ignore[arg-type]
    if folder and not resumed and launched_rank() == 0:
        remove_empty(Path(folder))


def _exit(name: str, line: str, status: int) -> None:
    print(one_line(f"ssl-{name}: {line}"), file=sys.stderr, flush=True)
    sys.exit(status)
