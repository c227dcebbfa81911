"""What MAE saves by encoding visible patches alone: step time and memory at 75 % masking against no masking.

    python tests/benchmarks/mae_visible.py --output tests/benchmarks/results/mae_visible.json

One model and one batch of random images. Without masking the encoder sees all patches; decoder, targets and loss are
the same. Rounds alternate, so that a busy machine slows both. Memory is what a step adds to that of its tensors: on a
GPU the peak that torch's allocator counts, on a CPU all that autograd keeps for the backward pass.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_lightning.losses.reconstruction import masked_mse, normalized_patches
from ssl_lightning.methods.mae import MAE
from ssl_lightning.modules.backbones.vit import ViT
from ssl_lightning.modules.masking import random_split
from ssl_lightning.modules.patches import gather_tokens, patchify
from ssl_lightning.optim.schedules import constant
from ssl_lightning.runs.folder import write_json
from ssl_lightning.runs.provenance import provenance


def make_step(method: MAE, optimizer: torch.optim.Optimizer, x: Tensor, everything: bool) -> Callable[[], Tensor]:
    """A training step whose encoder sees a quarter of the patches, or `everything`; returns its loss."""
    N = method.backbone.patches
    order = torch.arange(N, device=x.device).expand(len(x), -1)

    def step() -> Tensor:
        visible, masked = random_split(len(x), N, method.mask_ratio, x.device)
        _, painted = method.paint(x, order if everything else visible, masked)
        target, _, _ = normalized_patches(gather_tokens(patchify(x, method.backbone.patch_size), masked))
        loss = masked_mse(painted, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def seconds(step: Callable[[], Tensor], repeats: int) -> float:
    """A step, on average."""
    began = time.perf_counter()
    for _ in range(repeats):
        loss = step()
    float(loss)  # a GPU is done
    return (time.perf_counter() - began) / repeats


def megabytes(step: Callable[[], Tensor], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(kept.values()) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=3, help="steps a round")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vit = ViT(image_size=32, in_channels=3, patch_size=4, width=192, layers=6, heads=6)
    optimizer = partial(torch.optim.AdamW, lr=1e-3)
    method = MAE(vit, optimizer, constant, decoder_width=96, decoder_layers=2, decoder_heads=3).to(device)
    x = torch.randn(arguments.batch_size, 3, 32, 32, device=device)
    steps = {
        name: make_step(method, optimizer(method.parameters()), x, everything=name == "nothing hidden")
        for name in ("75 % hidden", "nothing hidden")
    }
    memory = {name: megabytes(step, device) for name, step in steps.items()}  # and warm
    rounds = [{name: seconds(step, arguments.repeats) for name, step in steps.items()} for _ in range(arguments.rounds)]
    ratios = [each["nothing hidden"] / each["75 % hidden"] for each in rounds]
    result: dict[str, Any] = {
        "seconds_a_step": {name: statistics.median(each[name] for each in rounds) for name in steps},
        "times_as_fast": {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)},
        "megabytes": memory,
        "part_of_the_memory": memory["75 % hidden"] / memory["nothing hidden"],
        "model": "ViT 32 x 32, patch 4, 6 layers of 192; decoder 2 layers of 96",
        **{key: getattr(arguments, key) for key in ("batch_size", "rounds", "repeats", "threads")},
        "command": "python tests/benchmarks/mae_visible.py",
        "provenance": provenance("", "32-true", 1, 0),
    }
    print(json.dumps(result, indent=2))
    if arguments.output:
        write_json(arguments.output, result)


if __name__ == "__main__":
    main()
