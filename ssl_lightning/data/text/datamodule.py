"""Text for a run: any corpus, split by documents, tokenized once, in windows."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ssl_lightning.data.cache import cache_folder
from ssl_lightning.data.datamodule import DataModule
from ssl_lightning.data.splits import resolve_size
from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.data.text.dataset import TokenDataset
from ssl_lightning.data.text.learned_tokenizer import LearnsTokenizer
from ssl_lightning.data.text.modality import TextModality
from ssl_lightning.data.text.token_cache import tokenize_corpus
from ssl_lightning.data.text.tokenizers import Tokenizer
from ssl_lightning.errors import InputError
from ssl_lightning.ranges import AtLeastTwo, PositiveInt, Size
from ssl_lightning.transforms.text.masking import Tokens


@dataclass(eq=False, repr=False)
class TextDataModule(LearnsTokenizer, DataModule):
    """``tokens (B, length) int64``, ``document (B,)``, ``index (B,)`` and, where there are labels, ``label (B,)``.

    ``source(root=, split=)`` returns a ``Corpus``; "pretrain" is what is trained on. ``tokenizer(texts)`` makes a
    ``Tokenizer`` and is called with the training documents only, unless the cache has what it made of them before.

    ``val_size`` (count or fraction) of the documents are held out, fixed by ``split_seed`` and their bytes; of a
    single document, and of fewer than a fraction needs for one, the last bytes. Windows of ``length`` tokens lie inside
    documents, the shorter ones padded; those of the training part begin every ``stride`` tokens (None: ``length``),
    those held out tile their documents.

    Labels, for probes only, are those of ``source`` if it has them, or come from ``probe``, a second source of
    labeled texts with a "train" and a "test" split, of which ``probe_val_size`` is held out of "train". A probe sees
    the first ``length`` tokens of each text, one sample a text:

    - ``train``: training windows; ``val_windows``: those of the held-out documents, for the validation loss;
    - ``probe_train``, ``val``, ``test``: labeled texts; without labels None, ``val_windows`` and None.

    ``cache`` holds tokenizers and tokens (default $SSL_CACHE or ~/.cache/ssl-lightning). A ``transform`` of
    ``Tokens`` reads the tokenizer.
    """

    provides = ("tokens", "document", "index", "label")
    modality: TextModality = field(init=False)

    tokenizer: Callable[..., Tokenizer]
    _: KW_ONLY
    length: AtLeastTwo
    stride: PositiveInt | None = None
    probe: Callable[..., Corpus] | None = None
    probe_val_size: Size = 0.1
    cache: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride is not None and self.stride > self.length:
            raise InputError(f"data.stride={self.stride} skips text: give data.length={self.length} or less")
        self.modality = self.text = TextModality(self.make_tokenizer, self.length)
        self.val_windows: TokenDataset | None = None
        self.bytes_per_token = 0.0  # of the held-out documents, or all if none are; known after ``setup``
        self._texts: dict[str, Corpus] = {}

    @property
    def validation_set(self) -> TokenDataset | None:
        """The held-out windows."""
        return self.val_windows

    def texts(self, split: Literal["probe_train", "val", "test"]) -> list[str]:
        """The whole texts of the samples of a labeled split, in its order."""
        part = getattr(self, split)
        corpus = self._texts["test" if split == "test" else "train"]
        return [corpus.text(row) for row in part.groups]

    def prepare_data(self) -> None:
        """Trains the tokenizer and tokenizes, on one process of each machine, before the others read the result."""
        self._windows(self._corpus[0])
        if self.probe is not None:
            self._labeled("train")

    def setup(self, stage: str | None = None) -> None:
        """For the stage "test" the corpus may be gone, if `probe` has labeled texts; then there are no windows."""
        if self.train is not None:
            return
        if self.probe is not None:
            self._split_probe()
        try:
            self._split_corpus()
        except InputError:
            if stage != "test" or self.probe is None:
                raise
        if isinstance(self.transform, Tokens):
            self.transform.read(self.modality.tokenizer)

    def _split_corpus(self) -> None:
        corpus, held = self._corpus
        windows = self._windows(corpus)
        self.val_windows = windows.of_documents(held) if held.any() else None
        train = self._windows(corpus, self.stride).of_documents(~held)
        measured = held if held.any() else ~held
        self.bytes_per_token = float(corpus.sizes[measured].sum() / windows.of_documents(measured).token_count)
        if self.probe is None:
            self.val = self.val_windows
            if corpus.labels is not None:
                self._texts["train"] = corpus
                self.probe_train = windows.of_documents(~held).firsts()
                self.val = self.val_windows and self.val_windows.firsts()
        self.train = train.subset(self._fraction_of(np.arange(len(train))))

    @cached_property
    def _corpus(self) -> tuple[Corpus, np.ndarray]:
        """The corpus, and a mask (D,) bool of the documents that are held out."""
        corpus = self.source(root=self.root, split="pretrain")
        if len(corpus) == 1 or self.val_size * len(corpus) < 1:
            total = int(corpus.sizes.sum())
            last = resolve_size(self.val_size, total, "data.val_size")
            return corpus.cut(total - last if self.val_size >= 1 else int(total * (1 - self.val_size)))  # as nanoGPT
        return corpus, corpus.held_out(resolve_size(self.val_size, len(corpus), "data.val_size"), self.split_seed)

    def _training_texts(self) -> Corpus:
        corpus, held = self._corpus
        return corpus.subset(~held)

    def _windows(self, corpus: Corpus, stride: int | None = None) -> TokenDataset:
        tokenizer = self.modality.tokenizer
        tokens, offsets = tokenize_corpus(corpus, tokenizer, cache_folder(self.cache))
        known = {"labels": corpus.labels, "classes": corpus.classes}
        return TokenDataset(tokens, offsets, self.length, tokenizer.pad_id, stride=stride, **known)

    def _labeled(self, split: str) -> TokenDataset:
        """A split of the labeled source, one sample a text."""
        labeled = (self.probe or self.source)(root=self.root, split=split)
        if labeled.labels is None:
            raise InputError("data.probe has no labels: choose labeled_text, or callbacks=no_probe without it")
        self._texts[split] = labeled
        return self._windows(labeled).firsts()

    def _split_probe(self) -> None:
        texts, corpus = self._labeled("train"), self._texts["train"]
        count = resolve_size(self.probe_val_size, len(corpus), "data.probe_val_size")
        held = corpus.held_out(count, self.split_seed)[texts.groups]
        self.probe_train = texts.subset(np.flatnonzero(~held))
        self.val = texts.subset(np.flatnonzero(held)) if count else None

    def _open(self, split: str) -> Any:
        if split not in self._sets:
            if self.probe_train is None:
                raise InputError("there is no test set: the data has no labels")
            self._sets[split] = self._labeled(split)
        return self._sets[split]
