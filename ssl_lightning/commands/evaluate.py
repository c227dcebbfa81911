"""The evaluation of an encoder: whatever judges apply to it, each with its controls, under one protocol."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import track

from ssl_lightning.commands.evaluated import evaluated
from ssl_lightning.commands.judges import fine_tuned, held_out_text, predictions, probes, reconstruction, sgd_probe
from ssl_lightning.commands.pair_judges import retrieval, zero_shot
from ssl_lightning.commands.study import Findings, Study
from ssl_lightning.commands.suite_judges import suite_judges
from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.features import fingerprint
from ssl_lightning.evaluation.fine_tuning import FineTuning
from ssl_lightning.evaluation.low_shot import LabelBudgets
from ssl_lightning.evaluation.protocol import PROTOCOLS
from ssl_lightning.evaluation.sgd_probe import SGDProbe
from ssl_lightning.evaluation.suite import SUITES
from ssl_lightning.figures.evaluation import CHANCE, POOLED, THIS_RUN, UNTRAINED, Figures, show
from ssl_lightning.runs.folder import write_json
from ssl_lightning.runs.provenance import provenance
from ssl_lightning.runs.stored_config import wandb_settings


def evaluate(config: DictConfig) -> float:
    """Writes `results.json` and figures to Hydra's output folder; returns the first figure, kNN accuracy with labels.

    Raises:
        InputError: no such run, encoder or checkpoint; a checkpoint of another architecture; a run that no
            judge applies to; a number of labels or draws that cannot be.
    """
    began = time.perf_counter()
    out = Path(HydraConfig.get().runtime.output_dir)
    study = evaluated(config, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    study.protocol = PROTOCOLS[config.protocol]
    data, console = study.data, study.console
    _tell_what_is_left_out(config.labels, data, console)
    protocol = _protocol(config, study)
    origin = {"provenance": provenance(OmegaConf.to_yaml(study.config), "32-true", 1, study.config.seed)}
    figures: Figures = {}
    for judge in track(_judges(config, study, out), "judges", console=console, transient=True):
        for name, found in judge(study):
            if "probe/linear_l2" in found:
                protocol["linear_l2"][name] = found.pop("probe/linear_l2")
            figures[name] = figures.get(name, {}) | found
            results = _results(figures, data.modality.raw_name) | origin | {"protocol": protocol}
            results["timing"] = {"wall_seconds": time.perf_counter() - began}
            write_json(out / "results.json", results)  # at once: a later judge may take long, and may be stopped
    if not figures:
        raise InputError(
            "an evaluation needs labels and the data of this run has none; give class folders by data.root, or suite=v1"
            f" for what needs none ({type(study.trained).__name__} neither paints nor reads text)"
        )
    show(console, figures, out, 0 if data.probe_train is None else len(data.test), study.title)
    _track(study, results, out)
    return next(iter(figures[THIS_RUN].values()))


def _judges(config: DictConfig, study: Study, out: Path) -> list[Callable[[Study], Findings]]:
    suite, few = SUITES.get(config.suite), LabelBudgets(list(config.labels), config.draws)
    budgets = LabelBudgets(few.counts, few.draws, suite.percents, suite.each) if suite else few
    judges = [
        partial(probes, budgets=budgets, raw=config.raw),
        *([partial(sgd_probe, recipe=SGDProbe(max_steps=config.finetune_steps))] if config.sgd_probe else ()),
        *(reconstruction, predictions, held_out_text, retrieval, zero_shot),
        *(suite_judges(study) if suite else ()),
    ]
    if config.finetune or suite:
        recipe, labels = FineTuning(max_steps=config.finetune_steps), few if config.finetune else LabelBudgets([], 1)
        judges.append(partial(fine_tuned, recipe=recipe, budgets=labels, out=out))
    return judges


def _protocol(config: DictConfig, study: Study) -> dict[str, Any]:
    """Under which all figures were measured, and on what."""
    suite, data = SUITES.get(config.suite), study.data
    sets = {} if data.probe_train is None else {"probe_train": data.probe_train, "test": data.test}
    return {
        "name": study.protocol.name,
        "hash": study.protocol.hash,
        "suite": suite and {"name": suite.name, "hash": suite.hash},
        "split": "test",
        "checkpoint": study.weights,
        "draws": config.draws,
        "data": {split: fingerprint(part) for split, part in sets.items()},
        "linear_l2": {},
    }


def _results(figures: Figures, raw: str) -> dict[str, Any]:
    """What `results.json` says of the figures found so far."""
    chance = figures.get(CHANCE)
    painted = [metric for metric in figures[THIS_RUN] if metric.startswith("test/") and metric not in (chance or {})]
    return {
        "metrics": figures[THIS_RUN],
        "controls": figures.get(UNTRAINED, {}),
        "raw": figures.get(raw),
        "chance": chance,
        "painted": {name: {of: found[name] for of, found in figures.items() if name in found} for name in painted},
        "pooled_otherwise": figures.get(POOLED),
    }


def _tell_what_is_left_out(counts: list[int], data: Any, console: Console) -> None:
    size = 0 if data.probe_train is None else len(data.probe_train)
    too_many = [count for count in counts if count >= size]
    if size and too_many:
        console.print(f"labels={too_many} left out: the training set has {size}, and they are measured as all")


def _track(study: Study, results: dict[str, Any], out: Path) -> None:
    """Adds the evaluation to the W&B run of the training, if it has one."""
    settings = wandb_settings(study.config)
    if study.run and settings:
        from ssl_lightning.loggers.wandb import log_evaluation

        figures = sorted((out / "figures").glob("*.png"))
        log_evaluation(study.run, settings, results, study.title, figures, out.name)
