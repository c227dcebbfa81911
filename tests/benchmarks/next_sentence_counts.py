"""What counts of tokens at the border know of the next sentence: the control of next-sentence prediction.

    python tests/benchmarks/next_sentence_counts.py RUN --json figures.json

Over `--draws` passes through the training windows of a run of `method=nsp` it counts which token ends A and which one
begins B, in pairs that follow each other and in others. A held-out pair is taken for one that follows where its two
tokens were seen more often in such; one that was never seen, or as often in both, counts as half right. Beside it
stands the accuracy of the run itself on the same pairs. Held-out windows are paired five times; the interval draws
windows, each with all its pairs. Pairs come from batches in a random order, as in training.
"""

import json
from typing import Any

import numpy as np
import torch
from opened import open_run, run_parser

from ssl_lightning.evaluation.bootstrap import interval
from ssl_lightning.runs.provenance import provenance

PAIRINGS = 5
"""Of each held-out window."""


def border(batch: dict[str, Any], vocab_size: int) -> np.ndarray:
    """(B,): one number for the last token of A and the first of B, from `targets`, [CLS] A [SEP] B [SEP]."""
    first_sep = (batch["segment"] == 0) & (batch["segment"].roll(-1, dims=1) == 1)
    place = first_sep.int().argmax(dim=1, keepdim=True)
    a, b = batch["targets"].gather(1, place - 1), batch["targets"].gather(1, place + 1)
    return (a * vocab_size + b)[:, 0].numpy()


def known(seen: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """How often each number that is `asked` was `seen`."""
    values, counts = np.unique(seen, return_counts=True)
    where = np.searchsorted(values, asked).clip(max=len(values) - 1)
    return np.where(values[where] == asked, counts[where], 0)


@torch.no_grad()
def main() -> None:
    parser = run_parser(__doc__)
    parser.add_argument("--draws", type=int, default=10)
    args = parser.parse_args()
    run, config, data, method = open_run(args.run)
    vocab_size = data.modality.tokenizer.vocab_size
    generator = torch.Generator().manual_seed(0)

    def batches(windows: Any, times: int) -> Any:
        for _ in range(times):
            for rows in torch.randperm(len(windows), generator=generator).split(config.data.batch_size):
                yield data.transform(windows.__getitems__(rows.tolist()), generator) | {"row": rows}

    borders = [(border(batch, vocab_size), batch["is_next"]) for batch in batches(data.train, args.draws)]
    seen, follows = np.concatenate([numbers for numbers, _ in borders]), torch.cat([x for _, x in borders]).numpy() == 1
    counted, told, windows = [], [], []
    for batch in batches(data.val_windows, PAIRINGS):
        windows.append(batch["row"])
        asked, is_next = border(batch, vocab_size), batch["is_next"].numpy() == 1
        more = known(seen[follows], asked) - known(seen[~follows], asked)
        counted.append(np.where(more == 0, 0.5, (more > 0) == is_next))
        visible = batch["inputs"] != data.modality.tokenizer.pad_id
        h = method.backbone.hidden(batch["inputs"], visible, batch["segment"])
        told.append((method.pair_head(h[:, 0]).argmax(dim=1) == batch["is_next"]).double().numpy())
    figures: dict[str, Any] = {"pairs": sum(map(len, counted)), "chance": 0.5, "draws": args.draws}
    for name, parts in (("counts", counted), ("run", told)):
        right = torch.from_numpy(np.concatenate(parts))
        low, high = interval(right, groups=torch.cat(windows))
        figures[name] = {"accuracy": right.mean().item(), "low": low, "high": high}
    print(figures)
    figures["provenance"] = provenance(run.config.read_text(), "32-true", 1, config.seed)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
