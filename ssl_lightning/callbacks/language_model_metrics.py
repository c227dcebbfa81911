"""What a language model's loss means, whatever its tokenizer: perplexity and bits per byte; and how fast it reads."""

from typing import Any

import torch
from lightning import Callback, Trainer

from ssl_lightning.evaluation.language import likelihood
from ssl_lightning.record import record
from ssl_lightning.runs.run_summary import RunSummary

PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "V100": 125e12, "T4": 65e12}
"""Dense half-precision operations a second by NVIDIA's data sheets."""


class LanguageModelMetrics(Callback):
    """Logs `val/perplexity` and `val/bits_per_byte`, `time/tokens_per_second` and, on GPUs, `time/mfu`.

    Bits per byte are the loss of a token in bits over the bytes of text that a held-out token stands for. (For a masked
    model they measure the guesses of hidden tokens, not a likelihood of the text.) Padding is no token. MFU is 6
    operations a token and weight of a hidden layer, without embeddings and the vocabulary's head (Kaplan et al. 2020,
    https://arxiv.org/abs/2001.08361, Sec. 2.1), over what the device could do.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if pl_module.token_loss is None:
            return
        loss = float(trainer.callback_metrics[f"val/{pl_module.token_loss}"])
        figures = likelihood(loss, trainer.datamodule.bytes_per_token)  # type: ignore[attr-defined]
        record(trainer, {f"val/{name}": value for name, value in figures.items()})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        summaries = (callback for callback in trainer.callbacks if isinstance(callback, RunSummary))  # type: ignore[attr-defined]
        rate = next((summary.rates()["time/samples_per_second"] for summary in summaries), 0.0)
        windows = trainer.datamodule.train  # type: ignore[attr-defined]
        tokens = rate * windows.token_count / len(windows)
        figures = {"time/tokens_per_second": tokens}
        name = torch.cuda.get_device_name(pl_module.device) if pl_module.device.type == "cuda" else ""
        if peak := next((peak for known, peak in PEAK.items() if known in name), None):
            weights = sum(p.numel() for group in pl_module.groups() if group["hidden"] for p in group["params"])
            figures["time/mfu"] = 6 * weights * tokens / (peak * trainer.world_size)
        record(trainer, figures)
