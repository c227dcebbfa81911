"""The parts of this folder's page on sound and on image-text pairs."""

import statistics
from typing import Any

from stored import interval, load, percent, table


def fold_means(runs: list[dict[str, Any]], side: str) -> str:
    """kNN and linear accuracy, the mean of runs that leave one speaker out each."""
    found = (
        statistics.mean(100 * run["evaluate"][side][f"probe/{probe}_accuracy"] for run in runs)
        for probe in ("knn", "linear")
    )
    return " and ".join(f"{value:.1f}" for value in found)


def sound() -> str:
    """Spoken digits, a speaker left out at a time."""
    stored, waveform = load("hubert_mels_fsdd_cpu"), load("hubert_fsdd_cpu")["runs"]

    def cells(name: str, found: dict[str, Any]) -> list[str]:
        sides = (found["metrics"], found["controls"], found["raw"])
        return [name, *(interval(side, f"probe/{probe}_accuracy") for probe in ("knn", "linear") for side in sides)]

    rows = [cells(run["run"], run["evaluate"]) for run in stored["runs"]]
    rows += [cells(f"{run['run']}, second round", run["evaluate"]) for run in stored["second"]]
    rows.append(cells("none: the official split", stored["official"]["evaluate"]))
    head = ["speaker", *(f"{probe}, {what}" for probe in ("kNN", "linear") for what in ("HuBERT", "untrained", "MFCC"))]
    return f"""
## Sound

FSDD, 3,000 spoken digits of six speakers, of which one is held out: HuBERT on clusters of MFCC learns from the other
five and is frozen. kNN and linear accuracy on the sixth by protocol v1, in %, the mean of all six:

{
        table(
            ["", "HuBERT", "untrained encoder"],
            [
                [f"`{name}`", *(fold_means(runs, side) for side in ("metrics", "controls"))]
                for name, runs in {"hubert_fsdd_cpu": waveform, "hubert_mels_fsdd_cpu": stored["runs"]}.items()
            ],
        )
    }

MFCC, their means over the clip and its eighths, are at {
        fold_means(waveform, "raw")
    }. The first hears the waveform, as in the paper, for
five minutes on one core. The second hears log-mel bands for three, its embedding has the means of four parts of a clip,
and so has its untrained encoder, which is then a strong control. It was chosen on george and partly lucas, and by
speaker:

{table(head, rows)}

wav2vec 2.0 on the waveform, for theo, five minutes: 28.6 and 40.4.
"""


def pairs() -> str:
    """CLIP on drawings and on captions of CIFAR-10."""
    names = {
        "clip_emoji_cpu": "Twitter's drawings, a style never seen, among 1,911 captions",
        "clip_emoji_50_epochs": "the same, 50 epochs of batches of 256",
        "clip_emoji_unaugmented": "as that, without augmentation",
        "clip_emoji_unseen": "emoji never seen, of all vendors, among 637 captions",
    }
    ways = [f"test/{way}_recall_at_{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)]
    rows = []
    for name, what in names.items():
        found, chance = load(name)["evaluate"]["metrics"], load(name)["evaluate"]["chance"]
        rows.append([what, *(f"{100 * found[way]:.1f} ({100 * chance[way]:.2f})" for way in ways)])
    changes = [
        [row["what"], *(f"{100 * row['metrics'][way]:.1f}" for way in ways)]
        for row in load("clip_emoji_ablation")["rows"]
    ]
    cifar = load("clip_cifar10_captions")["evaluate"]
    zero, control = cifar["metrics"]["test/zero_shot_accuracy"], cifar["controls"]["test/zero_shot_accuracy"]
    head = ["emoji", "image to text R@1", "R@5", "R@10", "text to image R@1", "R@5", "R@10"]
    return f"""
## Image-text

CLIP, four to fourteen minutes on one core, in % beside chance in parentheses, which the untrained encoders do not
exceed.

{table(head, rows)}

What helps, with Google's drawings held out, so that nothing is chosen by Twitter's: one change each, but the last, of
one seed. A figure of 1,911 images is known to about two points.

{table(["change", *head[1:]], changes)}

Captions of CIFAR-10's classes (`data=cifar10_captions`, four epochs): zero-shot {percent(zero)} by prompts that were
never trained on; untrained encoders {percent(control)}.
"""
