from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_lightning.modules.backbones.language_model import LanguageModel
from ssl_lightning.modules.backbones.text import language_model
from ssl_lightning.modules.cpu.llama import _RMSNorm, _rotate, _Rotation, decode, is_plain_decoder


def make(architecture: str, **options: Any) -> LanguageModel:
    torch.manual_seed(0)
    made = language_model(architecture, 30, 0, "causal", 16, width=16, layers=2, heads=4, **options)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return made


def windows() -> Tensor:
    return torch.randint(5, 30, (3, 11), generator=torch.Generator().manual_seed(0))


CASES = [
    ("llama", {}),
    ("llama", {"num_key_value_heads": 2}),
    ("qwen3", {}),
    ("qwen3", {"head_dim": 8}),
    ("llama", {"tied": False}),
]


@pytest.mark.parametrize(("architecture", "options"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_and_gradients_are_those_of_transformers(
    architecture: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    body = make(architecture, **options).to(dtype).body
    assert is_plain_decoder(body)
    weight = torch.randn(3, 11, 16, dtype=dtype)
    results = []
    for h in (decode(body, windows()), body(input_ids=windows(), use_cache=False).last_hidden_state):
        results.append((h.detach(), torch.autograd.grad((h * weight).sum(), list(body.parameters()))))
    (h, gradients), (expected, expected_gradients) = results
    torch.testing.assert_close(h, expected, atol=1e-5, rtol=1e-5)
    for a, b in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


def test_under_autocast() -> None:
    body = make("qwen3").body
    with torch.autocast("cpu", torch.bfloat16):
        h = decode(body, windows())
    torch.testing.assert_close(h.float(), decode(body, windows()), atol=0.2, rtol=0.1)


def test_gradients_by_hand() -> None:
    x, weight = torch.randn(2, 3, 6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    torch.autograd.gradcheck(lambda x, w: _RMSNorm.apply(x, w, 1e-6), (x.requires_grad_(), weight.requires_grad_()))
    angles = torch.randn(3, 1, 3, dtype=torch.float64)
    q = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda q: _Rotation.apply(q, angles.cos(), angles.sin()), (q,))


def test_a_rotation_keeps_lengths_and_is_the_plain_one() -> None:
    angles, x = torch.randn(3, 1, 3), torch.randn(2, 3, 4, 6)
    turned = _rotate(x, angles.cos(), angles.sin())
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    x1, x2 = x.chunk(2, dim=-1)
    plain = torch.cat((x1 * angles.cos() - x2 * angles.sin(), x2 * angles.cos() + x1 * angles.sin()), dim=-1)
    torch.testing.assert_close(turned, plain)


@pytest.mark.parametrize(
    ("architecture", "options"),
    [("gpt2", {}), ("llama", {"attention_bias": True}), ("llama", {"mlp_bias": True}), ("llama", {"dropout": 0.1})],
)
def test_others_are_left_to_transformers(architecture: str, options: dict[str, Any]) -> None:
    assert not is_plain_decoder(make(architecture, **options).model)
