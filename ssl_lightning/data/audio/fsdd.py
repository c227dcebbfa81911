"""Free Spoken Digit Dataset: 3,000 recordings at 8 kHz of ten digits by six speakers.

Jackson et al., 2018, https://doi.org/10.5281/zenodo.1342401, under CC BY-SA 4.0.
"""

import re
from pathlib import Path

import numpy as np

from ssl_lightning.data.audio.audio_folder import EXTENSIONS, clips
from ssl_lightning.data.audio.dataset import AudioDataset
from ssl_lightning.data.decoded import OnCorrupt
from ssl_lightning.data.folder import Files, list_files
from ssl_lightning.data.splits import numbered, require_split
from ssl_lightning.errors import InputError
from ssl_lightning.ranges import PositiveInt

TEST, VALIDATION = 5, 10
"""Of the 50 recordings of a digit by a speaker, those before the fifth are the test set; the next five validate."""


def fsdd(
    root: str,
    split: str,
    length: PositiveInt,
    sample_rate: PositiveInt = 8000,
    folder: str = "fsdd/recordings",
    held_speaker: str | None = None,
    cache: str | None = None,
    on_corrupt: OnCorrupt = "skip",
) -> AudioDataset:
    """Split "pretrain" and "train" (the same) or "test" of `root/folder/DIGIT_SPEAKER_NUMBER.wav`, ten classes.

    The official split has all speakers on both sides; with `held_speaker` all recordings of that one are the test set,
    and validation holds out a speaker, too. `groups` are the speakers. Of a recording the first `length` samples are
    taken, so that each is one sample.

    Raises:
        InputError: no files, files with other names, or no such speaker.
    """
    require_split(split, "fsdd")
    place = Path(root).expanduser() / folder
    files = list_files(place, EXTENSIONS, "sound")
    names = [re.fullmatch(r"(\d)_([^_]+)_(\d+)", Path(file).stem) for file in files]
    if None in names:
        raise InputError(f"{place / files[names.index(None)]} is not named DIGIT_SPEAKER_NUMBER")
    digits, speakers, numbers = zip(*(name.groups() for name in names if name), strict=True)
    number, (labels, classes), (groups, known) = np.array(numbers, int), numbered(digits), numbered(speakers)
    found = Files(place, files, labels, classes, groups)
    if held_speaker is None:
        found.test, found.validation = number < TEST, (number >= TEST) & (number < VALIDATION)
    elif held_speaker in known:
        found.test = groups == known.index(held_speaker)
    else:
        raise InputError(f"data.source.held_speaker={held_speaker} is none of the speakers {', '.join(known)}")
    return clips(found, split, length, sample_rate, cache, on_corrupt).firsts()
