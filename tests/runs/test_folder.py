"""What stands in an argument reaches the config as it was typed."""

import random
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from ssl_lightning.runs.folder import quoted, remove_empty, remove_untrained

PIECES = ["a", " ", "'", '"', "\\", "$", "{", "}", "${", ",", "[", "]", "(", ")", "=", "\n", "é", "%", "#", ":", "?"]


def test_quoted_text_comes_through_hydra_as_it_is() -> None:
    parser, rng = OverridesParser.create(), random.Random(0)
    for _ in range(1000):
        text = "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 8)))
        config = OmegaConf.create({"text": str(parser.parse_override(f"text={quoted(text)}").value())})
        assert config.text == text


def test_the_folder_of_a_refused_run_goes_and_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def folder(name: str, rows: str, *more: str) -> Path:
        run = tmp_path / "outputs" / name / "now"
        (run / ".hydra").mkdir(parents=True)
        (run / "metrics.csv").write_text(f"step,train/loss\n{rows}")
        for file in more:
            (run / file).write_text("")
        return run

    kept = [folder("trained", "0,\n50,1.0\n"), folder("others", "", "notes.txt"), folder("saved", "", "checkpoints")]
    for run in (*kept, refused := folder("refused", "0,\n", "results.json")):
        remove_untrained(run)
    assert all(run.exists() for run in kept)
    assert not refused.parent.exists()
    remove_empty(tmp_path / "outputs" / "empty")
    assert (tmp_path / "outputs").exists()
