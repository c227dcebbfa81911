"""Tokens a second of `experiment=shakespeare_char_cpu` against a GPT of nanoGPT's kind, in one run, rounds alternating.

    python tests/benchmarks/language_vs_nanogpt.py DATA --json figures.json

The reference is what nanoGPT does in its CPU setting (4 layers, width 128, 4 heads, context 64, batch 12, no dropout,
no compile): learned positions, layer norms without bias, GELU, fused attention, AdamW with clipping, random windows; a
bare loop without evaluation. Ours is the whole experiment: Trainer, DataModule, Muon, clipping. Their losses, at the
same number of tokens, are those of the experiment's header and of nanoGPT's README (1.88).
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from ssl_lightning.commands.bench import Clock
from ssl_lightning.config.build import build_data, build_method
from ssl_lightning.config.paths import CONFIG_DIR

BATCH, CONTEXT, WIDTH, LAYERS, HEADS = 12, 64, 128, 4, 4


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, None, 1e-5)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = Norm(), Norm()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, N, D = x.shape
        parts = self.qkv(self.before_attention(x)).split(D, dim=2)
        q, k, v = (part.view(B, N, HEADS, D // HEADS).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(B, N, D))
        return x + self.down(F.gelu(self.up(self.before_mlp(x))))


class Reference(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = Norm(), nn.Linear(WIDTH, vocabulary, bias=False)
        self.tokens.weight = self.head.weight

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        h = self.tokens(inputs) + self.places(torch.arange(inputs.shape[1]))
        return F.cross_entropy(self.head(self.norm(self.blocks(h))).flatten(0, 1), targets.flatten())


def reference_rate(text: Tensor, vocabulary: int, steps: int) -> float:
    model = Reference(vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    for step in range(10 + steps):
        if step == 10:
            began = time.perf_counter()
        starts = torch.randint(len(text) - CONTEXT, (BATCH,)).tolist()
        inputs = torch.stack([text[start : start + CONTEXT] for start in starts])
        targets = torch.stack([text[start + 1 : start + 1 + CONTEXT] for start in starts])
        loss = model(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return BATCH * CONTEXT * steps / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder with text/tinyshakespeare.txt")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("overrides", nargs="*", help="of the experiment")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        overrides = ["experiment=shakespeare_char_cpu", f"data.root={args.root}", *args.overrides]
        config = compose("pretrain", overrides)
    data = build_data(config)
    data.prepare_data()
    data.setup()
    method = build_method(config, data)
    text = torch.from_numpy(data.train.tokens[:1_000_000].astype("int64"))
    vocabulary = data.modality.facts["vocab_size"]
    rounds = []
    for _ in range(args.rounds):
        clock = Clock(10, args.steps)
        trainer = instantiate(
            config.trainer, callbacks=[clock], logger=False, enable_progress_bar=False, limit_val_batches=0
        )
        trainer.fit(build_method(config, data), data)
        ours = BATCH * CONTEXT * args.steps / clock.seconds
        rounds.append({"ours": ours, "reference": reference_rate(text, vocabulary, args.steps)})
        print(rounds[-1], flush=True)
    figures = {
        "ours_tokens_per_second": statistics.median(r["ours"] for r in rounds),
        "reference_tokens_per_second": statistics.median(r["reference"] for r in rounds),
        "ratio": statistics.median(r["ours"] / r["reference"] for r in rounds),
        "weights": {
            "ours": sum(p.numel() for p in method.parameters()),
            "reference": sum(p.numel() for p in Reference(vocabulary).parameters()),
        },
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    print({key: value for key, value in figures.items() if key != "rounds"})
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
