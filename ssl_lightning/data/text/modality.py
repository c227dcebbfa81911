"""Text as commands and callbacks see it."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ssl_lightning.data.folder import label_files
from ssl_lightning.data.modality import Batch, Modality, RawControl, Samples, UserInput
from ssl_lightning.data.tables import is_table
from ssl_lightning.data.text.text_files import find_files, read_text, text_files
from ssl_lightning.data.text.tokenizers import Tokenizer
from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.protocol import Protocol
from ssl_lightning.evaluation.tfidf import tfidf_predict
from ssl_lightning.figures.images import texts_figure


class TextModality(Modality):
    """`tokens` (B, N) int64, padded at the end, N at most `length`.

    `make` makes the tokenizer, when it is first needed.
    """

    name = "text"
    key = "tokens"
    option = "text"
    raw_name = "TF-IDF"

    def __init__(self, make: Callable[[], Tokenizer], length: int) -> None:
        self.make, self.length = make, length

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return self.make()

    @property
    def facts(self) -> Mapping[str, Any]:
        return {name: getattr(self.tokenizer, name) for name in ("vocab_size", "pad_id", "cls_id", "sep_id")}

    def evaluation_view(self, batch: Batch) -> Batch:
        """The batch without the columns that are nothing but padding."""
        tokens = batch["tokens"]
        longest = int((tokens != self.tokenizer.pad_id).sum(dim=1).max())
        return {**batch, "tokens": tokens[:, : max(1, longest)]}

    def read_input(self, given: str, limit: int = 1) -> UserInput:
        """The tokens of one text: (1, N)."""
        tokens = torch.tensor([self.tokenizer.encode(given)], dtype=torch.long)
        return UserInput({"tokens": tokens, "index": torch.zeros(1, dtype=torch.long)}, [])

    def find_samples(self, given: str) -> Samples:
        """Files of plain text by their paths, class folders are labels; rows of tables by number and beginning."""
        place = Path(given).expanduser()
        corpus, files = text_files(str(place.parent), files=place.name), find_files(place.parent, place.name)
        labels = classes = None
        if is_table(files[0]):
            names = [f"{row}: {' '.join(text[:200].split())[:60]}" for row, text in enumerate(corpus.texts())]
        else:
            if len(files) > len(corpus):  # those of nothing but space are left out
                files = [file for file in files if read_text(file, "utf-8").strip()]
            home = place if place.is_dir() else place.parent
            names = [os.path.relpath(file, home) for file in files]
            labels, classes = label_files(names, names, home)
        return Samples(names, lambda rows: self.read_samples([corpus.text(row) for row in rows]), labels, classes)

    def draw(self, columns: Mapping[str, Tensor], names: Sequence[str] = ()) -> Figure:
        """What the tokens of each column (B, N) say."""
        pad = self.tokenizer.pad_id
        texts = {
            title: [self.tokenizer.decode(row[row != pad].tolist(), specials=True) for row in column.cpu()]
            for title, column in columns.items()
        }
        return texts_figure(texts, names)

    def read_samples(self, samples: Sequence[Any]) -> Batch:
        """Of texts: the first `length` tokens of each, as a probe sees them."""
        if not all(isinstance(text, str) for text in samples):
            raise InputError("the run reads texts: give a list of str")
        tokens = [torch.tensor(ids[: self.length], dtype=torch.long) for ids in self.tokenizer.encode_batch(samples)]
        return {"tokens": pad_sequence(tokens, batch_first=True, padding_value=self.tokenizer.pad_id)}

    def raw_control(self, data: Any, protocol: Protocol, device: torch.device) -> RawControl:
        """Logistic regression on the words of the whole texts."""
        texts, test_texts = data.texts("probe_train"), data.texts("test")
        labels, test_labels = torch.as_tensor(data.probe_train.labels), torch.as_tensor(data.test.labels)

        def figures(rows: Tensor, seed: int) -> dict[str, float]:
            predicted = tfidf_predict([texts[row] for row in rows], labels[rows], test_texts, seed)
            return protocol.judge("probe/linear_accuracy", predicted, test_labels)

        return self.raw_name, figures
