"""Peak memory of a step of CLIP: a batch of 1,024 pairs in chunks (gradient caching), and whole batches.

    MALLOC_MMAP_THRESHOLD_=65536 python tests/benchmarks/clip_memory.py --json tests/benchmarks/results/clip_memory.json

The networks of experiment=clip_emoji_cpu, forward and backward pass, random pairs. Each figure is the growth of the
peak resident memory of a process of its own over what it had before the step; the variable lets the C library give back
at once what torch frees, so that the peak is that of living tensors.
"""

import argparse
import json
import multiprocessing as mp
import resource
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

from ssl_lightning.config.build import build_method
from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.runs.provenance import provenance

SIDE, LENGTH, VOCABULARY = 48, 14, 2000
ROWS = ((256, None), (1024, 256), (1024, 128), (1024, None))


def growth(batch_size: int, chunk_size: int | None) -> tuple[float, float]:
    """Mebibytes, and the loss."""
    torch.set_num_threads(1)
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("pretrain", ["experiment=clip_emoji_cpu"])
    with open_dict(config):
        config.method.text_backbone.update({"vocab_size": VOCABULARY, "pad_id": 0, "cls_id": 1, "sep_id": 2})
    torch.manual_seed(0)
    method = build_method(config)
    step(method, 4, None)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loss = step(method, batch_size, chunk_size)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, loss


def step(method: torch.nn.Module, batch_size: int, chunk_size: int | None) -> float:
    torch.manual_seed(batch_size)
    method.chunk_size = chunk_size
    tokens = torch.randint(3, VOCABULARY, (batch_size, LENGTH))
    loss = method.loss({"views": [torch.randn(batch_size, 3, SIDE, SIDE)], "tokens": tokens})["loss"]
    loss.backward()
    return float(loss.detach())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    rows = []
    for batch_size, chunk_size in ROWS:
        with mp.get_context("spawn").Pool(1) as process:
            mebibytes, loss = process.apply(growth, (batch_size, chunk_size))
        rows.append({"batch_size": batch_size, "chunk_size": chunk_size, "mib": round(mebibytes), "loss": loss})
        print(rows[-1], flush=True)
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "provenance": provenance("", "32-true", 1, 0)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
