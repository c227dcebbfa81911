from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from data.audio.sounds import tone, write
from distributed.harness import run
from torch.nn import functional as F

from ssl_lightning.data.audio.audio_folder import audio_folder
from ssl_lightning.data.audio.datamodule import AudioData
from ssl_lightning.data.audio.dataset import AudioDataset
from ssl_lightning.data.audio.modality import AudioModality
from ssl_lightning.data.audio.vowels import vowels
from ssl_lightning.data.sampler import BatchSampler
from ssl_lightning.distributed import rank, world_size
from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.protocol import PROTOCOLS
from ssl_lightning.transforms.audio import Gain, Waveforms


def few_vowels(root: str, split: str) -> AudioDataset:
    return vowels(root, split, length=2000, speakers=8, utterances=1)


def made(source: Callable[..., AudioDataset] = few_vowels, root: str = "", **settings) -> AudioData:
    data = AudioData(source, root, Waveforms(), **{"length": 2000, "sample_rate": 8000, "batch_size": 16, **settings})
    data.prepare_data()
    data.setup()
    return data


# The set


def test_clips_tile_recordings() -> None:
    samples = np.arange(1, 36, dtype=np.int16)
    offsets = np.array([0, 10, 10, 25, 35])
    clips = AudioDataset(samples, offsets, 8, labels=np.array([3, 9, 5, 4]), groups=np.array([7, 0, 8, 7]))
    batch = clips.__getitems__(range(6))
    assert batch["length"].tolist() == [8, 2, 8, 7, 8, 2]
    assert batch["label"].tolist() == [3, 3, 5, 5, 4, 4]
    assert batch["index"].tolist() == list(range(6))
    assert clips.groups.tolist() == [7, 7, 8, 8, 7, 7]
    inside = torch.arange(8) < batch["length"][:, None]
    assert (batch["waveform"][inside] * 2**15).tolist() == list(range(1, 36))
    assert not batch["waveform"][~inside].any()
    assert clips.firsts().__getitems__([0, 1, 2])["index"].tolist() == [0, 2, 4]
    assert clips.of_documents(np.array([True, False, False, True])).groups.tolist() == [7] * 4


# Splits


def test_no_speaker_is_on_both_sides() -> None:
    data = made(val_size=0.25)
    assert (len(data.train), len(data.probe_train), len(data.val), len(data.test)) == (60, 60, 20, 20)
    assert not set(data.train.groups) & set(data.val.groups)
    assert data.groups("val").tolist() == data.val.groups.tolist()
    data.val = data.val.subset(np.flatnonzero(data.val.groups == data.val.groups[0]))
    assert data.groups("val") is None  # a single speaker's clips are no copies of one original
    assert data.num_classes == 10


def test_what_the_set_holds_out_is_the_validation_set_unless_none_is_wanted() -> None:
    def source(root: str, split: str) -> AudioDataset:
        held = np.arange(10) % 3 == 0
        return AudioDataset(np.zeros(1000, np.int16), np.arange(0, 1001, 100), 2000, validation=held)

    data = made(source, val_size=0.5, batch_size=2)
    assert data.val.__getitems__(range(len(data.val)))["index"].tolist() == [0, 3, 6, 9]
    assert len(data.train) == 6
    assert len(made(source, val_size=0, batch_size=2).train) == 10


def test_another_length_is_refused() -> None:
    with pytest.raises(InputError, match=r"data.length=3000, but the clips have 2000 samples"):
        made(length=3000)


# Batches


def test_batches_have_the_keys_that_are_promised() -> None:
    data = made(val_size=0.25)
    batch = next(iter(data.features_loader("probe_train")))
    assert set(batch) == set(AudioData.provides)
    assert (batch["waveform"].dtype, batch["waveform"].shape) == (torch.float32, (16, 2000))
    assert (batch["length"].dtype, batch["label"].dtype) == (torch.int64, torch.int64)
    view = data.modality.evaluation_view(batch)
    assert view.keys() == batch.keys()
    assert view["waveform"].equal(batch["waveform"])
    assert data.modality.facts == {"sample_rate": 8000}


def test_augmentation_is_a_function_of_its_seed() -> None:
    data = AudioData(few_vowels, "", Waveforms(gain=Gain()), length=2000, sample_rate=8000, batch_size=16)
    batch = few_vowels("", "train").__getitems__(range(4))
    first, other, again = (data.augment(batch, seed)["waveform"] for seed in (1, 2, 1))
    assert first.equal(again)
    assert not first.equal(other)


def batches_of_rank(root: str, cache: str) -> list[dict[str, torch.Tensor]]:
    """One epoch of this process, which decodes the files unless the other one does."""
    source = partial(audio_folder, length=90, sample_rate=8000, folder="set", cache=cache)
    data = made(source, root, length=90, batch_size=6)
    return list(data._loader(data.train, BatchSampler(len(data.train), 6, rank(), world_size(), seed=3)))


def test_two_processes_read_what_one_reads_in_clips_of_one_width(tmp_path: Path) -> None:
    for number in range(14):
        write(tmp_path / "set" / "train" / f"{number}.wav", 20 + 5 * number)
    write(tmp_path / "set" / "test" / "0.wav")
    ranks = run(batches_of_rank, str(tmp_path), str(tmp_path / "cache"))
    alone = batches_of_rank(str(tmp_path), str(tmp_path / "other"))
    assert len(list((tmp_path / "cache").glob("*/values.bin"))) == 1
    assert [len(part) for part in ranks] == [2, 2]
    for whole, *parts in zip(alone, *ranks, strict=True):
        for key, value in whole.items():
            assert torch.cat([part[key] for part in parts]).equal(value)


# What a user gives


@pytest.fixture
def modality() -> AudioModality:
    return AudioModality(8000, 2000)


def test_input_is_read_as_a_probe_sees_it(tmp_path: Path, modality: AudioModality) -> None:
    stereo = np.stack([tone(0.2, 16000), np.zeros(3200, np.float32)], axis=1)
    write(tmp_path / "v/train/clip_10.flac", stereo, 16000)
    write(tmp_path / "v/train/clip_9.wav", 9000)
    write(tmp_path / "v/test/a.wav")
    given = modality.read_input(str(tmp_path / "v/train"), 2)
    assert [file.name for file in given.files] == ["clip_9.wav", "clip_10.flac"]
    assert given.batch["length"].tolist() == [2000, 1600]
    assert given.batch["waveform"].shape == (2, 2000)
    stored = audio_folder(str(tmp_path / "v"), "train", 2000, 8000, cache=str(tmp_path / "cache")).firsts()
    assert given.batch["waveform"].flip(0).equal(stored.__getitems__([0, 1])["waveform"])
    assert modality.read_input(str(tmp_path / "v/train"), 1).left_out == 1
    assert modality.read_input(str(tmp_path / "v/test/a.wav"), 8).batch["length"].tolist() == [100]


def test_samples_are_arrays_or_files(tmp_path: Path, modality: AudioModality) -> None:
    file = write(tmp_path / "a.wav", 300)
    batch = modality.read_samples([np.full(50, 0.5), torch.ones(3000), file, str(file)])
    assert batch["length"].tolist() == [50, 2000, 300, 300]
    assert batch["waveform"][0].sum() == 25
    assert modality.evaluation_view({"waveform": torch.zeros(2, 70)})["length"].tolist() == [70, 70]


@pytest.mark.parametrize(
    ("given", "message"), [("nothing", "there is no audio and no folder at"), ("text.wav", "cannot be read as sound")]
)
def test_what_is_no_sound_is_refused(tmp_path: Path, modality: AudioModality, given: str, message: str) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(InputError, match=message) as caught:
        modality.read_input(str(tmp_path / given), 8)
    assert "\n" not in str(caught.value)


def test_samples_that_are_no_sound_are_refused(tmp_path: Path, modality: AudioModality) -> None:
    for given in (np.zeros((2, 9)), torch.zeros(0), object(), write(tmp_path / "empty.wav", 0)):
        with pytest.raises(InputError, match="cannot be read as sound") as caught:
            modality.read_samples([given])
        assert "\n" not in str(caught.value)


# The control and the pictures


def test_the_control_is_a_probe_on_mfcc_segment_means() -> None:
    data = made(val_size=0)
    name, figures = data.modality.raw_control(data, PROTOCOLS["v1"], torch.device("cpu"))
    assert name == "MFCC segment means"
    numbers = data.modality._numbers(data.train.__getitems__([3, 4]))
    assert numbers.shape == (2, 20 * 10)
    clip = data.train.__getitems__([4])
    mfcc = data.modality.mfcc(clip["waveform"][:, : int(clip["length"])])[0]
    expected = torch.cat([mfcc.mean(1)[:, None], F.adaptive_avg_pool1d(mfcc, 8), mfcc.std(1, correction=0)[:, None]], 1)
    torch.testing.assert_close(numbers[1], expected.flatten(), atol=1e-3, rtol=1e-3)
    assert figures(torch.arange(len(data.probe_train)), 0)["probe/linear_accuracy"] > 0.3


def test_silence_and_single_samples_have_a_control(modality: AudioModality) -> None:
    batch = modality.read_samples([np.zeros(50), np.ones(1)])
    assert modality._numbers(batch).isfinite().all()


def test_columns_are_drawn(tmp_path: Path, modality: AudioModality) -> None:
    clips = few_vowels("", "train").__getitems__([0, 3])["waveform"]
    columns = {"clip": clips, "codes": torch.arange(24.0).view(2, 12), "features": torch.randn(2, 12, 5)}
    figure = modality.draw(columns, ["a", "b"])
    figure.savefig(tmp_path / "figure.png", dpi=40)
    pictures = [place.images[0].get_array().shape for place in figure.get_axes() if place.images]
    assert sorted(pictures) == [(1, 12), (1, 12), (5, 12), (5, 12), (40, 26), (40, 26)]
    lines = {place.images[0].get_array().shape: len(place.lines) for place in figure.get_axes()}
    assert lines == {(1, 12): 0, (5, 12): 0, (40, 26): 1}
