"""A run folder: where everything that a run makes lies, and how to find it again."""

import contextlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_lightning.errors import InputError


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run; `.hydra/config.yaml` inside it is the composed config."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / ".hydra" / "config.yaml"

    @property
    def last(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def previous(self) -> Path:
        """What `last` was before."""
        return self.path / "checkpoints" / "previous.ckpt"

    @property
    def best(self) -> Path:
        return self.path / "checkpoints" / "best.ckpt"

    def checkpoint(self, name: str) -> Path:
        """`last` or `best`, or a path of its own."""
        return {"last": self.last, "best": self.best}.get(name, Path(name))

    @property
    def tokenizer(self) -> Path:
        """A folder, of runs on text."""
        return self.path / "tokenizer"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def figures(self) -> Path:
        return self.path / "figures"


def find_run(where: str | Path) -> RunFolder:
    """The run in a folder, or the only one in its folders; `last`, where there is no such folder: the newest one below
    `outputs/`.

    Raises:
        InputError: there is no such folder, it holds no run, or it holds many.
    """
    path = Path(where).expanduser()
    if str(where) == "last" and not path.exists():
        return _newest(Path("outputs"))
    if not path.exists():
        raise InputError(f"there is no run at {path}; give the folder that a run printed at its end")
    if path.is_file():
        raise InputError(f"{path} is a file; give the folder of its run (ssl-evaluate takes checkpoint=best or a path)")
    if (path / ".hydra" / "config.yaml").is_file():
        return RunFolder(path)
    inside = sorted(str(config.parent.parent) for config in path.glob("*/.hydra/config.yaml"))
    if len(inside) == 1:
        return RunFolder(Path(inside[0]))
    if inside:
        raise InputError(f"{path} holds {len(inside)} runs; give one of them: {', '.join(inside[:4])}")
    raise InputError(f"{path} is not a run folder: it holds no .hydra/config.yaml")


def _newest(folder: Path) -> RunFolder:
    """The run below a folder that was started or resumed last."""
    configs = sorted(folder.rglob(".hydra/config.yaml"), key=lambda config: config.stat().st_mtime)
    if not configs:
        raise InputError(f"there is no run below {folder.resolve()}; give the folder of a run")
    return RunFolder(configs[-1].parent.parent)


_BEFORE_TRAINING = {
    ".hydra",
    ".lock",
    "figures",
    "metrics.csv",
    "pretrain.log",
    "results.json",
    "tokenizer",
    "wandb_id",
}


def remove_untrained(path: Path) -> None:
    """Removes the run folder `path` if nothing was trained in it."""
    metrics = RunFolder(path).metrics
    rows = metrics.read_text().splitlines()[1:] if metrics.exists() else []
    untouched = path.exists() and {file.name for file in path.iterdir()} <= _BEFORE_TRAINING
    if untouched and all(row.startswith("0,") for row in rows):  # step 0 is the untrained encoder
        shutil.rmtree(path, ignore_errors=True)
    remove_empty(path)


def remove_empty(path: Path) -> None:
    """Removes a folder of an output and the two above it where they are empty and below the working directory."""
    for folder in (path, path.parent, path.parent.parent):
        if Path.cwd() in folder.parents:
            with contextlib.suppress(OSError):
                folder.rmdir()


def quoted(text: Path | str) -> str:
    """A path or any other text as Hydra's grammar takes it, so that no character in it means anything there."""
    escaped = re.sub(r"(\\*)\$\{", lambda found: f"{2 * found[1]}\\${{", str(text))
    escaped = re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), escaped)
    return f"'{escaped}'"


def write_atomically(path: Path, text: str) -> None:
    """Writes beside and renames, so that a reader or a crash never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes `content` as indented JSON, atomically."""
    write_atomically(path, json.dumps(content, indent=2, default=float) + "\n")
