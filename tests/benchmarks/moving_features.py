"""What the features of `next_frame` tell: where digits will be, which digits they are, or both?

    python tests/benchmarks/moving_features.py RUN --json figures.json

From the embedding of the frames seen, of clips of digits drawn on the fly, a ridge regression reads where the middle of
the digits will be three frames later (R^2 on test clips), before and after training. Which digits they are is what
`ssl-evaluate` asks.
"""

import json
from typing import Any

import torch
from opened import open_run, run_parser
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ssl_lightning.config.build import build_method
from ssl_lightning.evaluation.features import evaluating
from ssl_lightning.runs.provenance import provenance

LATER = 3


def clips_and_places(clips: Any, count: int, frame: int, seed: int) -> tuple[Tensor, Tensor]:
    """`count` clips (N, T, C, H, W) and the mean corner of their digits in `frame`, (N, 2) in pixels."""
    picked = torch.randperm(len(clips), generator=torch.Generator().manual_seed(seed))[:count].numpy()
    return clips.__getitems__(picked)["video"], clips.draw.corners(torch.from_numpy(clips.rows[picked]))[
        :, :, frame
    ].mean(dim=1)


@torch.no_grad()
def main() -> None:
    args = run_parser(__doc__).parse_args()
    run, config, data, trained = open_run(args.run)
    frame = trained.backbone.frames - 1 + LATER
    train, test = clips_and_places(data.probe_train, 12000, frame, 0), clips_and_places(data.test, 3000, frame, 1)
    explained = {}
    for name, method in {"this run": trained, "untrained encoder": build_method(config, data)}.items():
        with evaluating(method):
            x, x_test = (
                torch.cat(
                    [method(data.modality.evaluation_view({"video": part})["video"]) for part in clips.split(250)]
                ).numpy()
                for clips, _ in (train, test)
            )
        ridge = make_pipeline(StandardScaler(), RidgeCV([0.1, 1.0, 10.0, 100.0])).fit(x, train[1].numpy())
        explained[name] = ridge.score(x_test, test[1].numpy())
    print(explained)
    figures = {
        "r2_of_the_place_three_frames_later": explained,
        "provenance": provenance(run.config.read_text(), "32-true", 1, config.seed),
    }
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
