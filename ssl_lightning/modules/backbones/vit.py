"""A vision transformer that can skip tokens. Dosovitskiy et al., 2020, https://arxiv.org/abs/2010.11929."""

import math
from functools import partial
from typing import Any, Literal, cast

import torch
from timm.layers.patch_embed import PatchEmbed
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from ssl_lightning.errors import InputError
from ssl_lightning.modules.parts import CalledByParts
from ssl_lightning.modules.patches import gather_tokens
from ssl_lightning.ranges import PositiveFloat, PositiveInt

LAYER_NORM = partial(nn.LayerNorm, eps=1e-6)


class ViT(CalledByParts):
    """A vision transformer of timm's pre-norm blocks, (B, C, S, S) -> (B, D).

    Images of other sizes, such as DINO's local crops, get interpolated positions. Methods call its two halves.
    `patch_tokens` makes tokens, which a method may replace. `encode` processes all tokens or some of them, at
    proportional cost. Initial weights are those of MAE's code: Xavier, biases 0.

    Args:
        image_size: S, side of the image in pixels.
        in_channels: C.
        patch_size: side of a patch in pixels; N = (image_size / patch_size) ** 2 tokens.
        width: D.
        layers: number of blocks.
        heads: number of attention heads.
        mlp_ratio: hidden width of a block's MLP divided by D.
        positions: position embeddings: 'sincos', fixed and two-dimensional (MoCo v3, MAE), or 'learned'.
        class_token: whether to add a class token.
        pool: the embedding: the 'class' token or the 'mean' of the patch tokens, after the last norm.

    Raises:
        InputError: patch_size does not divide image_size, or pool='class' without a class token.
    """

    kinds = ("image", "vit")

    def __init__(
        self,
        image_size: PositiveInt = 32,
        in_channels: PositiveInt = 3,
        patch_size: PositiveInt = 4,
        width: PositiveInt = 192,
        layers: PositiveInt = 6,
        heads: PositiveInt = 3,
        mlp_ratio: PositiveFloat = 4.0,
        positions: Literal["sincos", "learned"] = "sincos",
        class_token: bool = True,
        pool: Literal["class", "mean"] = "class",
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise InputError(
                f"backbone.patch_size={patch_size} does not divide the image of {image_size} pixels; choose from"
                f" {', '.join(str(p) for p in range(2, image_size) if image_size % p == 0)}"
            )
        if pool == "class" and not class_token:
            raise InputError("backbone.pool=class needs backbone.class_token=true; without one, backbone.pool=mean")
        self.image_size, self.in_channels, self.patch_size, self.pool = image_size, in_channels, patch_size, pool
        self.grid = image_size // patch_size
        self.patches = self.grid**2
        self.out_dim = width
        self.embed = PatchEmbed(image_size, patch_size, in_channels, width, strict_img_size=False)
        fixed = sincos(self.grid, width)
        learned = nn.Parameter(torch.empty_like(fixed).normal_(std=0.02)) if positions == "learned" else None
        self.position: Tensor = nn.Buffer(fixed, persistent=False) if learned is None else learned
        self.class_token = nn.Parameter(torch.empty(width).normal_(std=0.02)) if class_token else None
        self.blocks = blocks(width, layers, heads, mlp_ratio)
        nn.init.xavier_uniform_(self.embed.proj.weight.view(width, -1))
        nn.init.zeros_(cast(Tensor, self.embed.proj.bias))

    @property
    def pools(self) -> tuple[Literal["class", "mean"], ...]:
        """The possible values of `pool`."""
        return ("mean",) if self.class_token is None else ("class", "mean")

    def forward(self, x: Tensor) -> Tensor:
        return self.pooled(self.encode(self.patch_tokens(x)))

    def patch_tokens(self, x: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, N, D): a linear projection of each patch, without its position."""
        C, height, width = x.shape[1:]
        if self.in_channels != C or height != width or height % self.patch_size:
            wanted = f"{self.in_channels} channels and a side that is a multiple of {self.patch_size} pixels"
            raise InputError(f"the ViT takes square images of {wanted}, got {tuple(x.shape[1:])}")
        return self.embed(x)

    def encode(self, tokens: Tensor, kept: Tensor | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D), or (B, V, D) for the tokens at `kept` (B, V), after the class token, if any."""
        return self.blocks(self._placed(tokens, kept))

    def encode_layers(self, tokens: Tensor) -> list[Tensor]:
        """(B, N, D) -> the output of every block for the patches, (B, N, D) each, without the last norm."""
        h, outputs = self._placed(tokens), []
        for block in self.blocks[:-1]:
            h = block(h)
            outputs.append(self.of_patches(h))
        return outputs

    def _placed(self, tokens: Tensor, kept: Tensor | None = None) -> Tensor:
        """Tokens with their positions, those at `kept` alone, after the class token, if any."""
        tokens = tokens + self._positions(tokens.shape[1])
        if kept is not None:
            tokens = gather_tokens(tokens, kept)
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.to(tokens.dtype).expand(tokens.shape[0], 1, -1), tokens], dim=1)
        return tokens

    def _positions(self, N: int) -> Tensor:
        """(N, D): those of the N = grid ** 2 patches of an image, interpolated where it is not of `image_size`."""
        if self.patches == N:
            return self.position
        grid = math.isqrt(N)
        return resample_abs_pos_embed(self.position[None], [grid, grid], num_prefix_tokens=0)[0]

    @torch.no_grad()
    def attention(self, x: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, heads, N): how the last block's class token attends to the patches (DINO, Fig. 1)."""
        tokens = self._placed(self.patch_tokens(x))
        *blocks, last, _ = cast(Any, self.blocks)
        for block in blocks:
            tokens = block(tokens)
        qkv = last.attn.qkv(last.norm1(tokens)).unflatten(2, (3, last.attn.num_heads, -1))
        q, k, _ = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N + 1, D / heads)
        return (q[:, :, :1] @ k.mT * last.attn.scale).softmax(dim=-1)[:, :, 0, 1:]

    def of_patches(self, h: Tensor) -> Tensor:
        """The output of `encode` without the class token."""
        return h if self.class_token is None else h[:, 1:]

    def pooled(self, h: Tensor) -> Tensor:
        """The output of `encode`, of all tokens or some, -> (B, D)."""
        return h[:, 0] if self.pool == "class" else self.of_patches(h).mean(dim=1)


def require_vit(backbone: nn.Module, method: str) -> ViT:
    """Returns `backbone` for a method that drops or replaces tokens.

    Raises:
        InputError: the backbone is not a ViT.
    """
    if not isinstance(backbone, ViT):
        raise InputError(f"method {method} works on the patches of backbone=vit, not on a {type(backbone).__name__}")
    return backbone


def blocks(width: int, layers: int, heads: int, mlp_ratio: float = 4.0, key: str = "backbone.") -> nn.Sequential:
    """`layers` transformer blocks and a final norm, (B, N, D) -> (B, N, D).

    `key`: prefix of `width` and `heads` in the config, for the error.

    Raises:
        InputError: `heads` does not divide `width`.
    """
    if width % heads:
        raise InputError(f"{key}heads={heads} does not divide {key}width={width}")
    norm: Any = LAYER_NORM
    made = [Block(width, heads, mlp_ratio, qkv_bias=True, norm_layer=norm) for _ in range(layers)]
    stack = nn.Sequential(*made, LAYER_NORM(width))
    for part in stack.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)
    return stack


class NarrowTransformer(nn.Module):
    """The layers of a decoder or predictor on the output of `vit`: a learned mask token, `enter`, `blocks`, `leave`.

    Args:
        width: width of the blocks.
        layers: number of blocks.
        heads: number of their attention heads.
        out_dim: width of the output.
        key: prefix of these arguments in the config, for the error.
    """

    def __init__(self, vit: ViT, width: int, layers: int, heads: int, out_dim: int, key: str) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.enter = nn.Linear(vit.out_dim, width)
        self.blocks = blocks(width, layers, heads, key=key)
        self.leave = nn.Linear(width, out_dim)
        self.position = nn.Buffer(sincos(vit.grid, width), persistent=False)
        for layer in (self.enter, self.leave):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


def sincos(grid: int, width: int) -> Tensor:
    """(grid ** 2, width): sines and cosines of row and column at wavelengths from 2 pi to 20,000 pi (MoCo v3, MAE).

    Raises:
        InputError: 4 does not divide `width`.
    """
    if width % 4:
        raise InputError(f"positions=sincos needs a width that is divisible by 4, got {width}")
    return build_sincos2d_pos_embed([grid, grid], width)
