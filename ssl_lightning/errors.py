"""What tells the user of a mistake in the input of a run: commands print it as a single line."""

import pickle
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES, EROFS
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """A mistake in the input of a run; its message says in one line what was wrong and what would be right."""

    exit_status = 2


class RunFailed(InputError):
    """Not the input but the machine ended a run; the message says in one line what to do."""

    exit_status = 1


class NotSaved(RunFailed):
    """The last checkpoint of a run could not be written."""


class InputWarning(UserWarning):
    """Something in the input of a run that it can do without, such as a corrupt file; its message says what."""


def show_in_one_line(name: str) -> None:
    """From now on an `InputWarning` is one line of the command `ssl-<name>`; other warnings are shown as they were."""
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, InputWarning):
            print(one_line(f"ssl-{name}: {message}"), file=sys.stderr, flush=True)
        else:
            before(message, category, *where, **more)

    warnings.showwarning = show


def printable(text: str) -> str:
    """A text without what a terminal obeys or cannot show: control characters, changes of direction, surrogates."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", "?", text)


def one_line(text: str) -> str:
    """The same, without line breaks."""
    return " ".join(printable(text).splitlines())


def warn(line: str) -> None:
    """Tells what a run does without."""
    print(one_line(f"warning: {line}"), flush=True)


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return next(iter(str(error).strip().splitlines()), "")


def why_not_loaded(name: str, error: BaseException) -> str:
    """Of what transformers takes as a folder or as a name on the hub."""
    if isinstance(error, pickle.UnpicklingError):  # torch's own line advises to run the code
        return "its weights hold more than tensors"
    missing = str(name)[:1] in "/.~" and not Path(str(name)).expanduser().exists()
    return "there is no such folder" if missing else first_line(error)


@contextmanager
def told(line: str, *kinds: type[Exception], name: str | None = None) -> Iterator[None]:
    """Makes whatever is raised inside, or only these kinds, an `InputError`: `line`, and the reason in brackets.

    `name`: of what transformers loads inside, see `why_not_loaded`.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or (kinds and not isinstance(error, kinds)):
            raise
        why = first_line(error) if name is None else why_not_loaded(name, error)
        if isinstance(error, OSError) and error.strerror and str(error.filename) in line:
            why = error.strerror  # without the path, which the line has
        raise InputError(f"{line} ({why or type(error).__name__})") from error


def described(error: BaseException) -> str:
    """One line: what an `InputError` says, of any other error also its type."""
    return first_line(error) if isinstance(error, InputError) else f"{type(error).__name__}: {first_line(error)}"


def mistake_behind(error: BaseException) -> InputError | None:
    """The `InputError` that caused `error`, or is it; None: there is none, it is a defect of ours."""
    return next((link for link in causes(error) if isinstance(link, InputError)), None)


def causes(error: BaseException) -> list[BaseException]:
    """An error, what caused it, what caused that, and so on."""
    links = [error]
    while (link := links[-1].__cause__ or links[-1].__context__) is not None and link not in links:
        links.append(link)
    return links


WORKER_ENDED = "a data worker was ended from outside, perhaps for want of memory (fewer: data.num_workers)"


def machine_failure(error: BaseException) -> str | None:
    """The line for what the machine lacks or refuses: a file, memory, a process; None: that is not the cause."""
    for link in reversed(causes(error)):
        if isinstance(link, OSError) and link.filename:
            elsewhere = "; write elsewhere by hydra.run.dir=FOLDER" if link.errno in (EACCES, EROFS) else ""
            return f"{link.filename}: {link.strerror}{elsewhere}"
        if "No space left on device" in str(link):
            return "the disk is full: make room, or write elsewhere by hydra.run.dir=FOLDER"
        if isinstance(link, MemoryError) or re.search("out of memory|can't allocate memory", str(link)):
            return f"there is too little memory: lower data.batch_size, or what is wide ({first_line(link)})"
        if "DataLoader worker" in str(link):
            return WORKER_ENDED
    return None


class TrainingInterrupted(BaseException):
    """A signal arrived; the step it arrived in was finished and the run can resume from its checkpoint.

    Not an `Exception`, so that a sweep stops too instead of counting one failed job.
    """

    def __init__(self, signal: int, step: int, folder: Path | None = None) -> None:
        super().__init__(signal, step, folder)
        self.signal, self.step, self.folder = signal, step, folder

    def __str__(self) -> str:
        return f"stopped after step {self.step}; resume it with: ssl-pretrain resume={self.folder}"
