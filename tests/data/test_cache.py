import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssl_lightning.data.cache import cache_folder, default_cache, digest, made_once
from ssl_lightning.errors import InputError

PACKAGE = Path(__file__).parents[2]


def test_the_default_place(monkeypatch):
    monkeypatch.setenv("SSL_CACHE", "/some/where")
    assert default_cache() == cache_folder(None) == Path("/some/where")
    assert cache_folder("~/x") == Path.home() / "x"
    monkeypatch.delenv("SSL_CACHE")
    assert default_cache() == Path.home() / ".cache/ssl-lightning"


def test_digests_tell_parts_apart():
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("ab", "c", "")}) == 4
    assert digest("ä") == digest("ä".encode())


def test_made_once(tmp_path):
    built = []

    def build(folder):
        built.append(folder)
        (folder / "file").write_text("whole")

    for _ in range(2):
        assert (made_once(tmp_path / "deep/home", build) / "file").read_text() == "whole"
    assert len(built) == 1
    assert [path.name for path in (tmp_path / "deep").iterdir() if path.is_dir()] == ["home"]


def test_a_build_that_fails_leaves_nothing_and_the_next_one_cleans_up_after_a_killed_one(tmp_path):
    def fail(folder):
        (folder / "half").touch()
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        made_once(tmp_path / "home", fail)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    (tmp_path / ".home.killed").mkdir()
    made_once(tmp_path / "home", lambda folder: None)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["home"]


def test_a_cache_that_is_no_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file cannot be written"):
        made_once(tmp_path / "file/home", lambda folder: None)


def test_a_full_disk_is_told(tmp_path):
    def build(folder):
        raise OSError(28, os.strerror(28))

    with pytest.raises(InputError, match=r"the disk of .* is full: set \$SSL_CACHE"):
        made_once(tmp_path / "home", build)


def test_of_processes_that_want_the_same_one_builds_and_the_others_wait(tmp_path):
    code = """
import os, sys, time
from pathlib import Path
from ssl_lightning.data.cache import made_once
def build(folder):
    with open(sys.argv[1] + "/builders", "a") as stream:
        stream.write(f"{os.getpid()}\\n")
    time.sleep(0.5)
    (folder / "file").write_text("whole")
print((made_once(Path(sys.argv[1]) / "home", build) / "file").read_text())
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in running] == ["whole\n"] * 3
    assert len((tmp_path / "builders").read_text().split()) == 1
