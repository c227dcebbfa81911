"""Trainings on text too short for an epoch, in this process: what is validated, saved and counted."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods.recipe import TINY

from ssl_lightning.callbacks.checkpoint import LastAndBest
from ssl_lightning.callbacks.language_model_metrics import LanguageModelMetrics
from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.data.text.datamodule import TextDataModule
from ssl_lightning.data.text.tokenizers import byte
from ssl_lightning.launch.trainer import make_trainer
from ssl_lightning.methods.causal_lm import GPT
from ssl_lightning.modules.backbones.text import language_model
from ssl_lightning.optim.schedules import constant
from ssl_lightning.runs.run_summary import RunSummary
from ssl_lightning.transforms.text.masking import Tokens

STEPS = 3


def source(root: str, split: str, documents: int) -> Corpus:
    return Corpus.from_texts([f"{number} " + "some text " * (number % 7) for number in range(documents)])


def train(folder: Path, documents: int, **options: Any) -> Any:
    """Three steps of a GPT on windows of 32 bytes."""
    data = TextDataModule(
        partial(source, documents=documents),
        "",
        Tokens(),
        byte,
        length=32,
        batch_size=4,
        val_size=0.1,
        cache=str(folder),
    )
    sizes = TINY["ssl_lightning.modules.backbones.text.language_model"] | {"vocab_size": 261, "max_length": 32}
    method = GPT(language_model("gpt2", head="causal", **sizes), partial(torch.optim.SGD, lr=0.1), constant)
    trainer = make_trainer(
        accelerator="cpu", callbacks=[LanguageModelMetrics(), LastAndBest("val/loss")], logger=False,
        enable_progress_bar=False, default_root_dir=str(folder / "run"), max_steps=STEPS, **options,
    )  # fmt: skip
    trainer.fit(method, data)
    return trainer


@pytest.mark.parametrize(
    ("documents", "options"),
    [
        (200, {}),  # an epoch of many more steps
        (200, {"check_val_every_n_epoch": None, "val_check_interval": 2}),  # between two validations
        (4, {}),  # a tenth of four documents is less than one
    ],
)
def test_the_last_step_is_validated_and_the_best_is_kept(tmp_path: Path, documents: int, options: Any) -> None:
    trainer = train(tmp_path, documents, **options)
    assert trainer.global_step == STEPS
    assert trainer.callback_metrics["step"] == STEPS
    assert trainer.callback_metrics["val/perplexity"] > 1
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] in (STEPS, options.get("val_check_interval", STEPS))


def test_padding_is_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = train(tmp_path, 200)
    summary = RunSummary(None, None, None)  # type: ignore[arg-type]
    summary.samples, summary.training = 1000, 10.0
    trainer.callbacks.append(summary)
    LanguageModelMetrics().on_train_epoch_end(trainer, trainer.lightning_module)
    tokens = trainer.datamodule.train.__getitems__(np.arange(len(trainer.datamodule.train)))["tokens"]
    real = (tokens != 0).sum(dim=1).double().mean()
    assert real < 0.8 * tokens.shape[1]
    assert trainer.callback_metrics["time/tokens_per_second"] == pytest.approx(float(100 * real))
