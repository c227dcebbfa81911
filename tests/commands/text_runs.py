"""Runs for tests, written as if they had been trained."""

from functools import cache
from pathlib import Path

import torch
from composition import task
from omegaconf import OmegaConf, open_dict

from ssl_lightning.config.build import build_method, store_networks
from ssl_lightning.data.text.tokenizers import Tokenizer, bpe, byte, char, wordpiece
from ssl_lightning.runs.checkpoints import write_checkpoint
from ssl_lightning.runs.folder import RunFolder

TEXTS = [
    "the cat sat on the mat and the dog sat on the log.\n",
    "a cat and a dog met on the mat; the dog ran, the cat sat.\n",
    "who sat on the mat? the cat did, and the dog ran to the log.\n",
] * 3
LENGTH = 24


@cache
def tokenizer(kind: str) -> Tokenizer:
    """Of the texts above."""
    if kind in ("byte", "char"):
        return {"byte": byte, "char": char}[kind](TEXTS)
    return {"bpe": bpe, "wordpiece": wordpiece}[kind](TEXTS, vocab_size={"bpe": 300, "wordpiece": 60}[kind])


def write_text_run(folder: Path, method: str, *overrides: str, spelled_by: str = "bpe") -> RunFolder:
    """A run of `method` that nobody trained: random weights, far enough from zero to have an opinion."""
    known = tokenizer(spelled_by)
    known.save(RunFolder(folder).tokenizer)
    tiny = ("backbone.width=16", "backbone.layers=2", "backbone.heads=2", f"data.length={LENGTH}")
    facts = {n: getattr(known, n) for n in ("vocab_size", "pad_id", "cls_id", "sep_id")}
    return write_run(folder, f"method={method}", *tiny, *overrides, noise=0.2, **facts)


def write_run(folder: Path, *overrides: str, noise: float = 0.003, **facts: int) -> RunFolder:
    """The same of any modality; `facts` that its data would tell the backbone. Statistics of batches are no 0 and 1."""
    config, run = task(*overrides), RunFolder(folder)
    run.config.parent.mkdir(parents=True)
    OmegaConf.save(config, run.config)
    with open_dict(config):
        config.backbone.update(facts)
    made = build_method(config)
    store_networks(made, run.config)
    torch.manual_seed(1)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(noise * torch.randn(p.shape))
        for module in made.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    write_checkpoint({"state_dict": made.state_dict(), "global_step": 0}, run.last)
    return run
