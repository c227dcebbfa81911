"""Which starts belong to one run."""

import json
from pathlib import Path

import pytest
from composition import task
from omegaconf import DictConfig, OmegaConf

from ssl_lightning.errors import InputError
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.identity import differing_keys, identity, is_finished, refuse_another
from ssl_lightning.runs.provenance import provenance


def composed(*overrides: str) -> DictConfig:
    return task(*overrides)


def finished(folder: Path, config: DictConfig, status: str = "finished") -> RunFolder:
    """A folder as a run leaves it, but for its checkpoints."""
    run = RunFolder(folder)
    run.config.parent.mkdir(parents=True)
    OmegaConf.save(config, run.config)
    found = {"status": status, "provenance": provenance(identity(config), "32-true", 1, 0)}
    run.results.write_text(json.dumps(found))
    return run


@pytest.mark.parametrize(
    "overrides",
    [
        ("resume=elsewhere", "objective=train/loss", "max_requeues=3"),
        ("trainer=ddp", "trainer.devices=4", "trainer.accelerator=cpu", "data.num_workers=3"),
        ("logger=tensorboard",),
        ("sweep=optuna", "sweep.n_trials=50"),
    ],
)
def test_where_a_run_is_computed_does_not_make_it_another(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    config, again = composed(), composed(*overrides)
    assert differing_keys(config, again) == []
    run = finished(tmp_path / "run", config)
    assert is_finished(run, again)
    refuse_another(run, again)


def test_what_is_computed_does(tmp_path: Path) -> None:
    config, other = (
        composed(),
        composed("seed=1", "backbone=resnet18", "trainer.max_epochs=3"),
    )
    run = finished(tmp_path / "run", config)
    assert not is_finished(run, other)
    with pytest.raises(InputError, match=r"it differs in backbone\._target_, .* and \d+ more; give another"):
        refuse_another(run, other)


@pytest.mark.parametrize("results", ["", "{", "[]", '{"status": "stopped", "metrics": {}}'])
def test_what_did_not_come_to_its_end_is_not_finished(tmp_path: Path, results: str) -> None:
    config = composed()
    run = finished(tmp_path / "run", config, "running")
    assert not is_finished(run, config)
    run.results.write_text(results)
    assert not is_finished(run, config)
    refuse_another(run, composed("seed=1"))  # it left nothing that could be lost
