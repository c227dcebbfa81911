"""A set of token windows over one long array: a batch is one index operation."""

from typing import Any

import numpy as np
import torch

from ssl_lightning.data.windows import WindowDataset


def windows(tokens: np.ndarray, start: np.ndarray, size: np.ndarray, length: int, pad_id: int) -> np.ndarray:
    """The `size` (...) tokens from `start` (...) on, filled up with `pad_id`: (..., length) int64."""
    columns = np.arange(length)
    padded = columns >= size[..., None]
    found = tokens[np.where(padded, 0, columns) + start[..., None]].astype(np.int64)
    found[padded] = pad_id
    return found


class TokenDataset(WindowDataset):
    """Windows (W, length) of the tokens of documents, as those of `WindowDataset`. `groups`: the documents.

    Args:
        tokens: (T,) integers in memory or memory-mapped, all documents one after the other.
        pad_id: what a window lacks at the end of its document is filled with it.
        offsets, length, options: as those of `WindowDataset`.
    """

    def __init__(self, tokens: np.ndarray, offsets: np.ndarray, length: int, pad_id: int, **options: Any) -> None:
        super().__init__(offsets, length, **options)
        self.tokens, self.pad_id = tokens, pad_id

    @property
    def token_count(self) -> int:
        """Tokens in the windows of this subset, without padding."""
        return int(self.places(self.rows)[2].sum())

    def read(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        document, start, size = self.places(rows)
        tokens = windows(self.tokens, start, size, self.length, self.pad_id)
        return {"tokens": torch.from_numpy(tokens), "document": torch.from_numpy(document)}
