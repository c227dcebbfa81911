"""The evaluation of a run: trained encoder, untrained encoder, raw inputs, one protocol."""

import time
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.protocol import PROTOCOLS
from ssl_lightning.runs.build import build_data, build_method, load_config
from ssl_lightning.runs.checkpoints import read_checkpoint
from ssl_lightning.runs.features import raw_features, split_features, split_groups
from ssl_lightning.runs.folder import find_run, write_json
from ssl_lightning.runs.provenance import provenance
from ssl_lightning.runs.reconstruction import painting_errors

_RAW_NUMBERS = 5 * 10**8
"""Training sets of more numbers than this (4 GB as the linear probe solves them) have no control on raw inputs."""


def evaluate(config: DictConfig) -> float:
    """Writes `results.json` and `figures/evaluation.png` to Hydra's output folder; returns the kNN accuracy.

    Raises:
        InputError: no such run, checkpoint or protocol; a checkpoint of another architecture; data without labels.
    """
    if config.protocol not in PROTOCOLS:
        raise InputError(f"protocol={config.protocol} is unknown; known: {', '.join(PROTOCOLS)}")
    protocol, run, out = PROTOCOLS[config.protocol], find_run(config.run), Path(HydraConfig.get().runtime.output_dir)
    began = time.perf_counter()
    composed = load_config(run.config)
    for key, value in config.data.items():
        if value is not None:
            composed.data[key] = value
    data = build_data(composed)
    data.restore(run.path)
    data.prepare_data()
    data.setup()
    if data.bank is None:
        raise InputError(
            "an evaluation needs labels and the data of this run has none; give class folders by data.root"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    untrained = build_method(composed, data).to(device)
    trained = build_method(composed, data).to(device)
    checkpoint = run.checkpoint(str(config.checkpoint))
    try:
        trained.load_state_dict(read_checkpoint(checkpoint, device)["state_dict"])
    except (RuntimeError, KeyError) as error:
        raise InputError(f"{checkpoint} does not fit the model of {run.config}") from error
    console = Console()
    figures: dict[str, dict[str, float]] = {}
    penalties: dict[str, float] = {}
    encoders = {
        "this run": lambda split: split_features(trained, data, split),
        "untrained encoder": lambda split: split_features(untrained, data, split),
    }
    numbers = getattr(data, "frames", 1) * data.channels * data.image_size**2
    if config.raw and len(data.bank) * numbers <= _RAW_NUMBERS:
        encoders["raw input"] = lambda split: raw_features(data, split)
    for name, encode in encoders.items():
        with console.status(f"protocol {protocol.name}: {name}"):
            bank, test, groups = encode("bank"), encode("test"), split_groups(data, "test")
            figures[name] = protocol.run(bank, test, data.num_classes, device, groups=groups)
        penalties[name] = figures[name].pop("probe/linear_l2")
    painted = painting_errors(trained, data, device, console)
    write_json(
        out / "results.json",
        {
            "metrics": figures["this run"] | {name: errors["this run"] for name, errors in painted.items()},
            "controls": figures["untrained encoder"],
            "raw": figures.get("raw input"),
            "painted": painted,
            "protocol": {
                "name": protocol.name,
                "hash": protocol.hash,
                "split": "test",
                "checkpoint": str(checkpoint),
                "linear_l2": penalties,
            },
            "timing": {"wall_seconds": time.perf_counter() - began},
            "provenance": provenance(OmegaConf.to_yaml(composed), "32-true", 1, composed.seed),
        },
    )
    _show(console, figures, out, len(data.test))
    return figures["this run"]["probe/knn_accuracy"]


def _show(console: Console, figures: dict[str, dict[str, float]], out: Path, samples: int) -> None:
    accuracies = [name for name in figures["this run"] if name.endswith("_accuracy")]
    table = Table(title=f"accuracy on {samples:,} test samples, 95 % interval", title_justify="left")
    table.add_column("")
    for name in accuracies:
        table.add_column(name.removeprefix("probe/").removesuffix("_accuracy"), justify="right")
    for source, measured in figures.items():
        table.add_row(
            source, *(f"{measured[n]:.2%}  {_low(measured, n):.2%} to {_high(measured, n):.2%}" for n in accuracies)
        )
    console.print(table)
    path = out / "figures" / "evaluation.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    _bars(figures, accuracies).savefig(path, dpi=120, bbox_inches="tight")
    console.print(f"[bold]wrote[/] {out / 'results.json'}, {path}", highlight=False, soft_wrap=True)


def _low(measured: dict[str, float], name: str) -> float:
    return measured[f"{name}_low"]


def _high(measured: dict[str, float], name: str) -> float:
    return measured[f"{name}_high"]


def _bars(figures: dict[str, dict[str, float]], accuracies: list[str]) -> Figure:
    figure = Figure(figsize=(2.6 * len(accuracies) + 1, 3))
    for axes, name in zip(figure.subplots(1, len(accuracies), squeeze=False).flat, accuracies, strict=True):
        values = [measured[name] for measured in figures.values()]
        ranges: Any = [
            [m[name] - _low(m, name) for m in figures.values()],
            [_high(m, name) - m[name] for m in figures.values()],
        ]
        bars = axes.bar(list(figures), values, yerr=ranges, color=["tab:blue", "tab:gray", "lightgray"], capsize=3)
        axes.bar_label(bars, [f"{value:.1%}" for value in values], fontsize=7, padding=3)
        axes.set(title=name, ylim=(0, 1.08))
        axes.tick_params(axis="x", labelrotation=20, labelsize=7)
    return figure
