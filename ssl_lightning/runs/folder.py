"""A run folder: where everything that a run makes lies, and how to find it again."""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from ssl_lightning.errors import InputError


@dataclass
class RunFolder:
    """Paths of one run; `.hydra/config.yaml` inside it is the composed config, `tokenizer` a folder, of runs on text.

    `checkpoints/previous.ckpt` is what `last.ckpt` was before.
    """

    path: Path

    def __post_init__(self) -> None:
        self.config = self.path / ".hydra" / "config.yaml"
        self.last, self.previous, self.best = (
            self.path / "checkpoints" / f"{name}.ckpt" for name in ("last", "previous", "best")
        )
        self.tokenizer = self.path / "tokenizer"
        self.metrics = self.path / "metrics.csv"
        self.results = self.path / "results.json"
        self.figures = self.path / "figures"

    @property
    def checkpoints(self) -> list[Path]:
        """Those that are there, the newest first."""
        return [path for path in (self.last, self.previous, self.best) if path.exists()]

    def checkpoint(self, name: str) -> Path:
        """`last` or `best`, or a path of its own."""
        return {"last": self.last, "best": self.best}.get(name, Path(name))

    def read_results(self) -> dict[str, Any]:
        """What `results.json` holds, its metrics and controls numbers; nothing where there is none, or half of one."""
        try:
            results = json.loads(self.results.read_text())
            numbers = {
                part: {name: x for name, x in results.get(part, {}).items() if isinstance(x, int | float)}
                for part in ("metrics", "controls")
            }
            return {**results, **numbers, "provenance": dict(results.get("provenance", {}))}
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            return {}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Inside, no other process works in this folder. The system unlocks it when this process ends, however it does.

        Raises:
            InputError: another process has locked it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this process alone: children do not inherit it
            except (BlockingIOError, PermissionError):
                raise InputError(f"another process works in {self.path}: stop it, or give another folder") from None
            except OSError:
                pass  # a file system without locks
            yield


def claim(path: Path, number: int = 1) -> Path:
    """Makes a new folder at `path`, or at `path_2`, `path_3` ... where others have been quicker."""
    place = path if number == 1 else path.with_name(f"{path.name}_{number}")
    try:
        place.mkdir(parents=True)
    except FileExistsError:
        return claim(path, number + 1)
    return place


def find_run(where: str | Path) -> RunFolder:
    """The run in a folder, or the only one in its folders; `last`, where there is no such folder: the newest one below
    `outputs/`.

    Raises:
        InputError: there is no such folder, it holds no run, or it holds many.
    """
    path = Path(where).expanduser()
    if path.is_file():
        raise InputError(f"{path} is a file; give the folder of its run (ssl-evaluate takes checkpoint=best or a path)")
    if (path / ".hydra" / "config.yaml").is_file():
        refuse_links_out(path)
        return RunFolder(path)
    if str(where) == "last" and not path.exists():
        path = Path("outputs")
        inside = sorted(path.rglob(".hydra/config.yaml"), key=lambda config: config.stat().st_mtime)[-1:]
    else:
        inside = list(path.glob("*/.hydra/config.yaml"))
    if len(inside) == 1:
        return find_run(inside[0].parent.parent)
    if inside:
        raise InputError(f"{path} holds {len(inside)} runs; give one of them, such as {inside[0].parent.parent}")
    raise InputError(f"there is no run at {path}; give the folder that a run printed at its end")


def refuse_links_out(folder: Path) -> None:
    """Refuses a folder that leads out of itself: what is read from or written to it must lie in it.

    Raises:
        InputError: below it lies a link to somewhere else, or something that is neither a file nor a folder; or Hydra
            would take its name for an interpolation; or W&B would take it for the user's settings.
    """
    home = folder.resolve()
    if "${" in str(home):
        raise InputError(f"{home} has ${{ in its name, which Hydra takes for an interpolation; rename it")
    for parent, folders, files in os.walk(folder):
        if Path(parent).name in ("wandb", ".wandb") and "settings" in files:  # which W&B reads where the user stands
            raise InputError(f"{parent}/settings tells W&B to whom to send runs; remove it")
        if Path(parent).name == "wandb" and Path(parent) != folder:  # its files link to its logs; nothing reads them
            folders.clear()
            files.clear()
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                raise InputError(f"{path} leads out of the run's folder, to {path.resolve()}; put it there itself")
            if not path.is_symlink() and not path.is_file() and not path.is_dir():
                raise InputError(f"{path} is neither a file nor a folder; remove it")


def output_folder(command: str, run: str | None, encoder: str | None, data: str | None) -> str:
    """Where a command writes: in the folder of its run, or below `outputs/`; `data`: another data set's name."""
    if run:
        return str(Path(run, f"{command}_{data}" if data else command))
    return str(Path("outputs", re.sub(r"[^\w.-]+", "_", f"{command}_{encoder}_{data}")))


def remove_empty(path: Path) -> None:
    """Removes a refused command's folder and the two above it, if empty and below the working directory."""
    with contextlib.suppress(OSError, InputError):
        if {file.name for file in path.iterdir()} <= {".lock", "wandb_id"}:
            with RunFolder(path).locked():
                for file in list(path.iterdir()):
                    file.unlink()
    for folder in (path, path.parent, path.parent.parent):
        if Path.cwd() in folder.parents:
            with contextlib.suppress(OSError):
                folder.rmdir()


def quoted(text: Path | str) -> str:
    """A path or any other text as Hydra's grammar takes it, so that no character in it means anything there."""
    escaped = re.sub(r"(\\*)\$\{", lambda found: f"{2 * found[1]}\\${{", str(text))
    return QuotedString(escaped, Quote.single).with_quotes()


@contextlib.contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Gives a place beside `path` to write to, which is renamed to it: a reader or a crash never meets half a file.

    What is written is on the disk before it is renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def remove_leftovers(run: RunFolder) -> None:
    """Removes what a process that was killed had begun to write beside a file of the run."""
    for folder in (run.path, run.config.parent, run.last.parent):
        for file in folder.glob(".*.*"):
            if re.search(r"\.\d+$", file.name):
                file.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Writes the whole of a text file or nothing."""
    with written_beside(path) as beside:
        beside.write_text(text)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes `content` as indented JSON, atomically."""
    write_atomically(path, json.dumps(content, indent=2, default=float) + "\n")
