"""What HuBERT's targets tell by themselves: k-means of MFCC, as a softmax of distances, pooled, without a network.

    python tests/benchmarks/soft_codes.py --root DATA --json tests/benchmarks/results/soft_codes.json

Spoken digits of FSDD, one speaker left out at a time; the clusters, their number and the pooling are those of
experiment=hubert_mels_fsdd_cpu, kNN and linear accuracy those of protocol v1.
"""

import argparse
import json
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ssl_lightning.data.audio.datamodule import AudioData
from ssl_lightning.data.audio.fsdd import fsdd
from ssl_lightning.evaluation.protocol import PROTOCOLS
from ssl_lightning.methods.hubert import HuBERT
from ssl_lightning.modules.backbones.audio import audio_encoder
from ssl_lightning.transforms.audio import Waveforms

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
SOFTNESS = 8.0
"""Divides the squared distance of a frame to each centroid."""


def codes(method: HuBERT, part: Any) -> dict[str, torch.Tensor]:
    """The embedding (N, D) of each clip, and its label."""
    found = []
    for rows in torch.arange(len(part)).split(250):
        batch = part.__getitems__(rows.tolist())
        visible = method.backbone.visible(batch["length"], batch["waveform"].shape[1])
        distances = method.distances(batch, visible)
        found.append(method.backbone.pooled((-distances.square() / SOFTNESS).softmax(dim=2), visible))
    return {"features": torch.cat(found), "labels": torch.as_tensor(part.labels)}


def fold(root: str, speaker: str, clusters: int) -> dict[str, float]:
    """Of the held speaker: accuracies and their intervals."""
    source = partial(fsdd, length=6400, held_speaker=speaker)
    data = AudioData(source, root, Waveforms(), batch_size=32, length=6400, sample_rate=8000)
    data.prepare_data()
    data.setup()
    backbone = audio_encoder(
        sample_rate=8000, width=32, layers=1, heads=1, conv_dim=[8], conv_kernel=[320], conv_stride=[160], segments=4
    )
    method = HuBERT(backbone, optimizer=None, schedule=None, clusters=clusters)
    method.learn_from(data)
    return PROTOCOLS["v1"].run(codes(method, data.probe_train), codes(method, data.test), data.num_classes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="the folder that holds fsdd")
    parser.add_argument("--clusters", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    folds = {}
    for speaker in SPEAKERS:
        folds[speaker] = fold(args.root, speaker, args.clusters)
        print(speaker, {name: round(value, 3) for name, value in folds[speaker].items()}, flush=True)
    if args.json:
        command = "python tests/benchmarks/soft_codes.py --root DATA --json FILE"
        settings = {"clusters": args.clusters, "softness": SOFTNESS}
        result = {"command": command, "date": str(date.today()), **settings, "folds": folds}
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
