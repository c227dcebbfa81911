"""What a network that learned from patches knows of patches: features of an image's patches beside the whole image's.

    python tests/benchmarks/patch_features.py RUN --patch 8 --json figures.json

For runs of `jigsaw` and `context_prediction`: the backbone sees a grid of 3 x 3 patches of the size that it was trained
with, and their features side by side, as the head of `jigsaw` has them, are probed by protocol v1. The network before
training is probed alike.
"""

import json
from typing import Any

import torch
from opened import open_run, run_parser
from torch import Tensor

from ssl_lightning.config.build import build_method
from ssl_lightning.evaluation.features import evaluating, extract
from ssl_lightning.evaluation.protocol import PROTOCOLS
from ssl_lightning.runs.provenance import provenance
from ssl_lightning.transforms.functional import cut


def nine_patches(x: Tensor, size: int) -> Tensor:
    """(B, C, H, H) -> (B, 9, C, size, size), evenly spread, along the rows."""
    corners = torch.linspace(0, x.shape[-1] - size, 3).round().long()
    top, left = torch.cartesian_prod(corners, corners).expand(len(x), -1, -1).split(1, dim=2)
    return cut(x, top, left, size)


@torch.no_grad()
def main() -> None:
    parser = run_parser(__doc__)
    parser.add_argument("--patch", type=int, required=True, help="side of the patches it was trained with")
    args = parser.parse_args()
    run, config, data, trained = open_run(args.run)
    methods = {"this run": trained, "untrained encoder": build_method(config, data)}
    features = {}
    for name, method in methods.items():

        def embed(batch: dict[str, Tensor], method: Any = method) -> Tensor:
            tiles = nine_patches(data.modality.evaluation_view(batch)["image"], args.patch)
            return method(tiles.flatten(0, 1)).unflatten(0, (len(batch["image"]), -1)).flatten(1)

        with evaluating(method):
            probe_train, test = (
                extract(embed, data.features_loader(split), "cpu") for split in ("probe_train", "test")
            )
        features[name] = PROTOCOLS["v1"].run(probe_train, test, data.num_classes)
        print(name, {key: round(x, 4) for key, x in features[name].items() if key.endswith("accuracy")}, flush=True)
    figures = {"features": features, "provenance": provenance(run.config.read_text(), "32-true", 1, config.seed)}
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
