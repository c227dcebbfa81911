"""Features of a frozen encoder are extracted once, also by different commands, and never taken for others."""

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands.test_evaluate import evaluated
from runs.harness import TINY, train

from ssl_lightning.config.build import load_config
from ssl_lightning.runs import frozen_features
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.frozen_features import FrozenFeatures, part_features
from ssl_lightning.runs.load import load_data, load_method

QUICK = ("labels=[]", "raw=false", "finetune_steps=2")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(tmp_path_factory.mktemp("frozen") / "run", *TINY, "callbacks=minimal", "trainer.max_epochs=1")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSL_CACHE", str(tmp_path))
    return tmp_path / "features"


@pytest.fixture
def extracted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows of features each extraction gave."""
    rows: list[int] = []
    extract: Callable[..., Any] = frozen_features.extract

    def counted(*given: Any) -> dict[str, torch.Tensor]:
        found = extract(*given)
        if len(found["index"]) > 100:  # held-out samples, of which random views are looked at each time
            rows.append(len(found["index"]))
        return found

    monkeypatch.setattr(frozen_features, "extract", counted)
    return rows


def test_another_evaluation_asks_the_encoder_for_nothing_that_is_known(
    run: RunFolder, kept: Path, extracted: list[int]
) -> None:
    first = evaluated(run, *QUICK)
    assert len(extracted) == 4  # two splits, by the trained and the untrained encoder
    again = evaluated(run, *QUICK)
    assert (len(extracted), again["metrics"]) == (4, first["metrics"])
    suite = evaluated(run, *QUICK, "suite=v1", "draws=1")
    assert suite["metrics"]["probe/knn_accuracy"] == first["metrics"]["probe/knn_accuracy"]
    assert len(extracted) == 4 + 2 * (16 + 2)  # corrupted samples and layers, which the first did not look at
    assert len(list(kept.iterdir())) == len(extracted)


def test_other_weights_settings_samples_or_views_have_features_of_their_own(
    run: RunFolder, kept: Path, extracted: list[int]
) -> None:
    method = load_method(run)[0]
    data = load_data(run, load_config(run.config))
    features = FrozenFeatures(data)
    known = features(method, data.test)
    assert torch.equal(known["features"], part_features(method, data, data.test)["features"])
    assert torch.equal(FrozenFeatures(data)(method, data.test)["features"], known["features"])
    assert len(extracted) == 2
    features(method, data.probe_train)
    features(method, data.test, "negative", lambda batch: -method.embed(data.modality.evaluation_view(batch), "image"))
    with torch.no_grad():
        next(method.parameters())[0] += 1e-3
    assert not torch.equal(FrozenFeatures(data)(method, data.test)["features"], known["features"])
    next(part for part in method.modules() if isinstance(part, torch.nn.BatchNorm2d)).eps = 1e-3
    FrozenFeatures(data)(method, data.test)
    data.modality.std = (0.5,)
    FrozenFeatures(data)(method, data.test)
    assert len(extracted) == 7


def test_what_is_damaged_or_cannot_be_kept_is_extracted_again(
    run: RunFolder, kept: Path, extracted: list[int], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    method, data = load_method(run)[0], load_data(run, load_config(run.config))
    known = FrozenFeatures(data)(method, data.test)
    (file,) = kept.iterdir()
    whole = file.read_bytes()
    place = whole.index(known["features"].numpy().tobytes())
    for damaged in (whole[:-100], whole[:place] + bytes(64) + whole[place + 64 :]):
        file.write_bytes(damaged)
        assert torch.equal(FrozenFeatures(data)(method, data.test)["features"], known["features"])
    monkeypatch.setenv("SSL_CACHE", str(file))
    features = FrozenFeatures(data)
    for _ in range(2):
        assert torch.equal(features(method, data.test)["features"], known["features"])
    assert "features are not kept in" in capsys.readouterr().out
    assert len(extracted) == 4


def test_a_full_disk_ends_no_evaluation(run: RunFolder, kept: Path, capsys: Any) -> None:
    method, data = load_method(run)[0], load_data(run, load_config(run.config))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        FrozenFeatures(data)(method, data.val)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "features are not kept in" in capsys.readouterr().out
    assert list(kept.iterdir()) == []


def test_the_oldest_make_room(run: RunFolder, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, data = load_method(run)[0], load_data(run, load_config(run.config))
    features = FrozenFeatures(data)
    files = []
    for age, part in enumerate((data.val, data.test.subset(range(100)), data.test.subset(range(99)))):
        features(method, part)
        files += sorted(set(kept.iterdir()) - set(files))
        os.utime(files[-1], (0, 1000 * age))
    FrozenFeatures(data)(method, data.val)  # used again, so that it is no longer the oldest
    monkeypatch.setattr(frozen_features, "_MOST_BYTES", sum(file.stat().st_size for file in files) - 1)
    features(method, data.test.subset(range(98)))
    assert [file.exists() for file in files] == [True, False, True]
