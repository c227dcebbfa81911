"""How well do figures that need no labels order runs as the linear probe does? A sweep of short runs on digits.

    python tests/benchmarks/label_free_selection.py --json tests/benchmarks/results/label_free_selection.json \
        --picture tests/benchmarks/figures/label_free_selection.png

Six runs of SimCLR (temperature by learning rate), as one tunes a method, and six methods as they come. All figures are
of the frozen embedding of the same held-out samples.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parents[1]))

from runs.harness import train

from ssl_lightning.config.build import load_config
from ssl_lightning.evaluation.features import spread
from ssl_lightning.evaluation.protocol import PROTOCOLS
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.frozen_features import label_free_figures, part_features
from ssl_lightning.runs.load import load_data, load_method

TUNED = {
    f"SimCLR, temperature {temperature}, lr {rate}": (f"method.temperature={temperature}", f"optimizer.lr={rate}")
    for temperature in (0.05, 0.2, 1.0)
    for rate in (3e-4, 5e-3)
}
METHODS = {name: (f"method={name}",) for name in ("byol", "moco", "simsiam", "barlow_twins", "vicreg", "nnclr")}
COMMON = (
    *("trainer=cpu", "trainer.max_epochs=6", "backbone.width=8", "backbone.stages=3", "callbacks=minimal"),
    *("data.source.copies=2", "data.val_size=600", "data.batch_size=128"),
)
BETTER = {"effective rank": 1, "uniformity": -1, "alignment": -1, "LiDAR": 1, "|alpha-ReQ - 1|": -1}
"""Which sign of a figure is said to be better."""
VIEWS, SAMPLES = 8, 300


def alpha_req(h: torch.Tensor) -> torch.Tensor:
    """The alpha of (B, D): the eigenvalues of its covariance decay as rank ** -alpha, by least squares in logarithms.

    Near 1 is best: lower is noise in many directions, higher are few directions (alpha-ReQ, Agrawal et al. 2022,
    Sec. 2.2, https://openreview.net/forum?id=ii9X4vtZGTZ). Eigenvalues that are 0 in float32 do not count; NaN if fewer
    than two are left.
    """
    x = h.detach().double()
    values = torch.linalg.svdvals(x - x.mean(dim=0)).square()
    values = values[values > values[:1] * 1e-12]
    rank = torch.arange(1, len(values) + 1, device=x.device).double().log()
    rank = rank - rank.mean()
    return -(rank @ values.log()) / rank.square().sum()


def lidar(views: torch.Tensor, delta: float = 1e-4) -> torch.Tensor:
    """LiDAR of (N, V, D), V views of each of N samples: how many directions tell samples apart, and not views.

    The exponential of the entropy of the normalized eigenvalues of the between-sample covariance, whitened by that
    within samples plus `delta` (Thilak et al. 2023, Eq. 1 to 5, https://arxiv.org/abs/2312.04000): in
    [1, min(N - 1, D)].
    """
    x = views.detach().double()
    means = x.mean(dim=1)
    inside = (x - means[:, None]).flatten(0, 1)
    within = inside.T @ inside / len(inside) + delta * torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
    values, directions = torch.linalg.eigh(within)
    whitened = (means - means.mean(dim=0)) @ directions / values.sqrt()
    p = torch.linalg.svdvals(whitened).square()
    return torch.special.entr(p / p.sum().clamp(min=torch.finfo(p.dtype).tiny)).sum().exp()


def measured(run: RunFolder) -> dict[str, float]:
    method, _ = load_method(run)
    data = load_data(run, load_config(run.config))
    probe_train, val = (part_features(method, data, part) for part in (data.probe_train, data.val))
    probes = PROTOCOLS["v1"].run(probe_train, val, data.num_classes, groups=data.groups("val"))
    free = label_free_figures(method, data)
    part = data.val.__getitems__(spread(len(data.val), SAMPLES))
    with torch.no_grad():
        views = torch.stack([method(data.augment(part, seed)["views"][0]) for seed in range(VIEWS)], dim=1)
    return {
        "linear accuracy": probes["probe/linear_accuracy"],
        "effective rank": free["probe/effective_rank"],
        "uniformity": free["probe/uniformity"],
        "alignment": free["probe/alignment"],
        "LiDAR": float(lidar(views)),
        "|alpha-ReQ - 1|": abs(float(alpha_req(val["features"])) - 1),
    }


def correlations(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    """Spearman's, of each figure with the linear accuracy; the sign is such that 1 is a perfect choice."""
    accuracy = [row["linear accuracy"] for row in rows.values()]
    return {
        name: sign * float(spearmanr([row[name] for row in rows.values()], accuracy).statistic)
        for name, sign in BETTER.items()
    }


def picture(runs: dict[str, dict[str, float]], found: dict[str, dict[str, float]]) -> Figure:
    figure = Figure(figsize=(14, 3.4), layout="constrained")
    figure.suptitle("digits, 6 epochs: what needs no labels against the linear probe (Spearman's rank correlation)")
    for axes, name in zip(figure.subplots(1, len(BETTER), sharey=True), BETTER, strict=True):
        for group, marker, color in ((TUNED, "o", "#0072B2"), (METHODS, "s", "#E69F00")):
            x, y = ([runs[run][key] for run in group] for key in (name, "linear accuracy"))
            axes.scatter(x, [100 * value for value in y], color=color, marker=marker, s=24,
                         label="SimCLR, tuned" if group is TUNED else "six methods")  # fmt: skip
        axes.set(xlabel=f"{name} ({'higher' if BETTER[name] > 0 else 'lower'} is said to be better)")
        axes.set_title(", ".join(f"{group} {values[name]:+.2f}" for group, values in found.items()), fontsize=8)
        axes.xaxis.label.set_fontsize(8)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("linear accuracy in %")
    figure.axes[0].legend(fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--picture", type=Path, help="draw them into this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs: dict[str, Any] = {}
    for name, options in {**TUNED, **METHODS}.items():
        with tempfile.TemporaryDirectory() as folder:
            runs[name] = measured(train(Path(folder) / "run", *COMMON, *options))
        print(name, runs[name], flush=True)
    groups = {"tuned": {name: runs[name] for name in TUNED}, "methods": {name: runs[name] for name in METHODS}}
    found = {group: correlations(rows) for group, rows in {**groups, "all": runs}.items()}
    print(json.dumps(found, indent=1))
    if args.json:
        args.json.write_text(json.dumps({"spearman": found, "runs": runs, "overrides": COMMON}, indent=1) + "\n")
    if args.picture:
        picture(runs, found).savefig(args.picture, dpi=110)


if __name__ == "__main__":
    main()
