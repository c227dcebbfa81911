"""The page's part on joint embedding, from results/*.json; make_readme.py writes it."""

import statistics
from typing import Any

from stored import interval, load, table

KNN, LINEAR = "probe/knn_accuracy", "probe/linear_accuracy"


def joint() -> str:
    """The methods that lightly has, too, trained side by side: mean and standard deviation over seeds."""
    compared = load("joint_vs_lightly")
    by_method: dict[str, list[dict[str, Any]]] = {}
    for row in compared["rows"]:
        by_method.setdefault(row["method"], []).append(row)
    rows = []
    for method, runs in by_method.items():
        sides = [[run[side] for run in runs] for side in ("ours", "lightly")]
        rates = [run["ours"]["images_per_cpu_second"] / run["lightly"]["images_per_cpu_second"] for run in runs]
        rows.append(
            [
                f"`{method}`",
                *(spread(side, metric) for metric in (KNN, LINEAR) for side in sides),
                *(f"{statistics.mean(run['effective_rank'] for run in side):.0f}" for side in sides),
                f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})",
                str(len(runs)),
            ]
        )
    untrained = list({run["seed"]: run["untrained"] for run in compared["rows"]}.values())
    rank = f"{statistics.mean(run['effective_rank'] for run in untrained):.0f}"
    rows.append(
        ["untrained", spread(untrained, KNN), "", spread(untrained, LINEAR), "", rank, "", "", str(len(untrained))]
    )
    head = ["`method=`", "kNN", "lightly", "linear", "lightly", "effective rank", "lightly", "images/s, ratio", "seeds"]
    return f"""### Joint embedding, side by side with lightly

The same conv net from the same initial weights on the same views of CIFAR-10, for {compared["steps"]} steps of
{compared["batch_size"]} images (some two minutes on one core) with the same optimizer; lightly's side is its own heads,
teacher and loss (`joint_vs_lightly.py`). Accuracy in % on the test set with the labels of every fifth training
image, mean and standard deviation over seeds; the effective rank is at most 128. The ratio of images per second of CPU
time is ours / lightly's with its own data set and transform, median over seeds (lowest to highest), one thread, on a
machine shared with other work. All five are above the untrained encoder, and none collapses. So short a training tells
a wrong implementation from a right one; it does not rank the methods.

{table(head, rows)}
"""


def spread(runs: list[dict[str, float]], metric: str) -> str:
    """The mean over seeds in points, and the standard deviation where there are several."""
    values = [100 * run[metric] for run in runs]
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def one_network() -> str:
    """Every method that takes the conv net, trained by the same line."""
    stored = load("joint_embedding_cifar10")
    rows = []
    for name, run in sorted(stored["runs"].items(), key=lambda pair: -pair[1]["evaluate"]["metrics"][KNN]):
        found, health = run["evaluate"]["metrics"], run["pretrain"]["metrics"]
        rank = f"{health['probe/effective_rank']:.0f}"
        rows.append([f"`{name}`", interval(found, KNN), interval(found, LINEAR), rank])
    any_run = next(iter(stored["runs"].values()))
    control, rank = any_run["evaluate"]["controls"], any_run["pretrain"]["controls"]["probe/effective_rank"]
    rows.append(["untrained", interval(control, KNN), interval(control, LINEAR), f"{rank:.0f}"])
    return f"""### Joint embedding, each method by its default settings

The conv net of 16 channels for four epochs of CIFAR-10, some three to eight minutes on one core, one seed:

    {stored["command"][0]}

Each method brings its own learning rate, batch and crops, so the table says what to expect of the defaults, not which
method is best. Accuracy in % on the test set by protocol `v1`. `supcon` reads the labels, as a ceiling for the others.

{table(["`method=`", "kNN", "linear", "effective rank"], rows)}
"""
