import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssl_lightning.data.cache import cache_folder, cached_dir, cached_ragged, digest, file_status, progress_bar
from ssl_lightning.errors import InputError

PACKAGE = Path(__file__).parents[2]


def test_the_default_place(monkeypatch):
    monkeypatch.setenv("SSL_CACHE", "/some/where")
    assert cache_folder() == cache_folder(None) == Path("/some/where")
    assert cache_folder("~/x") == Path.home() / "x"
    monkeypatch.delenv("SSL_CACHE")
    assert cache_folder() == Path.home() / ".cache/ssl-lightning"


def test_digests_tell_parts_apart():
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("ab", "c", "")}) == 4
    assert digest("ä") == digest("ä".encode())


def test_cached_dir(tmp_path):
    built = []

    def build(folder):
        built.append(folder)
        (folder / "file").write_text("whole")

    for _ in range(2):
        assert (cached_dir(tmp_path / "deep/home", build) / "file").read_text() == "whole"
    assert len(built) == 1
    assert [path.name for path in (tmp_path / "deep").iterdir() if path.is_dir()] == ["home"]


def test_a_build_that_fails_leaves_nothing_and_the_next_one_cleans_up_after_a_killed_one(tmp_path):
    def fail(folder):
        (folder / "half").touch()
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        cached_dir(tmp_path / "home", fail)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    (tmp_path / ".home.killed").mkdir()
    cached_dir(tmp_path / "home", lambda folder: None)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["home"]


def test_a_cache_that_is_no_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file cannot be filled"):
        cached_dir(tmp_path / "file/home", lambda folder: None)


def test_a_full_disk_is_told(tmp_path):
    def build(folder):
        raise OSError(28, os.strerror(28))

    with pytest.raises(InputError, match=r"cannot be filled; set \$SSL_CACHE.*No space"):
        cached_dir(tmp_path / "home", build)


def test_of_processes_that_want_the_same_one_builds_and_the_others_wait(tmp_path):
    code = """
import os, sys, time
from pathlib import Path
from ssl_lightning.data.cache import cached_dir
def build(folder):
    with open(sys.argv[1] + "/builders", "a") as stream:
        stream.write(f"{os.getpid()}\\n")
    time.sleep(0.5)
    (folder / "file").write_text("whole")
print((cached_dir(Path(sys.argv[1]) / "home", build) / "file").read_text())
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in running] == ["whole\n"] * 3
    assert len((tmp_path / "builders").read_text().split()) == 1


def test_the_status_of_files_tells_every_change_but_one_of_equal_length_and_time(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("text")
        os.utime(tmp_path / name, ns=(0, 10**18))
    before = file_status(tmp_path, ["a", "b"])
    assert before == file_status(tmp_path, ["a", "b"]) != file_status(tmp_path, ["a"])
    os.utime(tmp_path / "a", ns=(0, 10**18 + 1))
    touched = file_status(tmp_path, ["a", "b"])
    (tmp_path / "a").unlink()
    assert len({before, touched, file_status(tmp_path, ["a", "b"])}) == 3
    tmp_path.rename(tmp_path.with_name("moved"))
    assert file_status(tmp_path.with_name("moved"), ["b"]) != file_status(tmp_path, ["b"])


def parts():
    yield 0, np.array([1, 2]), ""
    yield 0, np.array([3]), ""
    yield 2, np.array([4, 5]), "of two"
    yield 3, np.array([]), "empty"


def test_rows_of_any_length_in_several_parts_with_notes(tmp_path):
    for source in (parts, lambda: pytest.fail("it is there")):
        values, offsets, notes = cached_ragged(tmp_path / "home", np.uint16, 4, source)
        assert (values.dtype, values.tolist()) == (np.uint16, [1, 2, 3, 4, 5])
        assert (offsets.tolist(), notes) == ([0, 3, 3, 5, 5], {2: "of two", 3: "empty"})
    values, offsets, notes = cached_ragged(tmp_path / "nothing", np.int16, 2, list)
    assert (values.dtype, values.tolist(), offsets.tolist(), notes) == (np.int16, [], [0, 0, 0], {})


@pytest.mark.parametrize("damage", ["values.bin", "offsets.npy", "notes.json"])
def test_a_file_that_is_cut_short_is_told_with_the_folder(tmp_path, damage):
    cached_ragged(tmp_path / "home", np.uint16, 4, parts)
    os.truncate(tmp_path / "home" / damage, 1)
    with pytest.raises(InputError, match=r"the cache .*home is damaged: remove it, and it is built again \(.+\)"):
        cached_ragged(tmp_path / "home", np.uint16, 4, parts)


@pytest.mark.parametrize("count_bytes", [False, True])
def test_a_bar_counts(capfd, count_bytes):
    with progress_bar("counting", 128, count_bytes) as advance:
        for _ in range(128):
            advance(1)
    shown = capfd.readouterr()
    assert not shown.out
    assert "counting" in shown.err
    assert "128/128" in shown.err
