"""A lean forward pass of Llama and Qwen3 over the weights of transformers' own modules.

The result is that of transformers (https://github.com/huggingface/transformers), with fewer and larger operations: one
product for queries, keys and values, no mask, and on a CPU hand-written gradients of the norm and the rotation, whose
many small steps otherwise take as long as the matrix products of a small model.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ssl_lightning.modules.cpu.linear import linear


def is_plain_decoder(model: nn.Module) -> bool:
    """Whether `decode` computes what the model's own forward pass would."""
    config = cast(Any, model).config
    return (
        config.model_type in ("llama", "qwen3")
        and config.rope_parameters["rope_type"] == "default"
        and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        and not config.attention_bias
        and not getattr(config, "mlp_bias", False)
        and not config.attention_dropout
    )


def decode(body: Any, tokens: Tensor) -> Tensor:
    """Last hidden states (B, N, D) of `tokens` (B, N), each of which sees itself and those before it."""
    h = body.embed_tokens(tokens)
    angles = torch.arange(tokens.shape[1], device=h.device)[:, None] * body.rotary_emb.inv_freq.float()
    cos, sin = (table.to(h.dtype)[:, None] for table in (angles.cos(), angles.sin()))  # (N, 1, head_dim / 2)
    for layer in body.layers:
        h = h + _attend(layer.self_attn, _norm(layer.input_layernorm, h), cos, sin)
        h = h + _transform(layer.mlp, _norm(layer.post_attention_layernorm, h))
    return _norm(body.norm, h)


def _attend(attention: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    B, N, _ = x.shape
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    d = attention.head_dim
    widths = [projection.out_features // d for projection in projections]
    qkv = linear(x, torch.cat([projection.weight for projection in projections])).view(B, N, -1, d)
    qk, v = qkv.split([widths[0] + widths[1], widths[2]], dim=2)  # (B, N, heads, d)
    if hasattr(attention, "q_norm"):
        q, k = qk.split(widths[:2], dim=2)
        qk = torch.cat((_norm(attention.q_norm, q), _norm(attention.k_norm, k)), dim=2)
    q, k = _rotate(qk, cos, sin).split(widths[:2], dim=2)
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    h = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=widths[0] != widths[1])
    return attention.o_proj(h.transpose(1, 2).reshape(B, N, -1))


def _transform(mlp: Any, x: Tensor) -> Tensor:
    gate, up = linear(x, torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])).chunk(2, dim=-1)
    return mlp.down_proj(mlp.act_fn(gate) * up)


def _by_hand(x: Tensor) -> bool:
    if torch.compiler.is_compiling():
        return False
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


def _norm(norm: Any, x: Tensor) -> Tensor:
    return _RMSNorm.apply(x, norm.weight, norm.variance_epsilon) if _by_hand(x) else norm(x)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021, https://arxiv.org/abs/2104.09864): (B, N, heads, d), halves as pairs."""
    if _by_hand(x):
        return _Rotation.apply(x, cos, sin)
    x1, x2 = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1)


class _RMSNorm(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467), (..., D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        unit = x * scale
        ctx.save_for_backward(unit, weight, scale)
        return unit * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, weight, scale = ctx.saved_tensors
        D = unit.shape[-1]
        by_weight = (g * unit).reshape(-1, D)
        along = (by_weight @ weight).div_(D).view(scale.shape)
        dx = (g * weight).addcmul_(unit, along, value=-1).mul_(scale)
        return dx, by_weight.sum(dim=0), None


class _Rotation(torch.autograd.Function):
    """Pairs (x[i], x[i + d/2]) turned by the angles of `cos` and `sin`; the gradient is turned back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(g, cos, sin, -1), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    result = torch.empty(x.shape, dtype=x.dtype)
    (x1, x2), (y1, y2) = x.chunk(2, dim=-1), result.chunk(2, dim=-1)
    torch.mul(x1, cos, out=y1).addcmul_(x2, sin, value=-way)
    torch.mul(x2, cos, out=y2).addcmul_(x1, sin, value=way)
    return result
