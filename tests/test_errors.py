import warnings
from typing import Any

import pytest

from ssl_lightning.errors import InputWarning, machine_failure, show_in_one_line


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
