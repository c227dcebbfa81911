"""Sound for a run: any source of clips, split, batched and transformed."""

from dataclasses import KW_ONLY, dataclass, field

from ssl_lightning.data.audio.modality import AudioModality
from ssl_lightning.data.datamodule import DataModule
from ssl_lightning.errors import InputError
from ssl_lightning.ranges import PositiveInt


@dataclass(eq=False, repr=False)
class AudioData(DataModule):
    """`waveform (B, length) float32` in [-1, 1], `length (B,)`, `index (B,)` and, where there are labels, `label (B,)`.

    `length`: samples of a clip; those behind the `length` of a batch's row are padding, and 0. `sample_rate`: samples
    a second. `source` is asked for both, too.
    """

    provides = ("waveform", "length", "index", "label")
    modality: AudioModality = field(init=False)

    _: KW_ONLY
    length: PositiveInt
    sample_rate: PositiveInt

    def __post_init__(self) -> None:
        super().__post_init__()
        self.modality = AudioModality(self.sample_rate, self.length)

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if self.train.length != self.length:
            raise InputError(f"data.length={self.length}, but the clips have {self.train.length} samples")
