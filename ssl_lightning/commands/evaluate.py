"""The evaluation of a run: whatever judges apply to it, each with its controls, under one protocol."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from ssl_lightning.commands.evaluation_suite import (
    FineTuned,
    HeldOutText,
    Probes,
    Reconstruction,
    predictions,
)
from ssl_lightning.commands.pair_judges import Retrieval, ZeroShot
from ssl_lightning.config.build import build_method, load_config
from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.fine_tuning import FineTuning
from ssl_lightning.evaluation.low_shot import LabelBudgets
from ssl_lightning.evaluation.protocol import PROTOCOLS
from ssl_lightning.figures.evaluation import POOLED, THIS_RUN, UNTRAINED, Figures, by_metric, show
from ssl_lightning.runs.folder import RunFolder, find_run, write_json
from ssl_lightning.runs.load import load_data, load_weights
from ssl_lightning.runs.provenance import provenance


def evaluate(config: DictConfig) -> float:
    """Writes `results.json` and figures to Hydra's output folder; returns the first figure, kNN accuracy with labels.

    Raises:
        InputError: no such run, checkpoint or protocol; a checkpoint of another architecture; a run that no judge
            applies to; a number of labels or draws that cannot be.
    """
    if config.protocol not in PROTOCOLS:
        raise InputError(f"protocol={config.protocol} is unknown; known: {', '.join(PROTOCOLS)}")
    began = time.perf_counter()
    run, out, console = find_run(config.run), Path(HydraConfig.get().runtime.output_dir), Console()
    composed = _composed(run, config)
    data = load_data(run, composed)
    _tell_what_is_left_out(config.labels, data, console)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    untrained = build_method(composed, data).to(device)
    checkpoint = run.checkpoint(str(config.checkpoint))
    trained = build_method(composed, data).to(device)
    load_weights(trained, checkpoint, run, device)

    origin = {"provenance": provenance(OmegaConf.to_yaml(composed), "32-true", 1, composed.seed)}
    probes, *others = _judges(config, untrained, console)
    figures: Figures = {}
    for judge in (probes, *others):
        for name, found in judge(trained, data):
            figures[name] = figures.get(name, {}) | found
            results = _results(figures, probes, checkpoint) | origin
            results["timing"] = {"wall_seconds": time.perf_counter() - began}
            write_json(out / "results.json", results)  # at once: a later judge may take long, and may be stopped
    if not figures:
        raise InputError(
            "an evaluation needs labels and the data of this run has none; give class folders by data.root"
            f" ({type(trained).__name__} neither paints nor reads text, which could do without)"
        )
    show(console, figures, out, 0 if data.probe_train is None else len(data.test))
    if tracked := (composed.get("logger") or {}).get("wandb"):
        from ssl_lightning.loggers.wandb import log_evaluation

        settings: Any = OmegaConf.to_container(tracked, resolve=False)
        log_evaluation(run, settings, results, sorted((out / "figures").glob("*.png")))
    return next(iter(figures[THIS_RUN].values()))


def _judges(config: DictConfig, untrained: Any, console: Console) -> list[Any]:
    protocol, budgets = PROTOCOLS[config.protocol], LabelBudgets(list(config.labels), config.draws)
    judges: list[Callable[..., Any]] = [
        Probes(protocol, budgets, untrained, config.raw, console),
        Reconstruction(console),
        predictions,
        HeldOutText(untrained, console),
        Retrieval(untrained, console),
        ZeroShot(protocol, untrained, console),
    ]
    if config.finetune:
        recipe = FineTuning(max_steps=config.finetune_steps)
        judges.append(FineTuned(recipe, protocol, budgets, untrained, console))
    return judges


def _composed(run: RunFolder, config: DictConfig) -> DictConfig:
    """The config of the run, with the data given on the command line."""
    composed = load_config(run.config)
    for key, value in config.data.items():
        if value is not None:
            composed.data[key] = value
    return composed


def _results(figures: Figures, probes: Probes, checkpoint: Path) -> dict[str, Any]:
    """What `results.json` says of the figures found so far."""
    painted = [metric for metric in figures[THIS_RUN] if metric.startswith("test/")]
    return {
        "metrics": figures[THIS_RUN],
        "controls": figures.get(UNTRAINED, {}),
        "raw": figures.get(probes.raw_name),
        "painted": by_metric(figures, painted),
        "pooled_otherwise": figures.get(POOLED),
        "protocol": {
            "name": probes.protocol.name,
            "hash": probes.protocol.hash,
            "split": "test",
            "checkpoint": str(checkpoint),
            "linear_l2": probes.penalties,
            "draws": probes.budgets.draws,
        },
    }


def _tell_what_is_left_out(counts: list[int], data: Any, console: Console) -> None:
    size = 0 if data.probe_train is None else len(data.probe_train)
    too_many = [count for count in counts if count >= size]
    if size and too_many:
        console.print(f"labels={too_many} left out: the training set has {size}, and they are measured as all")
