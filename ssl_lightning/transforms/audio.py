"""Random changes of sound on whole batches, with parameters of their own for each clip.

Clips are (B, S) float32 in [-1, 1], of which the first `length` (B,) samples are no padding; padding stays 0. Drawing
and applying are separate steps, as in `transforms.ops`.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from ssl_lightning.ranges import Fraction, NonNegativeFloat, PositiveFraction

Params = dict[str, Tensor]


class SoundOp(nn.Module):
    """One random change: `draw` returns its parameters, each (B, ...); `transform` applies them."""

    def draw(self, waveform: Tensor, generator: torch.Generator) -> Params:
        raise NotImplementedError

    def transform(self, waveform: Tensor, length: Tensor, **params: Tensor) -> tuple[Tensor, Tensor]:
        """The changed clips and their lengths."""
        raise NotImplementedError


class RandomCrop(SoundOp):
    """A random part of each clip, of a length uniform between a fraction `shortest` and all of it, at any place."""

    def __init__(self, shortest: PositiveFraction = 0.5) -> None:
        super().__init__()
        self.shortest = shortest

    def draw(self, waveform: Tensor, generator: torch.Generator) -> Params:
        share, place = _uniform(2, waveform, generator)
        return {"share": self.shortest + (1 - self.shortest) * share, "place": place}

    def transform(self, waveform: Tensor, length: Tensor, **params: Tensor) -> tuple[Tensor, Tensor]:
        kept = (params["share"] * length).ceil().long().minimum(length)
        start = (params["place"] * (length - kept + 1)).long().minimum(length - kept)
        return _moved(waveform, start, kept), kept


class TimeShift(SoundOp):
    """Moves each clip within its length by up to a fraction `reach` of it, either way; silence follows."""

    def __init__(self, reach: Fraction = 0.1) -> None:
        super().__init__()
        self.reach = reach

    def draw(self, waveform: Tensor, generator: torch.Generator) -> Params:
        return {"share": self.reach * (2 * _uniform(1, waveform, generator)[0] - 1)}

    def transform(self, waveform: Tensor, length: Tensor, **params: Tensor) -> tuple[Tensor, Tensor]:
        return _moved(waveform, -(params["share"] * length).round().long(), length), length


class Gain(SoundOp):
    """Makes each clip up to `decibels` louder or softer; what is louder than 1 is clipped."""

    def __init__(self, decibels: NonNegativeFloat = 6.0) -> None:
        super().__init__()
        self.decibels = decibels

    def draw(self, waveform: Tensor, generator: torch.Generator) -> Params:
        return {"gain": self.decibels * (2 * _uniform(1, waveform, generator)[0] - 1)}

    def transform(self, waveform: Tensor, length: Tensor, **params: Tensor) -> tuple[Tensor, Tensor]:
        return (waveform * 10 ** (params["gain"][:, None] / 20)).clamp(-1, 1), length


class Polarity(SoundOp):
    """Turns clips upside down with probability `p`: they sound alike."""

    def __init__(self, p: Fraction = 0.5) -> None:
        super().__init__()
        self.p = p

    def draw(self, waveform: Tensor, generator: torch.Generator) -> Params:
        return {"turned": _uniform(1, waveform, generator)[0] < self.p}

    def transform(self, waveform: Tensor, length: Tensor, **params: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(params["turned"][:, None], -waveform, waveform), length


class Noise(SoundOp):
    """Adds white noise at a ratio of signal to noise that is uniform between `low` and `high` decibels.

    Silence stays silent, and what is louder than 1 is clipped.
    """

    def __init__(self, low: float = 10.0, high: float = 40.0) -> None:
        super().__init__()
        self.low, self.high = low, high

    def draw(self, waveform: Tensor, generator: torch.Generator) -> Params:
        ratio = self.low + (self.high - self.low) * _uniform(1, waveform, generator)[0]
        return {"ratio": ratio, "noise": torch.randn(waveform.shape, generator=generator, device=waveform.device)}

    def transform(self, waveform: Tensor, length: Tensor, **params: Tensor) -> tuple[Tensor, Tensor]:
        power = waveform.square().sum(dim=1) / length
        noise = params["noise"] * (power * 10 ** (-params["ratio"] / 10)).sqrt()[:, None]
        return (waveform + noise * _inside(waveform, length)).clamp(-1, 1), length


class Waveforms(nn.Module):
    """Replaces `waveform` and `length` of a batch by what named `ops` make of them, one after the other.

    Without `ops`, and in evaluation mode, the batch stays as it is.
    """

    requires = ("waveform", "length")
    produces = ("waveform", "length")

    def __init__(self, **ops: SoundOp) -> None:
        super().__init__()
        self.ops = nn.ModuleDict(ops)

    def forward(self, batch: dict[str, Any], generator: torch.Generator) -> dict[str, Any]:
        waveform, length = batch["waveform"], batch["length"]
        for op in map(_op, self.ops.values()) if self.training else ():
            waveform, length = op.transform(waveform, length, **op.draw(waveform, generator))
        return {**batch, "waveform": waveform, "length": length}


def _op(module: nn.Module) -> SoundOp:
    return cast(SoundOp, module)


def _uniform(count: int, waveform: Tensor, generator: torch.Generator) -> Tensor:
    """(count, B) in [0, 1)."""
    return torch.rand(count, len(waveform), generator=generator, device=waveform.device)


def _inside(waveform: Tensor, length: Tensor) -> Tensor:
    """(B, S) bool: which samples are no padding."""
    return torch.arange(waveform.shape[1], device=waveform.device) < length[:, None]


def _moved(waveform: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """The `length` (B,) samples of each clip from `start` (B,) on, padded; what lies outside of the clip is silence."""
    source = torch.arange(waveform.shape[1], device=waveform.device) + start[:, None]
    there = (source >= 0) & (source < waveform.shape[1]) & _inside(waveform, length)
    return waveform.gather(1, source.clamp(0, waveform.shape[1] - 1)) * there
