"""Writes this folder's README.md and the project's table of methods: python tests/benchmarks/make_readme.py

Every number is read from results/*.json; only sentences stand here. A test compares both with the results.
"""

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from joint_embedding import joint, one_network
from methods_table import with_methods
from sound_and_pairs import pairs, sound
from stored import RESULTS, interval, load, percent, table

HERE = Path(__file__).parent
CONTRASTIVE = ("simclr", "moco", "byol", "dino", "clip")
TASKS = {
    "val/accuracy": "{:.1%} right",
    "val/loss": "loss {:.3f}",
}
CHANCE = {"rotation": "25 %", "jigsaw": "1.6 %", "context_prediction": "12.5 %"}


def minutes(result: dict[str, Any]) -> str:
    cores = result["pretrain"]["provenance"]["hardware"].split(", ")[1].split()[0]
    spent = result.get("minutes_alone") or result["pretrain"]["timing"]["wall_seconds"] / 60
    return f"{spent:.0f} min on {cores} core{'s' if cores != '1' else ''}"


def task(name: str, result: dict[str, Any]) -> str:
    """What a method says of its own pretext task: squared error on the test set, else on held-out training images."""
    for errors in (result["evaluate"].get("painted") or {}).values():
        return ", ".join(f"{of if of != 'this run' else 'error'} {error:.4f}" for of, error in errors.items())
    if name.startswith(CONTRASTIVE):
        return ""
    metrics = result["pretrain"]["metrics"]
    metric = next(metric for metric in TASKS if metric in metrics)
    chance = next((f" (chance {value})" for method, value in CHANCE.items() if name.startswith(method)), "")
    return TASKS[metric].format(metrics[metric]) + chance


def image_rows(names: Iterable[str]) -> list[list[str]]:
    rows = []
    for name in names:
        result = load(name)
        found, control = result["evaluate"]["metrics"], result["evaluate"]["controls"]
        row = [f"`{name}`"]
        for metric in ("probe/knn_accuracy", "probe/linear_accuracy"):
            row += [interval(found, metric), f"{100 * control[metric]:.1f}"]
        rows.append([*row, task(name, result), minutes(result), result["date"]])
    return rows


def images() -> str:
    names = sorted(path.stem for path in RESULTS.glob("*_cpu.json") if "evaluate" in json.loads(path.read_text()))
    contrastive = [name for name in names if name.startswith(CONTRASTIVE)]
    head = ["`experiment=`", "kNN", "untrained", "linear", "untrained", "own task, held out", "training", "date"]
    return f"""## Images and video

Accuracy in % on the test set by `ssl-evaluate run=RUN`, protocol `v1`, with half the width of the 95 % bootstrap interval, and
the same of the untrained encoder. One run and one seed (0) a row, on an AMD EPYC or an Intel Xeon without a GPU, shared with other
work: minutes are upper bounds. CIFAR-10 is its 60,000 images as JPEG files of quality 75, so its figures compare only with each
other. Errors are squared errors of pixels in [0, 1].

{table(head, image_rows([*contrastive, *(name for name in names if name not in contrastive)]))}

Peers publish for CIFAR-10 what larger recipes reach on GPUs: kNN 90.3 % for SimCLR with a ResNet-18 after 500 epochs
(dkobak/simclr-cifar10); 87.9, 89.9 and 91.0 % for SimCLR, MoCo (8,192 keys) and BYOL, each the best of 800 epochs on the test
set, with k=200 (lightly). Our recipes of that size (`simclr_cifar10`, `moco_cifar10`, `byol_cifar10`), whose headers say how
they differ, have not run yet, for lack of a GPU.
"""


def patches() -> str:
    rows = []
    for name in ("context_prediction_cifar10", "jigsaw_cifar10", "jigsaw_mnist"):
        result = load(f"patch_features_{name}")
        found, control = result["features"]["this run"], result["features"]["untrained encoder"]
        row = [f"`{result['of']}`"]
        for metric in ("probe/knn_accuracy", "probe/linear_accuracy"):
            row += [interval(found, metric), f"{100 * control[metric]:.1f}"]
        rows.append(row)
    place = load("moving_features")["r2_of_the_place_three_frames_later"]
    return f"""### Rows that do not beat their control, and why

- `jigsaw` and `context_prediction` see patches of 7 or 8 pixels in training, and the whole image only when probed. Features of
  nine such patches side by side do gain (`patch_features.py`):

{table(["", "kNN", "untrained", "linear", "untrained"], rows)}

- `next_frame_mnist_cpu` is probed on which two digits move (55 pairs), which it need not know to move them. A linear map of its
  features explains {percent(place["this run"])} of the variance of the digits' places three frames later, of the untrained
  encoder's features {percent(place["untrained encoder"])} (`moving_features.py`).
- For `vae_cifar10_cpu` and `autoencoder_cifar10_cpu`, kNN improves over random features and linear probing does not. Their
  errors on CIFAR-10 stay above those of PCA with as many components, and their reconstructions are blurred: photographs spread
  over far more directions than digits.
"""


def mae() -> str:
    tuned, visible = load("mae_cifar10_cpu")["fine_tuned"], load("mae_visible")
    labels = {"_500": "500 (1 %)", "_5000": "5,000 (10 %)", "": "45,000"}
    rows = [
        [shown, *(percent(tuned[side][f"finetune/accuracy{suffix}"]) for side in ("metrics", "controls"))]
        for suffix, shown in labels.items()
    ]
    times, memory = visible["times_as_fast"], visible["megabytes"]
    return f"""### MAE

`mae_cifar10_cpu` with all weights fine-tuned (`{tuned["command"]}`), equal steps for both columns, no augmentation, each
learning rate chosen on a fifth of the labels. 1,000 steps of 32 images are 0.7 epochs of all labels: neither column of the
last row is trained to its end:

{table(["labels", "from MAE", "from scratch"], rows)}

The encoder sees visible patches only: at 75 % masking a step is {times["median"]:.2f} times as fast as without masking
({times["lowest"]:.2f} to {times["highest"]:.2f}) and takes {memory["75 % hidden"]:.0f} MB instead of
{memory["nothing hidden"]:.0f} (`mae_visible.py`: {visible["model"]}, batch {visible["batch_size"]}, one thread).
"""


def text() -> str:
    characters = load("shakespeare_char_cpu")
    rows = [[run["what"], f"{run['metrics']['val/loss']:.3f}", f"`{run['command']}`"] for run in characters["runs"]]
    reviews = {run["what"]: run for run in load("movie_reviews")["runs"]}
    main = reviews["MLM"]["evaluate"]
    sizes = {"_100": "100 labels", "_1000": "1,000 labels", "": "all 7,677"}
    measured = {
        "MLM, linear probe": (main["metrics"], "probe/linear_accuracy"),
        "untrained encoder, linear probe": (main["controls"], "probe/linear_accuracy"),
        "its DistilBERT student, linear probe": (
            reviews["DistilBERT's student of that MLM"]["evaluate"]["metrics"],
            "probe/linear_accuracy",
        ),
        "TF-IDF": (main["raw"], "probe/linear_accuracy"),
    }
    probes = [
        [what, *(percent(figures[f"{metric}{suffix}"]) for suffix in sizes)]
        for what, (figures, metric) in measured.items()
    ]
    pairs = reviews["NSP, from that MLM"]["counts"]
    nsp, counts = (
        f"{percent(found['accuracy'])} ({percent(found['low'])} to {percent(found['high'])})"
        for found in (pairs["run"], pairs["counts"])
    )
    order = reviews["Denoising"]["sentence_order"]
    memory = load("cross_entropy_memory")["rows"][-1]
    return f"""## Text

Next character on tinyshakespeare in nanoGPT's CPU setting (4 layers, width 128, context 64, batch 12, 2,000 steps of 768
characters): mean loss over the last tenth of the text. nanoGPT's README reports 1.88. Learning rates were chosen by these
very losses.

{table(["", "validation loss", "command"], rows)}

A masked model on 2,000 film reviews, probed on single sentences of other reviews (2,132 for the test). With few labels: mean
of five draws. One pretraining seed; an interval over the test set is about 2 points.

{table(["", *sizes.values()], probes)}

- NSP, started from that MLM, is right in {nsp} of {pairs["pairs"]:,} held-out pairs; counts of the two tokens at the
  border are right in {counts} of them (`next_sentence_counts.py`, chance 50 %).
- To the denoising model, the true order of sentences of a held-out window is likelier than a shuffled one in
  {percent(order["true_order_likelier"])} of {order["windows"]} windows ({percent(order["low"])} to {percent(order["high"])};
  chance 50 %).
- The loss over a vocabulary of 50,257 takes {memory["chunks_mib"]:,} MiB for {memory["tokens"]:,} tokens; all logits at once
  take {memory["at_once_mib"]:,} MiB (`cross_entropy_memory.py`).
"""


def speed() -> str:
    views, training = load("transforms"), load("training_width20")
    ratios = [round_["ours"] / max(round_["lightly"].values()) for round_ in training["rounds"]]
    shares = [round_["ours"] / round_["compute"] for round_ in training["rounds"]]
    rows = [
        [
            "two SimCLR views at 32 x 32, one thread",
            f"{views['ours_images_per_second']:,.0f} images/s",
            f"{views['lightly_images_per_second']:,.0f} images/s",
            f"{views['ratio']:.1f} ({views['ratio_worst']:.1f} to {views['ratio_best']:.1f})",
            "",
        ],
        [
            "SimCLR training, conv net of 20 channels, two cores",
            f"{training['ours_images_per_second']:,.0f} images/s",
            f"{training['lightly_images_per_second']:,.0f} images/s",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})",
        ],
    ]
    language = [
        [
            f"{run['threads']}",
            f"{run['ours_tokens_per_second']:,.0f}",
            f"{run['reference_tokens_per_second']:,.0f}",
            f"{run['ratio']:.2f}",
            run["hardware"],
            f"{run['date']}, {run['git_commit'][:7]}",
        ]
        for run in load("language_vs_nanogpt")["runs"]
    ]
    return f"""## Speed

Compared with lightly {views["versions"]["lightly"]} on the same cores, each row one run with alternating rounds, medians
(lowest to highest round). Training reads a folder of JPEG files, which our side decodes once, before; lightly has the better of
0 and 2 workers. "Of compute" is relative to forward, backward and optimizer step alone.

{table(["", "ssl-lightning", "lightly", "ratio", "of compute"], rows)}

The whole `experiment=shakespeare_char_cpu`, which uses Muon, compared with a bare loop of nanoGPT's kind, which uses AdamW
(`language_vs_nanogpt.py`). {load("language_vs_nanogpt")["note"]}

{table(["threads", "tokens/s", "bare loop, tokens/s", "ratio", "hardware", "date, commit"], language)}

On a GPU: `ssl-bench experiment=simclr_cifar10 compile=true data.root=DATA` (not measured yet).
"""


def page() -> str:
    head = """# Measured results

Generated by `make_readme.py` from `results/*.json`, which also hold each run's command, commit, versions, hardware and time.
The scripts beside this page measure speed and memory; each states its command in its first lines.
"""
    return "\n".join([head, images(), joint(), one_network(), patches(), mae(), text(), sound(), pairs(), speed()])


if __name__ == "__main__":
    (HERE / "README.md").write_text(page())
    project = HERE.parents[1] / "README.md"
    project.write_text(with_methods(project.read_text()))
