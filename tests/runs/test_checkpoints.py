"""Checkpoint files survive full disks and refuse to run code."""

import os
import pickle
import resource
import shlex
import signal
import subprocess
import sys

import pytest
import torch
from runs.harness import TINY, command
from runs.warm import Command

from ssl_lightning.errors import InputError
from ssl_lightning.runs.checkpoints import newest_checkpoint, read_checkpoint, write_checkpoint
from ssl_lightning.runs.folder import RunFolder


@pytest.fixture
def small_files():
    """The system refuses files above 100 kB, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, before)


def test_round_trip(tmp_path):
    write_checkpoint({"state_dict": {"w": torch.arange(3.0)}, "global_step": 4}, tmp_path / "deep" / "last.ckpt")
    read = read_checkpoint(tmp_path / "deep" / "last.ckpt")
    assert read["global_step"] == 4
    assert torch.equal(read["state_dict"]["w"], torch.arange(3.0))
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["last.ckpt"]


def test_a_failed_write_leaves_the_checkpoint_before_it(tmp_path, small_files):
    small = {"state_dict": {}, "global_step": 1}
    write_checkpoint(small, path := tmp_path / "last.ckpt")
    with pytest.raises(OSError, match="File too large"):
        write_checkpoint({"state_dict": {"w": torch.zeros(100_000)}, "global_step": 2}, path)
    assert read_checkpoint(path) == small
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


class Evil:
    def __reduce__(self):
        return (print, ("code of a stranger was run",))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", pickle.dumps(Evil())])
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, capsys, content):
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"last\.ckpt") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""


def test_a_pickled_object_in_a_checkpoint_is_not_run(tmp_path, capsys):
    torch.save({"state_dict": Evil()}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="not loaded"):
        read_checkpoint(tmp_path / "last.ckpt")
    assert capsys.readouterr().out == ""


def test_a_truncated_checkpoint_is_called_damaged(tmp_path):
    path = tmp_path / "last.ckpt"
    write_checkpoint({"w": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        None,
        torch.zeros(2),
        {},
        {"state_dict": {}},
        *({"state_dict": x, "global_step": y} for x, y in (([], 1), ({}, "a"))),
    ],
)
def test_a_whole_file_that_is_no_checkpoint_is_refused_in_one_line(tmp_path, content):
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="is not the checkpoint of a run"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_weights_alone_are_nothing_to_resume_from(tmp_path):
    run = RunFolder(tmp_path)
    write_checkpoint({"state_dict": {}, "global_step": 4, "loops": {}}, run.last)
    with pytest.raises(InputError, match="holds weights alone: no training can resume from it"):
        newest_checkpoint(run)


def test_without_hard_links_the_checkpoint_before_is_kept_too(tmp_path, monkeypatch):
    def refused(*arguments):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    for step in (1, 2, 3):
        write_checkpoint({"state_dict": {}, "global_step": step}, tmp_path / "last.ckpt")
    assert [read_checkpoint(tmp_path / f"{name}.ckpt")["global_step"] for name in ("last", "previous")] == [3, 2]


def test_where_the_disk_has_room_for_two_the_newest_are_kept(tmp_path):
    """A disk of a megabyte in memory, in a mount namespace of its own; checkpoints of 400 kB."""
    code = (
        "import sys, torch; from pathlib import Path; from ssl_lightning.runs.checkpoints import write_checkpoint\n"
        "for step in range(4):\n"
        "    content = {'state_dict': {'w': torch.zeros(100_000)}, 'global_step': step}\n"
        "    write_checkpoint(content, Path(sys.argv[1]) / 'last.ckpt')\n"
        "    print(sorted(file.name for file in Path(sys.argv[1]).iterdir()))"
    )
    mounted = f"mount -t tmpfs -o size=1m none {tmp_path} && exec {sys.executable} -c {shlex.quote(code)} {tmp_path}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", mounted], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['last.ckpt']", *3 * ["['last.ckpt', 'previous.ckpt']"]]


def test_a_run_on_a_full_disk_ends_well_and_says_so(tmp_path):
    """Every file above 30 kB is refused to the run; no checkpoint of 300 kB can be written."""
    running = Command("pretrain", *TINY, "callbacks=minimal", "hydra.run.dir=run", cwd=tmp_path)
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
    out, err = running.communicate(300)
    assert "Traceback" not in err
    assert "last.ckpt was not written" in out
    assert running.returncode == 1
    assert "the end of this run could not be saved" in err
    assert RunFolder(tmp_path / "run").read_results()["status"] == "unsaved"
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
    again = command("pretrain", "resume=run", cwd=tmp_path)
    assert "has no checkpoints/last.ckpt" in again.stderr
