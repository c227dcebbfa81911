"""Checkpoint files survive full disks and refuse to run code."""

import pickle
import resource
import signal

import pytest
import torch
from runs.harness import TINY, command

from ssl_lightning.errors import InputError
from ssl_lightning.runs.checkpoints import read_checkpoint, write_checkpoint


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
    path = tmp_path / "last.ckpt"
    write_checkpoint({"step": 1}, path)
    with pytest.raises(OSError, match="File too large"):
        write_checkpoint({"step": 2, "w": torch.zeros(100_000)}, path)
    assert read_checkpoint(path) == {"step": 1}
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


def test_a_run_on_a_full_disk_ends_well_and_tells_where_its_state_is(tmp_path):
    """Every file above 30 kB is refused to the run; no checkpoint of 300 kB can be written anywhere."""
    script = (
        "import resource, signal, sys;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, -1));"
        "from ssl_lightning.pretrain import main; main()"
    )
    import subprocess
    import sys

    result = subprocess.run(
        [sys.executable, "-c", script, *TINY, "callbacks=minimal", "hydra.run.dir=run"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in result.stderr
    assert "last.ckpt was not written" in result.stdout
    assert result.returncode == 2
    assert "could be saved neither in" in result.stderr
    assert (tmp_path / "run" / "results.json").exists()
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
    again = command("pretrain", "resume=run", cwd=tmp_path)
    assert "has no checkpoints/last.ckpt" in again.stderr
