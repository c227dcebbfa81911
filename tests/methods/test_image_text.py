"""CLIP and SigLIP: their towers, temperature, duplicates, and large batches on a small memory."""

import math
from typing import Any

import pytest
import torch
from methods.recipe import TINY, make_batch, make_method
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.losses.image_text import clip_loss, same_pairs, siglip_loss
from ssl_lightning.methods.base import Method
from ssl_lightning.methods.clip import CLIP
from ssl_lightning.modules.backbones.image import ConvNet
from ssl_lightning.modules.backbones.text import language_model
from ssl_lightning.optim.schedules import constant

both = pytest.mark.parametrize("name", ["clip", "siglip"])


def gradients(method: Method, batch: dict[str, Any]) -> list[Tensor]:
    return list(torch.autograd.grad(method.loss(batch)["loss"], list(method.parameters())))


@both
def test_the_loss_is_that_of_the_two_encoders(name: str) -> None:
    method, batch = make_method(name), make_batch(name)
    image, text = method.encode_image(batch["views"][0]), method.encode_text(batch["tokens"])
    scale = torch.tensor(10.0 if name == "siglip" else 1 / 0.07)
    wanted = clip_loss(image, text, scale) if name == "clip" else siglip_loss(image, text, scale, torch.tensor(-10.0))
    torch.testing.assert_close(method.loss(batch)["loss"], wanted)


def test_a_whole_number_is_a_bias() -> None:
    assert make_method("siglip", bias=-7).space.bias.item() == -7


@both
def test_chunks_have_the_gradient_of_the_whole_batch(name: str) -> None:
    """Without batch normalization, which would see a chunk alone: the text tower, and the space."""
    whole, batch = make_method(name).double().eval(), make_batch(name, dtype=torch.float64)
    found = gradients(whole, batch)
    whole.chunk_size = 5
    for part, gradient in zip(gradients(whole, batch), found, strict=True):
        torch.testing.assert_close(part, gradient, rtol=1e-9, atol=1e-11)


@both
def test_duplicates_are_left_out_only_on_demand(name: str) -> None:
    batch = make_batch(name)
    batch["tokens"][1] = batch["tokens"][0]
    plain = make_method(name)
    deduped = make_method(name, dedupe=True)
    deduped.load_state_dict(plain.state_dict())
    assert same_pairs(batch["tokens"], batch["image"]).sum() == len(batch["tokens"]) + 2
    assert deduped.loss(batch)["loss"] < plain.loss(batch)["loss"]


def test_the_scale_of_clip_stays_below_100_and_is_not_decayed() -> None:
    method = make_method("clip")
    assert method.space.scale.item() == pytest.approx(1 / 0.07)
    (group,) = (group for group in method.groups() if any(p is method.space.log_scale for p in group["params"]))
    assert group["weight_decay"] == 0
    method.space.log_scale.data.fill_(6.0)
    method.after_step(0.5)
    assert method.space.log_scale.item() == pytest.approx(math.log(100))


@pytest.mark.parametrize("architecture", ["bert", "modernbert", "gpt2"])
def test_any_language_model_reads_the_captions(architecture: str) -> None:
    options = TINY["ssl_lightning.modules.backbones.text.language_model"]
    tower = language_model(architecture, **options, head="causal" if architecture == "gpt2" else "masked")
    names = [name for name, _ in tower.named_parameters()]
    method = make_method("clip", text_backbone=tower)
    assert len(list(method.text_backbone.parameters())) < len(names) or architecture == "gpt2"  # whose head is tied
    batch = make_batch("clip")
    method.loss(batch)["loss"].backward()
    assert all(p.grad is not None for p in method.parameters())
    padded = torch.cat([batch["tokens"], torch.zeros_like(batch["tokens"][:, :1])], dim=1)[:, 1:]
    shorter = batch["tokens"][:, 1:]
    torch.testing.assert_close(method.encode_text(padded), method.encode_text(shorter), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tower", [ConvNet(), "bart"])
def test_other_text_towers_are_refused(tower: Any) -> None:
    if tower == "bart":
        tower = language_model("bart", **TINY["ssl_lightning.modules.backbones.text.language_model"], head="seq2seq")
    with pytest.raises(InputError, match=r"method.text_backbone must be a language model"):
        CLIP(ConvNet(), tower, torch.optim.SGD, constant)
