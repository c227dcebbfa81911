"""Random changes of sound on whole batches, with parameters of their own for each clip.

A change takes clips (B, S) float32 in [-1, 1], of which the first `length` (B,) samples are no padding, and a
generator, and returns clips and lengths. Padding stays 0.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.ranges import Fraction, NonNegativeFloat, PositiveFraction


class RandomCrop(nn.Module):
    """A random part of each clip, of a length uniform between a fraction `shortest` and all of it, at any place."""

    def __init__(self, shortest: PositiveFraction = 0.5) -> None:
        super().__init__()
        self.shortest = shortest

    def forward(self, waveform: Tensor, length: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        share, place = _uniform(2, waveform, generator)
        kept = ((self.shortest + (1 - self.shortest) * share) * length).ceil().long().minimum(length)
        start = (place * (length - kept + 1)).long().minimum(length - kept)
        return _part(waveform, start, kept), kept


class TimeShift(nn.Module):
    """Moves each clip within its length by up to a fraction `reach` of it, either way; silence follows."""

    def __init__(self, reach: Fraction = 0.1) -> None:
        super().__init__()
        self.reach = reach

    def forward(self, waveform: Tensor, length: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        share = self.reach * (1 - 2 * _uniform(1, waveform, generator)[0])
        return _part(waveform, (share * length).round().long(), length), length


class Gain(nn.Module):
    """Makes each clip up to `decibels` louder or softer; what is louder than 1 is clipped."""

    def __init__(self, decibels: NonNegativeFloat = 6.0) -> None:
        super().__init__()
        self.decibels = decibels

    def forward(self, waveform: Tensor, length: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        gain = self.decibels * (2 * _uniform(1, waveform, generator).T - 1)
        return (waveform * 10 ** (gain / 20)).clamp(-1, 1), length


class Polarity(nn.Module):
    """Turns clips upside down with probability `p`: they sound alike."""

    def __init__(self, p: Fraction = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, waveform: Tensor, length: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        turned = _uniform(1, waveform, generator).lt(self.p).T
        return torch.where(turned, -waveform, waveform), length


class Noise(nn.Module):
    """Adds white noise at a ratio of signal to noise that is uniform between `low` and `high` decibels.

    Silence stays silent, and what is louder than 1 is clipped.
    """

    def __init__(self, low: float = 10.0, high: float = 40.0) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, waveform: Tensor, length: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        ratio = self.low + (self.high - self.low) * _uniform(1, waveform, generator).T  # (B, 1)
        power = waveform.square().sum(dim=1, keepdim=True) / length[:, None]
        noise = torch.randn(waveform.shape, generator=generator, device=waveform.device) * _inside(waveform, length)
        return (waveform + noise * (power * 10 ** (-ratio / 10)).sqrt()).clamp(-1, 1), length


class Waveforms(nn.Module):
    """Replaces `waveform` and `length` of a batch by what named `changes` make of them, one after the other.

    Without `changes`, and in evaluation mode, the batch stays as it is.
    """

    requires = ("waveform", "length")
    produces = ("waveform", "length")

    def __init__(self, **changes: nn.Module) -> None:
        super().__init__()
        self.changes = nn.ModuleDict(changes)

    def forward(self, batch: dict[str, Any], generator: torch.Generator) -> dict[str, Any]:
        waveform, length = batch["waveform"], batch["length"]
        for change in self.changes.values() if self.training else ():
            waveform, length = change(waveform, length, generator)
        return {**batch, "waveform": waveform, "length": length}


def _uniform(count: int, waveform: Tensor, generator: torch.Generator) -> Tensor:
    """(count, B) in [0, 1)."""
    return torch.rand(count, len(waveform), generator=generator, device=waveform.device)


def _inside(waveform: Tensor, length: Tensor) -> Tensor:
    """(B, S) bool: which samples are no padding."""
    return torch.arange(waveform.shape[1], device=waveform.device) < length[:, None]


def _part(waveform: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """The `length` (B,) samples of each clip from `start` (B,) on, padded; what lies outside of the clip is silence."""
    source = torch.arange(waveform.shape[1], device=waveform.device) + start[:, None]
    there = (source >= 0) & (source < waveform.shape[1]) & _inside(waveform, length)
    return waveform.gather(1, source.clamp(0, waveform.shape[1] - 1)) * there
