"""The evaluation of an encoder: whatever judges apply to it, each with its controls, under one protocol."""

import time
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ssl_lightning.commands.evaluated import Evaluated, evaluated
from ssl_lightning.commands.evaluation_suite import (
    FineTuned,
    HeldOutText,
    Probes,
    Reconstruction,
    pooled_otherwise,
    predictions,
)
from ssl_lightning.commands.pair_judges import Retrieval, ZeroShot
from ssl_lightning.commands.suite_judges import SuiteJudges
from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.features import fingerprint
from ssl_lightning.evaluation.fine_tuning import FineTuning
from ssl_lightning.evaluation.low_shot import LabelBudgets
from ssl_lightning.evaluation.protocol import PROTOCOLS
from ssl_lightning.evaluation.suite import SUITES
from ssl_lightning.figures.evaluation import CHANCE, POOLED, THIS_RUN, UNTRAINED, Figures, by_metric, show
from ssl_lightning.runs.folder import write_json
from ssl_lightning.runs.frozen_features import FrozenFeatures
from ssl_lightning.runs.provenance import provenance


def evaluate(config: DictConfig) -> float:
    """Writes `results.json` and figures to Hydra's output folder; returns the first figure, kNN accuracy with labels.

    Raises:
        InputError: no such run, encoder, checkpoint or protocol; a checkpoint of another architecture; a run that no
            judge applies to; a number of labels or draws that cannot be.
    """
    if config.protocol not in PROTOCOLS:
        raise InputError(f"protocol={config.protocol} is unknown; known: {', '.join(PROTOCOLS)}")
    began = time.perf_counter()
    out, console = Path(HydraConfig.get().runtime.output_dir), Console()
    subject = evaluated(config, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    data = subject.data
    _tell_what_is_left_out(config.labels, data, console)
    origin = {"provenance": provenance(OmegaConf.to_yaml(subject.config), "32-true", 1, subject.config.seed)}
    probes, *others = _judges(config, subject, out, console)
    protocol = _protocol(config, subject)
    figures: Figures = {}
    for judge in _with_progress([probes, *others], console):
        for name, found in judge(subject.trained, data):
            figures[name] = figures.get(name, {}) | found
            results = _results(figures, probes.raw_name) | origin
            results["protocol"] = protocol | {"linear_l2": probes.penalties}
            results["timing"] = {"wall_seconds": time.perf_counter() - began}
            write_json(out / "results.json", results)  # at once: a later judge may take long, and may be stopped
    if not figures:
        raise InputError(
            "an evaluation needs labels and the data of this run has none; give class folders by data.root"
            f" ({type(subject.trained).__name__} neither paints nor reads text, which could do without)"
        )
    show(console, figures, out, 0 if data.probe_train is None else len(data.test), subject.title)
    if subject.run and (tracked := (subject.config.get("logger") or {}).get("wandb")):
        from ssl_lightning.loggers.wandb import log_evaluation

        settings: Any = OmegaConf.to_container(tracked, resolve=False)
        log_evaluation(subject.run, settings, results, sorted((out / "figures").glob("*.png")))
    return next(iter(figures[THIS_RUN].values()))


def _with_progress(judges: list[Any], console: Console) -> Any:
    columns = TextColumn("judges"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(judges)


def _judges(config: DictConfig, subject: Evaluated, out: Path, console: Console) -> list[Any]:
    """The probes first."""
    protocol, suite = PROTOCOLS[config.protocol], SUITES.get(config.suite)
    encoders = {THIS_RUN: subject.trained, UNTRAINED: subject.untrained, POOLED: pooled_otherwise(subject.trained)}
    features = FrozenFeatures(
        {name: encoder for name, encoder in encoders.items() if encoder is not None}, subject.data
    )
    few = LabelBudgets(list(config.labels), config.draws)
    budgets = LabelBudgets(few.counts, few.draws, suite.percents, suite.each) if suite else few
    judges = [
        Probes(protocol, budgets, features, config.raw, console),
        Reconstruction(console),
        predictions,
        HeldOutText(subject.untrained, console),
        Retrieval(subject.untrained, console),
        ZeroShot(protocol, subject.untrained, console),
        *(SuiteJudges(suite, protocol, features, console) if suite else ()),
    ]
    if config.finetune or suite:
        recipe, labels = FineTuning(max_steps=config.finetune_steps), few if config.finetune else LabelBudgets([], 1)
        judges.append(FineTuned(recipe, protocol, labels, subject.untrained, console, out))
    return judges


def _protocol(config: DictConfig, subject: Evaluated) -> dict[str, Any]:
    """Under which all figures were measured, and on what."""
    protocol, suite, data = PROTOCOLS[config.protocol], SUITES.get(config.suite), subject.data
    sets = {} if data.probe_train is None else {"probe_train": data.probe_train, "test": data.test}
    return {
        "name": protocol.name,
        "hash": protocol.hash,
        "suite": suite and {"name": suite.name, "hash": suite.hash},
        "split": "test",
        "checkpoint": subject.weights,
        "draws": config.draws,
        "data": {split: fingerprint(part) for split, part in sets.items()},
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
        "painted": by_metric(figures, painted),
        "pooled_otherwise": figures.get(POOLED),
    }


def _tell_what_is_left_out(counts: list[int], data: Any, console: Console) -> None:
    size = 0 if data.probe_train is None else len(data.probe_train)
    too_many = [count for count in counts if count >= size]
    if size and too_many:
        console.print(f"labels={too_many} left out: the training set has {size}, and they are measured as all")
