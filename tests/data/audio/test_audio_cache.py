import os
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soxr
from data.audio.sounds import tone, truncate, write

from ssl_lightning.data.audio import audio_cache
from ssl_lightning.data.audio.audio_cache import blocks, decode_sound, to_float, to_int16
from ssl_lightning.errors import InputError


def decoded(folder: Path, rate: int = 8000) -> tuple[list[np.ndarray], dict[str, str]]:
    """The recordings of a folder, in the order of their names, and why files could not be read, by name."""
    files = sorted(str(file.relative_to(folder)) for file in folder.iterdir())
    samples, offsets, corrupt = decode_sound(folder, files, rate, folder.parent / "cache")
    return [to_float(samples[a:b]) for a, b in pairwise(offsets)], {files[row]: why for row, why in corrupt.items()}


@pytest.mark.parametrize(("kind", "error"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.05), ("mp3", 0.05)])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_each_format_at_any_rate_is_the_tone_that_was_written(
    tmp_path: Path, kind: str, error: float, rate: int
) -> None:
    both = np.stack([tone(0.5, rate), np.zeros(rate // 2, np.float32)], axis=1)
    write(tmp_path / "set" / f"a.{kind}", 2 * both, rate)
    (found,), corrupt = decoded(tmp_path / "set")
    assert not corrupt
    assert len(found) == 4000
    inside = slice(400, -400)
    assert np.abs(found - tone(0.5, 8000))[inside].max() < error + 1e-3 * (rate != 8000)


def test_blocks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = np.random.default_rng(0).normal(size=44100).clip(-4, 4).astype(np.float32) / 5
    file = write(tmp_path / "a.wav", wave, 44100, subtype="FLOAT")
    monkeypatch.setattr(audio_cache, "BLOCK", 1000)
    np.testing.assert_allclose(np.concatenate(list(blocks(file, 16000))), soxr.resample(wave, 44100, 16000), atol=1e-5)
    beginning = np.concatenate(list(blocks(file, 16000, limit=5000)))
    assert 5000 <= len(beginning) < 6000


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    home = tmp_path / "set"
    write(home / "a_good.wav", 4000)
    write(home / "b_streamed.wav", 4000)
    header = bytearray((home / "b_streamed.wav").read_bytes())
    at = header.find(b"data") + 4
    header[at : at + 4] = b"\xff" * 4  # as a writer to a pipe announces what it does not know
    (home / "b_streamed.wav").write_bytes(header)
    (home / "c_empty.wav").touch()
    (home / "d_text.wav").write_text("no sound")
    write(home / "e_nothing.wav", 0)
    write(home / "f_nan.wav", np.array([0.0, np.nan, 0.0]), subtype="FLOAT")
    truncate(write(home / "g_half.wav", 4000))
    truncate(write(home / "h_half.flac", np.random.default_rng(0).normal(size=20000) / 9))
    truncate(write(home / "i_half.ogg", 40000))
    (home / "j_gone.wav").symlink_to(tmp_path / "nowhere")
    write(home / "k_slow.wav", 4000, 1)
    recordings, corrupt = decoded(home)
    assert [len(recording) for recording in recordings[:2]] == [4000, 4000]
    np.testing.assert_array_equal(*recordings[:2])
    assert [name[0] for name in corrupt] == list("cdefghijk")
    assert corrupt["k_slow.wav"] == "1 samples a second"
    assert corrupt["e_nothing.wav"] == "no samples"
    assert "not finite" in corrupt["f_nan.wav"]
    assert corrupt["g_half.wav"] == "truncated: 3978 of 8000 bytes"
    assert all("\n" not in reason for reason in corrupt.values())
    assert decoded(home)[1] == corrupt


def test_extremes_are_finite(tmp_path: Path) -> None:
    home = tmp_path / "set"
    write(home / "a_one.wav", np.array([0.5]), 16000)
    write(home / "b_silent.wav", np.zeros(800))
    write(home / "c_loud.wav", np.array([7.0, -7.0, 1.0, -1.0]), subtype="FLOAT")
    (one, silent, loud), corrupt = decoded(home)
    assert not corrupt
    assert len(one) == 1
    assert not silent.any()
    np.testing.assert_allclose(loud, [1, -1, 1, -1], atol=1e-4)


def test_an_hour_is_decoded_in_blocks(tmp_path: Path) -> None:
    write(tmp_path / "set" / "hour.wav", np.zeros(3600 * 8000, np.int16))
    tracemalloc.start()
    samples, offsets, corrupt = decode_sound(tmp_path / "set", ["hour.wav"], 4000, tmp_path / "cache")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(samples), offsets.tolist(), corrupt) == (3600 * 4000, [0, 3600 * 4000], {})
    assert peak < 65e6  # the hour twice in int16; in float32, as it is in the file: 115 MB


def test_the_cache_is_used_until_a_file_changes(tmp_path: Path) -> None:
    home = tmp_path / "set"
    write(home / "a.wav", 100)
    write(home / "b.wav", 200)

    def made() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").glob("*/values.bin")}

    decoded(home)
    first = made()
    decoded(home)
    assert len(first) == 1
    assert made() == first
    write(home / "a.wav", 150)
    os.utime(home / "a.wav", ns=(0, 1))
    assert [len(recording) for recording in decoded(home)[0]] == [150, 200]
    decoded(home, rate=4000)
    assert len(made()) == 3


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "set" / "a.wav")
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(
        InputError, match=r"sound needs the packages soundfile and soxr: pip install 'ssl-lightning\[audio\]'"
    ):
        decoded(tmp_path / "set")


def test_int16_and_back() -> None:
    samples = np.linspace(-1, 1, 1001).astype(np.float32)
    assert np.abs(to_float(to_int16(samples)) - samples).max() <= 2**-15
    assert to_int16(np.array([1.0, 5.0, -5.0])).tolist() == [32767, 32767, -32768]
