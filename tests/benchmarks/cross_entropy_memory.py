"""Peak memory of the cross-entropy of tokens over a large vocabulary: in chunks, and all logits at once.

    python tests/benchmarks/cross_entropy_memory.py --json figures.json

Forward and backward pass of a head of 128 x 50,257 weights in float32. Each figure is the growth of the peak resident
memory of a process of its own over what it had before the loss.
"""

import argparse
import json
import multiprocessing as mp
import platform
import resource
from pathlib import Path

import torch
import torch.nn.functional as F

from ssl_lightning.losses.language import rows_at_once, token_cross_entropy

WIDTH, VOCABULARY = 128, 50_257


def growth(tokens: int, grad_cached: bool) -> float:
    """Mebibytes."""
    weight = torch.randn(VOCABULARY, WIDTH, requires_grad=True)
    h, targets = torch.randn(tokens, WIDTH, requires_grad=True), torch.randint(VOCABULARY, (tokens,))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if grad_cached:
        loss, _ = token_cross_entropy(h, lambda x: x @ weight.T, targets, rows_at_once(VOCABULARY))
    else:
        loss = F.cross_entropy(h @ weight.T, targets)
    loss.backward()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    rows = []
    for tokens in (1024, 4096, 16384):
        row: dict[str, float] = {"tokens": tokens}
        for name, grad_cached in (("chunks_mib", True), ("at_once_mib", False)):
            with mp.get_context("spawn").Pool(1) as process:
                row[name] = round(process.apply(growth, (tokens, grad_cached)))
        rows.append(row)
        print(row, flush=True)
    figures = {
        "width": WIDTH,
        "vocabulary": VOCABULARY,
        "rows": rows,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
