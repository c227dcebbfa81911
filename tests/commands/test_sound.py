"""Two rounds of HuBERT on synthetic vowels, and what the commands make of the second where the first is gone."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers
from runs.harness import command, train

from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.load import load_method

TINY = (
    "method=hubert",
    "trainer=cpu",
    "trainer.max_epochs=null",
    "trainer.max_steps=3",
    "backbone.width=16",
    "backbone.heads=2",
    "backbone.layers=2",
    "backbone.intermediate_size=32",
    "backbone.conv_dim=[8,8,8,8,8]",
    "method.clusters=8",
    "method.out_dim=8",
    "data.source.speakers=6",
    "data.source.utterances=1",
    "data.val_size=20",
    "data.batch_size=16",
)


@pytest.fixture(scope="module")
def second_round(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("sound")
    first = train(folder / "first", *TINY, "callbacks=minimal")
    run = train(folder / "second", *TINY, "callbacks.probe.linear_samples=20", f"method.teacher={first.path}",
                "method.teacher_layer=1")  # fmt: skip
    first.path.rename(folder / "gone")
    return run


def test_clusters_are_measured_and_drawn(second_round: RunFolder) -> None:
    metrics = second_round.read_results()["metrics"]
    assert 0 < metrics["val/cluster_purity"] <= 1
    assert 0 <= metrics["val/label_information"] <= 1
    assert {path.name for path in second_round.figures.iterdir()} >= {"curves.png", "embedding.png", "task.png"}


def test_a_second_round_is_evaluated_without_the_first(second_round: RunFolder) -> None:
    ended = command("evaluate", f"run={second_round.path}", "labels=[]", cwd=second_round.path.parent)
    assert ended.returncode == 0, ended.stderr
    results = json.loads((second_round.path / "evaluate" / "results.json").read_text())
    assert {"metrics", "controls", "raw"} <= results.keys()
    assert results["raw"]["probe/linear_accuracy"] > 0.2


def test_clusters_of_a_recording(second_round: RunFolder, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", 0.1 * np.sin(np.arange(8000) / 5), 16000)
    ended = command("generate", f"run={second_round.path}", f"input={tmp_path / 'clip.wav'}", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    written = json.loads(next((second_round.path / "generate").glob("*.json")).read_text())
    assert written["columns"] == ["sound", "hidden", "clusters", "hidden ones guessed"]
    assert (second_round.path / "generate" / written["figure"]).is_file()


def test_the_nearest_recordings_of_a_folder(second_round: RunFolder, tmp_path: Path) -> None:
    """The clip itself and what cannot be read are none of them."""
    rates = {"clip": 5.0, "alike": 5.01, "other": 40.0, "another": 60.0}
    for name, rate in rates.items():
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * np.sin(np.arange(4000) / rate), 8000)
    (tmp_path / "broken.wav").write_text("no sound")
    options = (f"input={tmp_path / 'clip.wav'}", f"among={tmp_path}", "neighbours=2")
    ended = command("generate", f"run={second_round.path}", *options, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    written = json.loads(max((second_round.path / "generate").glob("*.json")).read_text())
    assert written["columns"] == ["sound", "hidden", "clusters", "hidden ones guessed", "nearest 1", "nearest 2"]
    cosines = written["nearest"]["clip.wav"]
    assert len(cosines) == 2
    assert max(cosines, key=cosines.get) == "alike.wav"
    assert "alike.wav" in ended.stdout


def test_transformers_opens_the_encoder(second_round: RunFolder) -> None:
    ended = command("export", f"run={second_round.path}", "format=transformers", cwd=second_round.path.parent)
    assert ended.returncode == 0, ended.stderr
    method, data = load_method(second_round)
    model = transformers.AutoModel.from_pretrained(second_round.path / "export").eval()
    extract = transformers.AutoFeatureExtractor.from_pretrained(second_round.path / "export")
    batch = data.test.__getitems__([0, 5])
    clips = [row[:length].numpy() for row, length in zip(batch["waveform"], batch["length"], strict=True)]
    fed = extract(clips, sampling_rate=data.modality.sample_rate, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model(**fed).last_hidden_state
        h, visible = method.eval().backbone.hidden(batch["waveform"], batch["length"])
    torch.testing.assert_close(found, h[:, : found.shape[1]], atol=1e-5, rtol=1e-5)
    assert visible.sum(dim=1).max() == found.shape[1]
