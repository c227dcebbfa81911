"""The parts of this folder's page on sound and on image-text pairs."""

import statistics
from typing import Any

from stored import interval, load, percent, table


def accuracies(folds: list[dict[str, float]]) -> list[str]:
    """kNN and linear accuracy, the mean of folds that leave one speaker out each."""
    return [percent(statistics.mean(fold[f"probe/{probe}_accuracy"] for fold in folds)) for probe in ("knn", "linear")]


def sound() -> str:
    """Spoken digits, a speaker left out at a time."""
    waveform, first, second = (load(f"hubert_{name}fsdd_cpu")["runs"] for name in ("", "mels_", "mels_second_"))
    codes, speed = load("soft_codes")["folds"], load("sound_speed")["runs"]

    def folds(runs: list[dict[str, Any]], side: str) -> list[dict[str, float]]:
        return [run["evaluate"][side] for run in runs]

    rounds = {"hubert_fsdd_cpu": waveform, "hubert_mels_fsdd_cpu": first, "hubert_mels_second_fsdd_cpu": second}
    rows = [
        [f"`{name}`", *accuracies(folds(runs, "metrics")), *accuracies(folds(runs, "controls"))]
        for name, runs in rounds.items()
    ]
    controls = {"codes of MFCC, no network": list(codes.values()), "means of MFCC": folds(first, "raw")}
    rows += [[name, *accuracies(found), "", ""] for name, found in controls.items()]
    by_speaker = []
    for one, two in zip(first, second, strict=True):
        sides = (one["evaluate"]["metrics"], two["evaluate"]["metrics"], one["evaluate"]["controls"], codes[one["run"]])
        found = (interval(side, f"probe/{probe}_accuracy") for probe in ("knn", "linear") for side in sides)
        by_speaker.append([one["run"], *found])
    columns = (f"{probe}, {what}" for probe in ("kNN", "linear") for what in ("first", "second", "untrained", "codes"))
    rates = " and ".join(f"{run['end_to_end_over_compute_cpu']:.2f} ({run['run']})" for run in speed)
    return f"""
## Sound

FSDD, 3,000 spoken digits of six speakers, of which one is held out: HuBERT learns from the other five and is frozen.
Accuracy on the sixth by protocol v1, the mean of all six:

{table(["", "kNN", "linear", "untrained, kNN", "linear"], rows)}

The first hears the waveform, as in the paper. The others hear log-mel bands; their embedding, and that of their
untrained encoder, has the means of four parts of a clip. The second round clusters a layer of the encoder of the first:
george gains ten points of linear accuracy, the mean hardly moves, and kNN loses.

Codes are the soft assignments of MFCC to the clusters of the first round, pooled alike (`soft_codes.py`): a
control that takes no training. All was chosen on george and lucas. By speaker, in %:

{table(["speaker", *columns], by_speaker)}

The rate of training by that of its compute alone, by CPU time on one thread, which also loads and augments the clips
(`ssl-bench`): {rates}.
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
    memory = {(row["batch_size"], row["chunk_size"]): row["mib"] for row in load("clip_memory")["rows"]}
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

A step of 1,024 pairs in chunks of 256 (`method.chunk_size=256`) takes {memory[1024, 256]} MiB beside the networks. 256
pairs at once take {memory[256, None]}, 1,024 at once {memory[1024, None]} (`clip_memory.py`).
"""
