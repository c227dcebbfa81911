"""What a language model's loss means, whatever its tokenizer: perplexity and bits per byte; and how fast it reads."""

from typing import Any

import lightning
import torch

from ssl_lightning.evaluation.language import likelihood
from ssl_lightning.record import record

PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "V100": 125e12, "T4": 65e12}
"""Dense half-precision operations a second by NVIDIA's data sheets."""


class LanguageModelMetrics(lightning.Callback):
    """Logs `val/perplexity` and `val/bits_per_byte`, `time/tokens_per_second` and, on GPUs, `time/mfu`.

    Bits per byte are the loss of a token in bits over the bytes of text that a held-out token stands for. (For a masked
    model they measure the guesses of hidden tokens, not a likelihood of the text.) MFU is 6 operations a weight and
    token (Kaplan et al. 2020, https://arxiv.org/abs/2001.08361, Sec. 2.1) over what the device could do.
    """

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        method: Any = pl_module
        if method.token_loss is None:
            return
        loss = float(trainer.callback_metrics[f"val/{method.token_loss}"])
        figures = likelihood(loss, trainer.datamodule.bytes_per_token)  # type: ignore[attr-defined]
        record(trainer, {f"val/{name}": value for name, value in figures.items()})

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        rate = next((c.rates()["time/samples_per_second"] for c in trainer.callbacks if hasattr(c, "rates")), 0.0)  # type: ignore[attr-defined]
        tokens = rate * trainer.datamodule.length  # type: ignore[attr-defined]
        figures = {"time/tokens_per_second": tokens}
        if pl_module.device.type == "cuda" and (peak := peak_of(torch.cuda.get_device_name(pl_module.device))):
            weights = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
            figures["time/mfu"] = 6 * weights * tokens / (peak * trainer.world_size)
        record(trainer, figures)


def peak_of(device: str) -> float | None:
    """Half-precision operations a second of a GPU by its name; None if it is not known."""
    return next((peak for name, peak in PEAK.items() if name in device), None)
