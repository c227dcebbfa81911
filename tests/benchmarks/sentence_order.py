"""Whether a denoising model knows the order of sentences: is the true order likelier to it than another one?

    python tests/benchmarks/sentence_order.py RUN --json figures.json

Held-out windows are corrupted as in training. The decoder gives a likelihood to the window as it was, and to the window
with its inner sentences in another order; the first and the last piece, which begin or end inside a sentence, stay
where they are, so that no cut tells the order. Chance is one half. Windows of fewer than two inner sentences do not
count.
"""

import json
from typing import Any

import torch
import torch.nn.functional as F
from opened import open_run, run_parser
from torch import Tensor

from ssl_lightning.evaluation.bootstrap import interval
from ssl_lightning.runs.provenance import provenance


def likelihood(method: Any, inputs: Tensor, targets: Tensor) -> Tensor:
    """(B,): the mean log-likelihood of a token of the targets."""
    net = method.backbone
    _, h = net.decoded(inputs, inputs != net.pad_id, targets)
    loss = F.cross_entropy(net.logits(h.flatten(0, 1)), targets.flatten(), reduction="none").view(targets.shape)
    real = targets != net.pad_id
    return -(loss * real).sum(dim=1) / real.sum(dim=1)


def other_order(text: Tensor, ends: Tensor, pad_id: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Windows (B, N) with their inner sentences in a random order, and which of them (B,) changed by that."""
    real = text != pad_id
    sentence = F.pad(ends[text][:, :-1], (1, 0)).cumsum(dim=1)
    last = sentence.masked_fill(~real, 0).amax(dim=1, keepdim=True)
    score = torch.rand(text.shape, generator=generator).gather(1, sentence)
    score = score.masked_fill(sentence == 0, -1.0).masked_fill(sentence == last, 2.0).masked_fill(~real, 3.0)
    made = text.gather(1, score.argsort(dim=1, stable=True))
    return made, (made != text).any(dim=1)


@torch.no_grad()
def main() -> None:
    parser = run_parser(__doc__)
    parser.add_argument("--windows", type=int, default=1000)
    args = parser.parse_args()
    run, config, data, method = open_run(args.run)
    generator = torch.Generator().manual_seed(0)
    won = []
    rows = torch.randperm(len(data.val_windows), generator=generator)[: args.windows]
    for part in rows.split(32):
        batch = data.transform(data.val_windows.__getitems__(part.tolist()), generator)
        targets = batch["targets"]
        body = targets.masked_fill(targets == data.modality.tokenizer.sep_id, data.modality.tokenizer.pad_id)
        other, changed = other_order(body, data.transform.ends_sentence, data.modality.tokenizer.pad_id, generator)
        other = torch.where(targets == data.modality.tokenizer.sep_id, targets, other)
        better = likelihood(method, batch["inputs"], targets) > likelihood(method, batch["inputs"], other)
        won.append(better[changed])
    right = torch.cat(won)
    low, high = interval(right)
    figures = {
        "true_order_likelier": right.double().mean().item(),
        "low": low,
        "high": high,
        "chance": 0.5,
        "windows": len(right),
        "provenance": provenance(run.config.read_text(), "32-true", 1, config.seed),
    }
    print({key: value for key, value in figures.items() if key != "provenance"})
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
