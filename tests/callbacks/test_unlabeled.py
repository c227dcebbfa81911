"""Photos without labels train by the default command, and are measured by what needs no label."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from runs.harness import TINY, WATCHED, command, train

from ssl_lightning.config.build import load_config
from ssl_lightning.evaluation.health import alignment, effective_rank, uniformity
from ssl_lightning.runs.frozen_features import label_free_figures
from ssl_lightning.runs.load import load_data, load_method


@pytest.mark.parametrize("held_out", [8, 1])
def test_photos_without_labels_just_train(tmp_path, held_out):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(32):
        pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    options = (
        "data=image_folder",
        "data.root=photos",
        "data.image_size=16",
        "data.source.store_size=24",
        "data.batch_size=8",
    )
    small = [option for option in TINY if not option.startswith("data.")]
    done = command(
        "pretrain",
        *small,
        *options,
        f"data.val_size={held_out}",
        "hydra.run.dir=run",
        cwd=tmp_path,
        SSL_CACHE=str(tmp_path / "cache"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no probe of kNN and linear accuracy: the data has no labels") == 1
    (row,) = (line for line in done.stdout.splitlines() if "effective rank" in line)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    name = "probe/effective_rank"
    assert row.split()[-4::2] == [f"{results[part][name]:.1f}" for part in ("metrics", "controls")]
    assert "next  ssl-embed run=" in done.stdout
    assert "probe/knn_accuracy" not in results["metrics"]


def test_label_free_figures_are_those_of_the_frozen_encoder_and_change_nothing(tmp_path):
    run = train(tmp_path / "run", *WATCHED)
    method, _ = load_method(run)
    data = load_data(run, load_config(run.config))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.train()
    random = torch.get_rng_state()
    found = label_free_figures(method, data)
    assert torch.equal(torch.get_rng_state(), random)
    assert method.training
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())

    method.eval()
    batch = data.val.__getitems__(list(range(len(data.val))))
    with torch.no_grad():
        h = method(data.modality.evaluation_view(batch)["image"])
        chunks = [
            data.augment({key: value[start : start + 64] for key, value in batch.items()}, data.seed + start)["views"]
            for start in range(0, len(h), 64)
        ]
        first, second = (torch.cat([method(views[number]) for views in chunks]) for number in (0, 1))
    assert found["probe/effective_rank"] == pytest.approx(float(effective_rank(h)), rel=1e-4)
    assert found["probe/uniformity"] == pytest.approx(float(uniformity(h)), rel=1e-4)
    assert found["probe/alignment"] == pytest.approx(float(alignment(first, second)), rel=1e-4)
    results = json.loads(run.results.read_text())
    assert results["metrics"]["probe/effective_rank"] == pytest.approx(found["probe/effective_rank"], rel=1e-4)
    assert results["controls"]["probe/effective_rank"] != results["metrics"]["probe/effective_rank"]


def test_labels_of_which_none_is_held_out_are_not_probed(tmp_path, capsys):
    options = [option for option in WATCHED if not option.startswith("data.val_size")]
    train(tmp_path / "run", *options, "data.val_size=0")
    assert "no probe of kNN and linear accuracy: nothing is held out (data.val_size is 0)" in capsys.readouterr().out
