"""What holds for every method that reads text."""

import copy
from typing import Any

import pytest
import torch
from methods.recipe import LENGTH, METHODS, TINY, VOCABULARY, in_float64, make_batch, make_method, reads_text
from torch import Tensor

from ssl_lightning.losses import language
from ssl_lightning.methods.base import Method

TEXT = [name for name in METHODS if reads_text(name)]
pytestmark = pytest.mark.parametrize("name", TEXT)


def loss_and_gradients(method: Method, batch: dict[str, Any]) -> tuple[dict[str, Tensor], list[Tensor]]:
    result = method.loss(batch)
    return result, list(torch.autograd.grad(result["loss"], list(method.parameters()), allow_unused=True))


def rows(batch: dict[str, Any], chosen: slice | Tensor) -> dict[str, Any]:
    return {key: value[chosen] for key, value in batch.items()}


def test_two_parts_weighted_are_the_whole(name: str) -> None:
    """Windows of different lengths, so parts of different weights."""
    method, batch = in_float64(make_method(name), name), make_batch(name)
    whole, gradients = loss_and_gradients(method, batch)
    parts = [loss_and_gradients(method, rows(batch, part)) for part in (slice(0, 3), slice(3, None))]
    shares = [part["weight"] / whole["weight"] for part, _ in parts]
    assert shares[0] + shares[1] == 1
    assert shares[0] != 3 / 16
    together = sum(share * part["loss"] for share, (part, _) in zip(shares, parts, strict=True))
    torch.testing.assert_close(together, whole["loss"], atol=1e-10, rtol=1e-10)
    for expected, first, second in zip(gradients, *(found for _, found in parts), strict=True):
        torch.testing.assert_close(shares[0] * first + shares[1] * second, expected, atol=1e-10, rtol=1e-8)


def test_padding_changes_nothing(name: str) -> None:
    method, batch = make_method(name).double(), make_batch(name)
    short = rows(batch, slice(0, None, 3))  # 12 tokens, and 3 more where a transform adds some
    cut = {key: value[:, :15] if value.ndim == 2 else value for key, value in short.items()}
    for key in ("loss", "weight", "embedding"):
        torch.testing.assert_close(method.loss(short)[key], method.loss(cut)[key], atol=1e-9, rtol=1e-9)


def test_weight_is_the_number_of_targets(name: str) -> None:
    batch = make_batch(name)
    result = make_method(name).loss(batch)
    if name == "causal_lm":
        expected = (batch["tokens"][:, 1:] != 0).sum()
    elif name == "denoising_lm":
        expected = (batch["targets"] != 0).sum()
    else:
        expected = batch["masked"].sum()
    assert result["weight"] == expected
    assert result["weight"].dtype == torch.float32


def test_a_batch_of_one(name: str) -> None:
    batch = make_batch(name, B=1)
    assert make_method(name).loss(batch)["loss"].isfinite()


def test_only_padding_is_no_loss(name: str) -> None:
    method, batch = make_method(name), make_batch(name)
    empty = {key: torch.zeros_like(value) for key, value in batch.items()}
    result = method.loss(empty)
    assert result["weight"] == 0
    assert result["loss"].isfinite()
    result["loss"].backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


def test_chunks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = make_method(name).double(), make_batch(name)
    whole, gradients = loss_and_gradients(method, batch)
    monkeypatch.setattr(language, "LOGITS_AT_ONCE", 5 * VOCABULARY)
    chunked, found = loss_and_gradients(copy.deepcopy(method), batch)
    torch.testing.assert_close(chunked["loss"], whole["loss"], atol=1e-10, rtol=1e-10)
    for a, b in zip(found, gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-8)


def test_the_embedding_is_the_mean_of_what_the_network_saw(name: str) -> None:
    method, batch = make_method(name).eval(), make_batch(name)
    seen = batch["tokens"][:, :-1] if name == "causal_lm" else batch["inputs"]
    if name != "nsp":  # segments belong to its states
        torch.testing.assert_close(method.loss(batch)["embedding"], method(seen).detach())


def test_every_position_learns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generation and export use all that the network has: with learned positions none may stay as it began.

    Of the encoder of BART the last ones do: its texts are corrupted, and so shorter.
    """
    monkeypatch.setitem(TINY["ssl_lightning.modules.backbones.text.language_model"], "architecture", LEARNED[name])
    method, batch = make_method(name), make_batch(name, padded=False)
    method.loss(batch)["loss"].backward()
    tables = {
        key: p for key, p in method.named_parameters() if key.endswith(("position_embeddings.weight", "wpe.weight"))
    } | {key: p for key, p in method.named_parameters() if "decoder.embed_positions" in key}
    assert tables
    for key, table in tables.items():
        unused = 2 if "embed_positions" in key else 0  # BART's table begins with two rows of its own
        assert table.grad is not None, key
        assert table.grad[unused:].abs().sum(dim=1).gt(0).all(), key
    assert method.backbone.max_length == (LENGTH - 1 if name == "causal_lm" else LENGTH)


LEARNED = {"causal_lm": "gpt2", "denoising_lm": "bart"} | dict.fromkeys(("mlm", "nsp", "distil_mlm"), "bert")
