import warnings
from typing import Any

import pytest

from ssl_lightning.errors import InputError, InputWarning, machine_failure, show_in_one_line, told


def test_a_warning_about_the_input_is_one_line_and_others_stay(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", lambda *args: others.append(args))
        show_in_one_line("pretrain")
        warnings.warn("left out: a.png", InputWarning, stacklevel=1)
        warnings.warn("of a library", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "ssl-pretrain: left out: a.png\n"
    assert [str(message) for message, *_ in others] == ["of a library"]


def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(OSError, match="No space left") as full, open("/dev/full", "w") as file:
        file.write("x")
    line = machine_failure(full.value)
    assert line == "the disk is full: make room, or write elsewhere by hydra.run.dir=FOLDER"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no number\nat line 3"), "/home/a.csv cannot be read (no number)"),
        (MemoryError(), "/home/a.csv cannot be read (MemoryError)"),
        (FileNotFoundError(2, "No such file", "/home/a.csv"), "/home/a.csv cannot be read (No such file)"),
        (FileNotFoundError(2, "None", "/tmp/b"), "/home/a.csv cannot be read ([Errno 2] None: '/tmp/b')"),
        (InputError("data.length=0 is too short"), "data.length=0 is too short"),
    ],
)
def test_whatever_a_library_raises_is_one_line(error: Exception, said: str) -> None:
    with pytest.raises(InputError) as caught, told("/home/a.csv cannot be read"):
        raise error
    assert str(caught.value) == said
    assert error in (caught.value, caught.value.__cause__)


def test_only_the_kinds_that_are_named_are_told() -> None:
    with pytest.raises(KeyError), told("a.csv cannot be read", ValueError, OSError):
        raise KeyError("a defect of ours")
    with pytest.raises(InputError, match=r"no such folder"), told("it cannot be loaded", OSError, name="/no/where"):
        raise OSError("a long story of transformers")
