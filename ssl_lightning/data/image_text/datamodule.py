"""Image-text pairs for a run: images as in any run on images, and captions, tokenized once."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from ssl_lightning.data.cache import cache_folder
from ssl_lightning.data.image.datamodule import ImageDataModule
from ssl_lightning.data.image_text.modality import ImageTextModality
from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.data.text.learned_tokenizer import LearnsTokenizer
from ssl_lightning.data.text.modality import TextModality
from ssl_lightning.data.text.tokenizers import Tokenizer
from ssl_lightning.ranges import AtLeastTwo


@dataclass(eq=False, repr=False)
class ImageTextDataModule(LearnsTokenizer, ImageDataModule):
    """`image (B, C, H, W) uint8`, `tokens (B, length) int64`, `index (B,)` and, with labels, `label (B,)`.

    `source(root=, split=)` returns a `PairDataset`. Where images have several captions, `captions (B, M, length)` and
    `caption_count (B,)` hold all, and `transforms.image_text.ImageText` draws one as `tokens`.

    `tokenizer(texts)` makes a `Tokenizer` of the captions of the training set; a caption is cut after `length` tokens.
    Zero-shot classification, if there are labels, names a class in each of `prompts`, at their "{}", by one of
    `class_names` (None: those of the source). `cache` holds tokenizers and tokens.
    """

    provides = ("image", "tokens", "index", "label")

    tokenizer: Callable[..., Tokenizer]
    _: KW_ONLY
    length: AtLeastTwo = 32
    prompts: Sequence[str] = ("{}",)
    class_names: Sequence[str] | None = None
    cache: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.text = TextModality(self.make_tokenizer, self.length)
        self.modality = ImageTextModality(self.modality, self.text)

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        self._tokenized(self._open("pretrain"))

    def _open(self, split: str) -> Any:
        pairs = super()._open("pretrain" if split == "train" else split)
        return self._tokenized(pairs) if split == "test" else pairs

    def _tokenized(self, pairs: Any) -> Any:
        if not hasattr(pairs.captions, "tokens"):
            pairs.captions.tokenize(self.text.tokenizer, self.length, cache_folder(self.cache))
        return pairs

    def _training_texts(self) -> Corpus:
        super().setup()
        pairs = self._open("pretrain")
        rows = np.setdiff1d(pairs.rows, [] if self.val is None else self.val.rows)
        return pairs.captions.corpus.subset(pairs.captions.of(rows))
