"""SimVP, Simpler yet Better Video Prediction, Gao et al. 2022, https://arxiv.org/abs/2206.05099.

The encoder processes each frame separately, the translator predicts the motion from all of them at once, and the
decoder draws each future frame separately. Without recurrence a clip takes one pass, which is fast on CPUs.
"""

from itertools import pairwise
from typing import Annotated, Any

from annotated_types import Gt, Interval, MultipleOf
from timm.layers.norm import GroupNorm1
from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn

from ssl_lightning.errors import InputError
from ssl_lightning.modules.parts import CalledByParts
from ssl_lightning.ranges import PositiveInt

_GROUPS = 4


def _normed(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.GroupNorm(_GROUPS, conv.out_channels), nn.SiLU(inplace=True))


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return _normed(nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False))


def _mixer(width: int) -> ConvNeXtBlock:
    """A depthwise 7x7 convolution, then a pointwise MLP, with a shortcut.

    Deviation: SimVP has Inception blocks of grouped convolutions. This block has the same receptive field at an eighth
    of the cost.
    """
    kinds: Any = {"norm_layer": GroupNorm1, "act_layer": nn.SiLU}
    return ConvNeXtBlock(width, mlp_ratio=2, conv_mlp=True, ls_init_value=None, **kinds)


class SimVPEncoder(CalledByParts):
    """The encoder and the translator of SimVP: clips (B, T, C, H, W) -> (B, D).

    Args:
        in_channels: C.
        frames: T.
        width: channels at full resolution, a multiple of 4; each stage doubles them.
        stages: number of stages; each halves the side.
        hidden_dim: D, channels of the translator.
        depth: number of blocks of the translator.
    """

    kinds = ("clip",)

    def __init__(
        self,
        in_channels: PositiveInt = 1,
        frames: PositiveInt = 5,
        width: Annotated[int, Gt(0), MultipleOf(_GROUPS)] = 8,
        stages: Annotated[int, Interval(ge=1, le=8)] = 2,
        hidden_dim: PositiveInt = 128,
        depth: PositiveInt = 4,
    ) -> None:
        super().__init__()
        self.frames, self.width, self.stages, self.out_dim = frames, width, stages, hidden_dim
        self.stem = _conv(in_channels, width)
        self.down = nn.Sequential(*(_conv(width * 2**stage, width * 2 ** (stage + 1), 2) for stage in range(stages)))
        self.translator = nn.Sequential(
            nn.Conv2d(frames * width * 2**stages, hidden_dim, 1), *(_mixer(hidden_dim) for _ in range(depth))
        )

    def forward(self, clips: Tensor) -> Tensor:
        return self.states(clips)[0].mean(dim=(2, 3))

    def states(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """The translator's state (B, D, h, w) and the stem's features of the last frame (B, width, H, W)."""
        B, T, _, H, W = clips.shape
        if self.frames != T or H % 2**self.stages or W % 2**self.stages:
            raise InputError(
                f"clips of {T} frames of {H} x {W} do not fit backbone.frames={self.frames} and"
                f" backbone.stages={self.stages}: each stage halves the side"
            )
        fine = self.stem(clips.flatten(0, 1))  # (B * T, width, H, W)
        coarse = self.down(fine)
        state = self.translator(coarse.reshape(B, -1, *coarse.shape[2:]))  # frames become channels
        return state, fine.unflatten(0, (B, T))[:, -1]


class SimVPDecoder(nn.Module):
    """The decoder of SimVP: from the states of an encoder to the next `frames`, (B, frames, channels, H, W).

    Deviation: every frame gets the stem's features of the last frame seen, where SimVP's get those of the first, second
    ... one: the last is the nearest, and the numbers of frames seen and to come may differ.
    """

    def __init__(self, encoder: SimVPEncoder, frames: int, channels: int) -> None:
        super().__init__()
        self.frames, width, stages = frames, encoder.width, encoder.stages
        self.spread = nn.Conv2d(encoder.out_dim, frames * width * 2**stages, 1)
        steps = pairwise(width * 2**stage for stage in range(stages, -1, -1))
        self.up = nn.Sequential(*(_normed(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False)) for a, b in steps))
        self.beside = nn.Conv2d(width, width, 1)
        self.paint = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, state: Tensor, last: Tensor) -> Tensor:
        """From `state` (B, D, h, w) and `last` (B, width, H, W), features of the last frame that every frame gets."""
        B, _, h, w = state.shape
        up = self.up(self.spread(state).reshape(B * self.frames, -1, h, w)).unflatten(0, (B, self.frames))
        return self.paint((up + self.beside(last)[:, None]).flatten(0, 1)).unflatten(0, (B, self.frames))
