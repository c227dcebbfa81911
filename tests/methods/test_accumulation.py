"""Gradient accumulation: two halves of a batch are the batch, for methods that do not compare its samples."""

from pathlib import Path
from typing import Any

import pytest
import torch
from methods.recipe import fit, in_float64, make_batch, make_method, seeded_loss
from torch import Tensor, nn

from ssl_lightning.methods.base import Method
from ssl_lightning.modules.norm import SplitBatchNorm


def without_batch_statistics(name: str) -> Method:
    torch.manual_seed(0)
    method = make_method(name, lr=0.5, **({"queue_size": 24, "bn_splits": 1} if name == "moco" else {}))
    for parent in list(method.modules()):
        for key, child in parent.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d | SplitBatchNorm):
                setattr(parent, key, nn.Identity())
    return in_float64(method, name)


def halves(batch: dict[str, Any]) -> list[dict[str, Any]]:
    def half(value: Any, part: int) -> Any:
        return [half(v, part) for v in value] if isinstance(value, list) else value.chunk(2)[part]

    return [{key: half(value, part) for key, value in batch.items()} for part in range(2)]


def end(method: Method, batches: list[dict[str, Any]], folder: Path, parts: int, **options: Any) -> dict[str, Tensor]:
    return fit(method, batches, folder, accumulate_grad_batches=parts, **options)[-1]


@pytest.mark.parametrize("name", ["moco", "byol"])
def test_two_halves_are_the_batch(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Weights, teacher and queue, with the same keys in the same order."""
    batches = [make_batch(name, 16, seed, torch.float64) for seed in range(3)]
    whole = end(without_batch_statistics(name), batches, tmp_path, 1)
    accumulated = end(without_batch_statistics(name), [part for b in batches for part in halves(b)], tmp_path, 2)
    assert "warning" not in capsys.readouterr().out
    start = without_batch_statistics(name).state_dict()
    assert all(not torch.equal(whole[key], value) for key, value in start.items() if key.endswith(("weight", "rows")))
    for key, value in whole.items():
        torch.testing.assert_close(
            accumulated[key], value, rtol=0, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}"
        )


@pytest.mark.parametrize("name", ["mlm", "nsp", "causal_lm", "denoising_lm"])
def test_two_halves_with_unequal_numbers_of_tokens_are_the_batch(name: str, tmp_path: Path) -> None:
    batches = [make_batch(name, 14, seed, torch.float64) for seed in range(2)]
    counts = [[float(make_method(name).double().loss(part)["weight"]) for part in halves(b)] for b in batches]
    assert any(first != second for first, second in counts)
    whole = end(without_batch_statistics(name), batches, tmp_path, 1)
    accumulated = end(without_batch_statistics(name), [part for b in batches for part in halves(b)], tmp_path, 2)
    for key, value in whole.items():
        torch.testing.assert_close(accumulated[key], value, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["byol", "rotation", "mlm"])
def test_the_last_batch_of_an_epoch_alone_makes_a_whole_step(name: str, tmp_path: Path) -> None:
    batches = [make_batch(name, 14, seed, torch.float64) for seed in range(2)]
    whole = end(without_batch_statistics(name), batches, tmp_path, 1)
    accumulated = end(without_batch_statistics(name), [*halves(batches[0]), batches[1]], tmp_path, 2)
    for key, value in whole.items():
        torch.testing.assert_close(accumulated[key], value, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["moco", "byol", "simclr"])
def test_the_loss_of_two_halves(name: str) -> None:
    """Their mean is the loss of the batch, but where samples are each other's negatives."""
    method, batch = without_batch_statistics(name), make_batch(name, 16, 0, torch.float64)
    mean = sum(method.loss(part)["loss"] for part in halves(batch)) / 2
    same = torch.isclose(method.loss(batch)["loss"], mean, rtol=0, atol=1e-12)
    assert bool(same) != type(method).uses_batch_negatives


def test_the_logged_norm_of_the_gradient_is_that_of_the_whole_batch_before_it_is_clipped(tmp_path: Path) -> None:
    """Of halves with unequal numbers of tokens, too."""
    batch = make_batch("mlm", 14, 0, torch.float64)
    method = without_batch_statistics("mlm")
    seeded_loss(method, batch)["loss"].backward()
    expected = float(torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None]).norm())
    for parts, batches in {1: [batch], 2: halves(batch)}.items():
        method = without_batch_statistics("mlm")
        end(method, batches, tmp_path, parts, log_every_n_steps=1, gradient_clip_val=1e-3)
        norm = method.trainer.callback_metrics["health/gradient_norm"]
        assert float(norm) == pytest.approx(expected, rel=1e-5)
