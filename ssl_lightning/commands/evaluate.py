"""The evaluation of a run: trained encoder, untrained encoder, raw inputs, one protocol."""

import copy
import time
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from ssl_lightning.commands.evaluation_suite import LabelBudgets, encoder, fine_tuned, raw_inputs
from ssl_lightning.commands.reconstruction import reconstruction_errors
from ssl_lightning.config.build import build_method, load_config
from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.fine_tuning import FineTuning
from ssl_lightning.evaluation.protocol import PROTOCOLS
from ssl_lightning.figures.evaluation import POOLED, show
from ssl_lightning.runs.checkpoints import read_checkpoint
from ssl_lightning.runs.folder import find_run, write_json
from ssl_lightning.runs.load import load_data
from ssl_lightning.runs.provenance import provenance


def evaluate(config: DictConfig) -> float:
    """Writes `results.json` and `figures/evaluation.png` to Hydra's output folder; returns the kNN accuracy.

    Raises:
        InputError: no such run, checkpoint or protocol; a checkpoint of another architecture; data without labels;
            a number of labels or draws that cannot be.
    """
    _refuse_wrong_values(config)
    protocol, run, out = PROTOCOLS[config.protocol], find_run(config.run), Path(HydraConfig.get().runtime.output_dir)
    began = time.perf_counter()
    composed = load_config(run.config)
    for key, value in config.data.items():
        if value is not None:
            composed.data[key] = value
    data = load_data(run, composed)
    if data.probe_train is None:
        raise InputError(
            "an evaluation needs labels and the data of this run has none; give class folders by data.root"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    untrained = build_method(_without_pretraining(composed), data).to(device)
    trained = build_method(composed, data).to(device)
    checkpoint = run.checkpoint(str(config.checkpoint))
    try:
        trained.load_state_dict(read_checkpoint(checkpoint, device)["state_dict"])
    except (RuntimeError, KeyError) as error:
        raise InputError(f"{checkpoint} does not fit the model of {run.config}") from error

    console = Console()
    labels = LabelBudgets(protocol, data, _few_enough(config.labels, len(data.probe_train), console), config.draws)
    figures: dict[str, dict[str, float]] = {}
    for name, method in {"this run": trained, "untrained encoder": untrained}.items():
        with console.status(f"protocol {protocol.name}: {name}"):
            figures[name] = encoder(method, labels)
    other = _pooled_otherwise(trained)
    if other is not None:
        with console.status(f"protocol {protocol.name}: this run, its tokens pooled otherwise"):
            figures[POOLED] = encoder(other, labels)
    if config.raw:
        with console.status(f"protocol {protocol.name}: raw input"):
            figures |= raw_inputs(labels, device)
    penalties = {name: found.pop("probe/linear_l2") for name, found in figures.items() if "probe/linear_l2" in found}
    raw = [name for name in figures if name not in ("this run", "untrained encoder", POOLED)]
    painted = reconstruction_errors(trained, data, device, console)

    def save() -> None:
        write_json(
            out / "results.json",
            {
                "metrics": figures["this run"] | {name: errors["this run"] for name, errors in painted.items()},
                "controls": figures["untrained encoder"],
                "raw": figures[raw[0]] if raw else None,
                "painted": painted,
                "pooled_otherwise": figures.get(POOLED),
                "protocol": {
                    "name": protocol.name,
                    "hash": protocol.hash,
                    "split": "test",
                    "checkpoint": str(checkpoint),
                    "linear_l2": penalties,
                    "draws": config.draws,
                },
                "timing": {"wall_seconds": time.perf_counter() - began},
                "provenance": provenance(OmegaConf.to_yaml(composed), "32-true", 1, composed.seed),
            },
        )

    save()  # fine-tuning may take long, and may be stopped
    if config.finetune:
        recipe = FineTuning(max_steps=config.finetune_steps)
        for name, method in {"this run": trained, "untrained encoder": untrained}.items():
            figures[name] |= fine_tuned(method, labels, recipe, f"fine-tuning: {name}", console)
            save()
    show(console, figures, out, len(data.test))
    return figures["this run"]["probe/knn_accuracy"]


def _few_enough(counts: list[int], size: int, console: Console) -> list[int]:
    """Those of `counts` that a training set of `size` samples allows; a line says which it does not."""
    too_many = [count for count in counts if count >= size]
    if too_many:
        console.print(f"labels={too_many} left out: the training set has {size}, and they are measured as all")
    return [count for count in counts if count < size]


def _without_pretraining(config: DictConfig) -> DictConfig:
    """The config of a run that begins with random weights, also where it begins with those of another."""
    made = copy.deepcopy(config)
    for node, key in ((made.backbone, "pretrained"), (made.method, "teacher")):
        if node.get(key):
            node[key] = False if isinstance(node[key], bool) else None
    return made


def _pooled_otherwise(method: Any) -> Any:
    """A copy of the method whose transformer gives another of its embeddings; None if it has but one."""
    made = copy.deepcopy(method)
    transformers = [part for part in made.modules() if len(getattr(part, "pools", ())) > 1]
    for part in transformers:
        part.pool = next(pool for pool in part.pools if pool != part.pool)
    return made if transformers else None


def _refuse_wrong_values(config: DictConfig) -> None:
    if config.protocol not in PROTOCOLS:
        raise InputError(f"protocol={config.protocol} is unknown; known: {', '.join(PROTOCOLS)}")
    counts: Any = config.labels
    if not OmegaConf.is_list(counts) or not all(type(count) is int and count > 1 for count in counts):
        raise InputError(f"labels={counts} is not a list of whole numbers from 2, such as [100,1000]")
    for key in ("draws", "finetune_steps"):
        if type(config[key]) is not int or config[key] < 1:
            raise InputError(f"{key}={config[key]} is not a whole number from 1")
    for key in ("raw", "finetune"):
        if type(config[key]) is not bool:
            raise InputError(f"{key}={config[key]} is neither true nor false")
