"""Folders as a user gives them."""

from pathlib import Path

import pytest

from ssl_lightning.cli.arguments import options_first, with_places


def test_folders_that_stand_alone_are_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lr=0.1,seed=1", "a b's"):
        (tmp_path / name).mkdir()
    assert with_places(["lr=0.1,seed=1"]) == ["runs=['lr=0.1,seed=1']", "hydra.run.dir='lr=0.1,seed=1'"]
    assert with_places(["a b's", "metrics=[val/loss]", "nowhere"]) == [
        "metrics=[val/loss]",
        "runs=['a b\\'s','nowhere']",
    ]
    assert with_places(["a b's", "hydra.run.dir=x"]) == ["hydra.run.dir=x", "runs=['a b\\'s']"]
    assert with_places(["--cfg", "job", "nowhere"]) == ["--cfg", "job", "runs=['nowhere']"]
    assert with_places(["runs=[x]"]) == ["runs=[x]"]


def test_options_and_overrides_come_in_any_order() -> None:
    typed = ["seed=1,2", "-m", "method=moco", "--config-dir", "conf", "optimizer.lr=1"]
    assert options_first(typed) == ["-m", "--config-dir", "conf", "seed=1,2", "method=moco", "optimizer.lr=1"]
