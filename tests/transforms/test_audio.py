"""Each change of sound against a loop over clips and samples."""

import math

import pytest
import torch
from torch import Tensor, nn

from ssl_lightning.transforms.audio import Gain, Noise, Polarity, RandomCrop, TimeShift, Waveforms

S = 50
LENGTH = torch.tensor([50, 31, 1, 20, 7])


def batch() -> dict[str, Tensor]:
    waveform = torch.rand(5, S, generator=torch.Generator().manual_seed(0)) * 2 - 1
    waveform[3] = 0  # silence
    return {"waveform": waveform * (torch.arange(S) < LENGTH[:, None]), "length": LENGTH, "index": torch.arange(5)}


def applied(change: nn.Module, seed: int) -> tuple[Tensor, Tensor]:
    return change(batch()["waveform"], LENGTH, torch.Generator().manual_seed(seed))


def uniform(seed: int, *shape: int) -> Tensor:
    """What a change draws first."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(5))
def test_crop(seed: int) -> None:
    (found, length), (share, place) = applied(RandomCrop(0.4), seed), uniform(seed, 2, 5)
    for row, clip in enumerate(batch()["waveform"]):
        n = int(LENGTH[row])
        kept = math.ceil((0.4 + 0.6 * float(share[row])) * n)
        start = int(float(place[row]) * (n - kept + 1))
        assert length[row] == kept
        assert found[row, :kept].equal(clip[start : start + kept])
        assert not found[row, kept:].any()


def test_a_crop_may_lie_anywhere() -> None:
    clip = torch.arange(1.0, 9.0).expand(4000, 8)
    found, length = RandomCrop(0.5)(clip, torch.full((4000,), 8), torch.Generator().manual_seed(0))
    assert set(length.tolist()) == {5, 6, 7, 8}
    assert set(found[length == 5, 0].tolist()) == {1, 2, 3, 4}


@pytest.mark.parametrize("seed", range(5))
def test_shift(seed: int) -> None:
    (found, length), share = applied(TimeShift(0.5), seed), 0.5 * (2 * uniform(seed, 5) - 1)
    assert length.equal(LENGTH)
    for row, clip in enumerate(batch()["waveform"]):
        n = int(LENGTH[row])
        by = round(float(share[row]) * n)
        expected = [clip[t - by] if t < n and 0 <= t - by < n else torch.tensor(0.0) for t in range(S)]
        assert found[row].equal(torch.stack(expected))


def test_gain() -> None:
    (found, _), gain = applied(Gain(20.0), 3), 20 * (2 * uniform(3, 5) - 1)
    for row, clip in enumerate(batch()["waveform"]):
        expected = [max(-1.0, min(1.0, float(sample) * 10 ** (float(gain[row]) / 20))) for sample in clip]
        torch.testing.assert_close(found[row], torch.tensor(expected))


def test_polarity() -> None:
    (found, _), turned = applied(Polarity(0.5), 0), uniform(0, 5) < 0.5
    assert 0 < turned.sum() < 5
    for row, clip in enumerate(batch()["waveform"]):
        assert found[row].equal(-clip if turned[row] else clip)


def test_noise_has_the_ratio_that_was_drawn() -> None:
    wave, length = torch.zeros(2, 200_000), torch.tensor([200_000, 100_000])
    wave[0], wave[1, :100_000] = 0.1 * torch.sin(torch.arange(200_000) / 7), 0.01
    found, _ = Noise(5.0, 15.0)(wave, length, torch.Generator().manual_seed(0))
    for row, n in enumerate(length.tolist()):
        noise = (found - wave)[row, :n]
        ratio = 10 * torch.log10(wave[row, :n].square().mean() / noise.square().mean())
        assert abs(ratio - (5 + 10 * uniform(0, 2)[row])) < 0.1
        assert not found[row, n:].any()
    assert not applied(Noise(), 0)[0][3].any()  # silence


def everything() -> Waveforms:
    return Waveforms(crop=RandomCrop(), shift=TimeShift(), gain=Gain(), polarity=Polarity(), noise=Noise())


def test_all_together_keep_padding_range_and_keys() -> None:
    given = batch()
    made = everything()(given, torch.Generator().manual_seed(0))
    assert made.keys() == given.keys()
    assert made["waveform"].shape == (5, S)
    assert made["waveform"].isfinite().all()
    assert made["waveform"].abs().max() <= 1
    assert (made["length"] >= 1).all()
    assert not made["waveform"][torch.arange(S) >= made["length"][:, None]].any()
    assert given["waveform"].equal(batch()["waveform"])


def test_nothing_changes_in_evaluation_or_without_changes() -> None:
    given, generator = batch(), torch.Generator().manual_seed(0)
    for transform in (everything().eval(), Waveforms()):
        made = transform(given, generator)
        assert made["waveform"].equal(given["waveform"])
        assert made["length"].equal(LENGTH)
