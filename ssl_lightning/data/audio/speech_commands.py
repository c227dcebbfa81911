"""Speech Commands: one-second recordings of single words by thousands of speakers.

Warden, 2018, https://arxiv.org/abs/1804.03209
"""

from pathlib import Path

import numpy as np

from ssl_lightning.data.audio.audio_folder import EXTENSIONS, clips
from ssl_lightning.data.audio.dataset import AudioDataset
from ssl_lightning.data.decoded import OnCorrupt
from ssl_lightning.data.folder import Files, list_files
from ssl_lightning.data.splits import numbered, require_split
from ssl_lightning.errors import told
from ssl_lightning.ranges import PositiveInt


def speech_commands(
    root: str,
    split: str,
    length: PositiveInt,
    sample_rate: PositiveInt = 16000,
    folder: str = "speech_commands",
    cache: str | None = None,
    on_corrupt: OnCorrupt = "skip",
) -> AudioDataset:
    """Split "pretrain" and "train" (the same) or "test" of `root/folder/WORD/SPEAKER_nohash_NUMBER.wav`.

    `testing_list.txt` names the test set, `validation_list.txt` what is held out for validation; `groups` are the
    speakers. Folders such as `_background_noise_` are not looked at.

    Raises:
        InputError: no files, or no such lists.
    """
    require_split(split, "speech_commands")
    place = Path(root).expanduser() / folder
    files = [file for file in list_files(place, EXTENSIONS, "sound") if not file.startswith("_")]
    labels, classes = numbered([Path(file).parts[0] for file in files])
    speakers, _ = numbered([Path(file).name.split("_nohash_")[0] for file in files])
    test, validation = (np.isin(files, _lines(place / f"{name}_list.txt")) for name in ("testing", "validation"))
    found = Files(place, files, labels, classes, speakers, test, validation)
    return clips(found, split, length, sample_rate, cache, on_corrupt).firsts()


def _lines(file: Path) -> list[str]:
    with told(f"{file}, which is a part of Speech Commands, cannot be read"):
        return file.read_text().split()
