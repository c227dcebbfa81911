"""A model card as the hub reads it, beside what a run is exported to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ssl_lightning.config.build import build_data, load_config
from ssl_lightning.figures.metrics import FIGURES, written
from ssl_lightning.runs.description import title
from ssl_lightning.runs.folder import RunFolder, write_atomically


def write_card(run: RunFolder, method: Any, told: Mapping[str, str], folder: Path) -> None:
    """Writes `README.md` to `folder`: what was exported, how it is opened and fed, and how good it was.

    `method`: its class. `told`: what is written and how it is opened, as the user is told.
    """
    config, results = load_config(run.config), run.read_results()
    modality = build_data(config).modality
    metrics, controls = results.get("metrics", {}), results.get("controls", {})
    rows = [
        f"| {label} | {written(name, metrics[name])} | {written(name, controls[name]) if name in controls else ''} |"
        for name, (label, _) in FIGURES.items()
        if name in metrics
    ]
    more = " The method computes more than this network does (its `forward`)." if method.declares("forward") else ""
    fed = {key: value for key, value in vars(modality).items() if isinstance(value, int | tuple)}
    network = json.dumps(OmegaConf.to_container(config.backbone, resolve=True), default=str)
    opened = "\n".join(what.replace(str(folder), ".") for key, what in told.items() if key != "wrote")
    parts = [
        "---\nlibrary_name: ssl-lightning\ntags: [self-supervised-learning, feature-extraction]\n---",
        f"# {title(run, config.seed)}\n\nThe network that {method.__name__} trained.{more}",
        f"```\n{opened}\n```",
        f"Inputs, {modality.name}: `{json.dumps(fed)}`. Network: `{network}`.",
        "\n".join(["| held out | this run | untrained encoder |", "|---|---|---|", *rows]) if rows else "",
        f"Commit `{results.get('provenance', {}).get('git_commit')}`.",
    ]
    write_atomically(folder / "README.md", "\n\n".join(filter(None, parts)) + "\n")
