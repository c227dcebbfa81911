"""Run folders belong to one run and one process; what stands in an argument reaches the config as it was typed."""

import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from ssl_lightning.errors import InputError
from ssl_lightning.runs.folder import RunFolder, claim, quoted, remove_empty

PIECES = ["a", " ", "'", '"', "\\", "$", "{", "}", "${", ",", "[", "]", "(", ")", "=", "\n", "é", "%", "#", ":", "?"]


def test_quoted_text_comes_through_hydra_as_it_is() -> None:
    parser, rng = OverridesParser.create(), random.Random(0)
    for _ in range(1000):
        text = "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 8)))
        config = OmegaConf.create({"text": str(parser.parse_override(f"text={quoted(text)}").value())})
        assert config.text == text


def test_the_folder_of_a_refused_command_goes_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def folder(name: str, *files: str) -> Path:
        run = tmp_path / "outputs" / name / "now"
        run.mkdir(parents=True)
        for file in files:
            (run / file).write_text("")
        return run

    kept = [folder("trained", ".lock", "metrics.csv"), folder("others", "notes.txt")]
    for run in (*kept, refused := folder("refused", ".lock")):
        remove_empty(run)
    assert all(run.exists() for run in kept)
    assert not refused.parent.exists()
    remove_empty(tmp_path / "outputs" / "empty")
    assert (tmp_path / "outputs").exists()


def test_a_folder_is_claimed_by_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        folders = list(threads.map(lambda _: claim(tmp_path / "runs" / "now"), range(8)))
    assert sorted(folder.name for folder in folders) == ["now", *(f"now_{number}" for number in range(2, 9))]
    assert all(folder.is_dir() for folder in folders)


def test_a_folder_is_locked_until_its_process_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from ssl_lightning.runs.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked():\n"
        "    if os.fork() == 0: time.sleep(60)\n"  # a data worker that outlives it
        "    print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match="another process works in"), RunFolder(tmp_path / "run").locked():
            pass
        process.kill()
        process.wait()
        with RunFolder(tmp_path / "run").locked():
            pass
        os.killpg(process.pid, signal.SIGKILL)
