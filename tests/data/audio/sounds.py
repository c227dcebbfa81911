"""Files of sound for tests."""

from pathlib import Path

import numpy as np
import soundfile


def tone(seconds: float, rate: int, hertz: float = 440.0, peak: float = 0.5) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write(file: Path, samples: np.ndarray | int = 100, rate: int = 8000, **options: str) -> Path:
    """A file of `samples` (n,) or (n, channels), or of a tone of so many."""
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, tone(samples / rate, rate) if isinstance(samples, int) else samples, rate, **options)
    return file


def truncate(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
