"""The sets with names: Free Spoken Digits, Speech Commands, and the embedded vowels."""

from collections import Counter
from pathlib import Path

import librosa
import numpy as np
import pytest
from data.audio.sounds import write

from ssl_lightning.data.audio import vowels as module
from ssl_lightning.data.audio.audio_cache import to_float
from ssl_lightning.data.audio.fsdd import fsdd
from ssl_lightning.data.audio.speech_commands import speech_commands
from ssl_lightning.data.audio.vowels import MEANS, pulses, speak, vowels
from ssl_lightning.errors import InputError

# Free Spoken Digits


@pytest.fixture
def spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two digits, three speakers, 11 recordings of each, as long as 100 times the digit and the number."""
    monkeypatch.setenv("SSL_CACHE", str(tmp_path / "cache"))
    for digit in "07":
        for speaker in ("ann", "bob", "cid"):
            for number in range(11):
                write(
                    tmp_path / "fsdd" / "recordings" / f"{digit}_{speaker}_{number}.wav", 100 * int(digit) + 10 + number
                )
    return tmp_path


def test_the_official_split_is_by_number(spoken: Path) -> None:
    train, test = (fsdd(str(spoken), split, length=720) for split in ("train", "test"))
    assert (len(train), len(test)) == (36, 30)
    assert train.classes == ["0", "7"]
    batch = test.__getitems__(range(30))
    assert sorted(set((batch["length"] % 100 - 10).tolist())) == [0, 1, 2, 3, 4]
    assert (batch["label"] == (batch["length"] > 700)).all()
    assert Counter(train.groups.tolist()) == {0: 12, 1: 12, 2: 12}
    assert Counter(train.groups[train.validation].tolist()) == {0: 10, 1: 10, 2: 10}
    assert len(fsdd(str(spoken), "train", length=100)) == 36  # each recording is one sample, of its beginning


def test_a_held_speaker_is_the_test_set(spoken: Path) -> None:
    train, test = (fsdd(str(spoken), split, length=720, held_speaker="bob") for split in ("train", "test"))
    assert (set(train.groups), set(test.groups)) == ({0, 2}, {1})
    assert (len(train), len(test)) == (44, 22)
    assert train.validation is None


def test_other_files_and_speakers_are_refused(spoken: Path) -> None:
    with pytest.raises(InputError, match="held_speaker=dan is none of the speakers ann, bob, cid"):
        fsdd(str(spoken), "train", length=720, held_speaker="dan")
    write(spoken / "fsdd" / "recordings" / "zero.wav")
    with pytest.raises(InputError, match=r"zero.wav is not named DIGIT_SPEAKER_NUMBER"):
        fsdd(str(spoken), "train", length=720)
    with pytest.raises(
        InputError, match=r"nowhere does not exist: data.root and data.source.folder must lead to a folder of sound"
    ):
        fsdd(str(spoken), "train", length=720, folder="nowhere")


# Speech Commands


def test_the_lists_tell_test_and_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CACHE", str(tmp_path / "cache"))
    home = tmp_path / "speech_commands"
    for word in ("yes", "no", "_background_noise_"):
        for speaker in "abc":
            write(home / word / f"{speaker}_nohash_0.wav", 160, 16000)
    with pytest.raises(
        InputError, match=r"testing_list.txt, which is a part of Speech Commands, cannot be read \(No such file"
    ):
        speech_commands(str(tmp_path), "train", length=200)
    (home / "testing_list.txt").write_text("yes/a_nohash_0.wav\nno/a_nohash_0.wav\n")
    (home / "validation_list.txt").write_text("yes/c_nohash_0.wav\n")
    train, test = (speech_commands(str(tmp_path), split, length=200) for split in ("train", "test"))
    assert train.classes == ["no", "yes"]
    assert (train.labels.tolist(), train.groups.tolist()) == ([0, 0, 1, 1], [1, 2, 1, 2])
    assert train.validation.tolist() == [False, False, False, True]
    assert (test.labels.tolist(), test.groups.tolist()) == ([0, 1], [0, 0])


# Vowels


def test_speakers_say_each_vowel() -> None:
    train, test = (vowels(split=split, speakers=4, utterances=2) for split in ("train", "test"))
    assert (len(train), len(test)) == (80, 20)
    assert np.bincount(train.labels).tolist() == [8] * 10
    assert Counter(train.groups.tolist()) == dict.fromkeys(range(4), 20)
    batch, other = train.__getitems__(range(20)), test.__getitems__(range(20))
    assert batch["waveform"].shape == (20, 4000)
    assert (batch["length"] >= 2400).all()
    assert batch["waveform"].abs().amax(dim=1).min() > 0.1
    assert not any(clip[length:].any() for clip, length in zip(batch["waveform"], batch["length"], strict=True))
    assert not np.allclose(batch["waveform"], other["waveform"])
    again = vowels(split="pretrain", speakers=4, utterances=2)
    assert (again.samples == train.samples).all()


def test_a_pulse_of_area_one_comes_with_each_turn() -> None:
    found = pulses(np.full((1, 8000), 100.3 / 8000))[0]
    assert found.sum() == pytest.approx(100, abs=1)
    places = np.flatnonzero(found > 1e-9)
    first = places[np.diff(places, prepend=-9) > 1]
    centers = [found[p : p + 2] @ [p, p + 1] for p in first]
    np.testing.assert_allclose(np.diff(centers), 8000 / 100.3, rtol=1e-3)


def test_the_formants_are_those_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear prediction of the vowels of men finds the resonances of the filter again."""
    monkeypatch.setattr(module, "SPREAD", np.zeros(4))
    monkeypatch.setattr(module, "OWN_SPREAD", np.zeros(4))
    monkeypatch.setattr(module, "MEANS", MEANS[:, [0, 0, 0]])
    labels = np.repeat(np.arange(10), 5)
    clips, _ = speak(labels, 4000, 8000, np.random.default_rng(0))
    errors = []
    for clip, formants in zip(clips, MEANS[labels, 0, 1:], strict=True):
        roots = np.roots(librosa.lpc(clip[500:2000], order=10))
        found = np.angle(roots[roots.imag > 0]) * 8000 / (2 * np.pi)
        errors.append([min(abs(np.log(found / formant))) for formant in formants])
    assert np.median(np.reshape(errors, (10, 5, 3)), axis=1).max() < 0.1


def test_samples_are_in_range() -> None:
    found = to_float(vowels(speakers=1, utterances=1).samples)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1
