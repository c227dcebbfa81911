"""A corpus tokenized once, in parallel processes, into memory-mapped shards that later runs open at once."""

import itertools
import json
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ssl_lightning.data.cache import byte_bar, digest, made_once
from ssl_lightning.data.text.corpus import Corpus, Piece
from ssl_lightning.data.text.tokenizers import Encoder, Tokenizer
from ssl_lightning.errors import InputError

VERSION = 1  # raise it when the same corpus and tokenizer give other tokens, so that old caches are not taken for new
SHARD = 2**30  # bytes of a shard, about
TASK = 2**20  # bytes that a process takes at a time
ALONE = 2**23  # a corpus below so many bytes is done before processes have started


class Shards:
    """Token files one behind the other, read like one array (T,): ``shards[positions]``, positions of any shape."""

    def __init__(self, files: list[Path], dtype: str) -> None:
        self.files, self.dtype = files, np.dtype(dtype)
        self.starts = np.cumsum([0, *(file.stat().st_size // self.dtype.itemsize for file in files)])
        self._maps: list[np.ndarray] = []

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": []}  # a process that gets a copy maps the files itself

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        if not self._maps:
            self._maps = [np.asarray(np.memmap(file, self.dtype, mode="r")) for file in self.files]
        if len(self._maps) == 1:
            return self._maps[0][positions]
        owner = np.searchsorted(self.starts, positions, side="right") - 1
        tokens = np.empty(positions.shape, self.dtype)
        for shard in np.unique(owner):
            here = owner == shard
            tokens[here] = self._maps[shard][positions[here] - self.starts[shard]]
        return tokens


@dataclass(frozen=True)
class Tokenized:
    """``tokens``: those of all documents; document d has ``tokens[offsets[d] : offsets[d + 1]]``, offsets (D + 1,).

    ``text_bytes`` (D,): the length of each document's text in UTF-8, whatever the encoding of its file.
    """

    tokens: Shards
    offsets: np.ndarray
    text_bytes: np.ndarray


def tokenized(corpus: Corpus, tokenizer: Tokenizer, cache: Path, workers: int | None = None) -> Tokenized:
    """All documents as tokens, from the cache if they are in it.

    Its key is made of the bytes of the documents, where each begins and ends, and the tokenizer: a corpus that was
    moved or copied finds its cache. ``workers``: processes, None for as many as there are cores.

    Raises InputError for bytes that are no text, for a damaged cache, and for one that cannot be written.
    """
    home = cache / "tokens" / digest(f"v{VERSION}", corpus.key, tokenizer.key)
    made_once(home, lambda folder: _build(folder, corpus, tokenizer, workers or _cores()))
    try:
        dtype = json.loads((home / "tokens.json").read_text())["dtype"]
        shards = Shards(sorted(home.glob("tokens-*.bin")), dtype)
        offsets, text_bytes = np.load(home / "offsets.npy"), np.load(home / "bytes.npy")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"the cache {home} is damaged ({error}): remove it, and it is made anew") from error
    if len(offsets) != len(corpus) + 1 or offsets[-1] != len(shards):
        raise InputError(f"the cache {home} is damaged (tokens are missing): remove it, and it is made anew")
    return Tokenized(shards, offsets, text_bytes)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _build(folder: Path, corpus: Corpus, tokenizer: Tokenizer, workers: int) -> None:
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    counts, text_bytes = np.zeros(len(corpus), np.int64), np.zeros(len(corpus), np.int64)
    total = int(corpus.sizes.sum())
    work = _alone if workers == 1 or total < ALONE else _in_processes
    with _ShardWriter(folder) as shards, byte_bar("tokenizing", total) as advance:
        for pieces, result in work(_tasks(corpus), tokenizer.encoder, workers):
            shards.write(result.tokens.astype(dtype))
            documents = np.array([piece.document for piece in pieces])
            np.add.at(counts, documents, result.counts)
            np.add.at(text_bytes, documents, result.text_bytes)
            advance(sum(piece.end - piece.start for piece in pieces))
    np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(counts)]))
    np.save(folder / "bytes.npy", text_bytes)
    (folder / "tokens.json").write_text(json.dumps({"dtype": dtype.name}))


class _ShardWriter:
    """Appends to ``tokens-00000.bin``, and to the next file when one is full."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = itertools.count()
        self.stream: BinaryIO | None = None

    def __enter__(self) -> "_ShardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self.stream is not None:
            self.stream.close()

    def write(self, tokens: np.ndarray) -> None:
        if not len(tokens):
            return
        if self.stream is None or self.stream.tell() >= SHARD:
            self.__exit__()
            self.stream = (self.folder / f"tokens-{next(self.names):05}.bin").open("wb")
        self.stream.write(tokens.tobytes())


@dataclass(frozen=True)
class _Result:
    """Tokens of some pieces, one behind the other; ``counts`` and ``text_bytes``: of each piece."""

    tokens: np.ndarray
    counts: np.ndarray
    text_bytes: np.ndarray


def _tasks(corpus: Corpus) -> Iterator[list[Piece]]:
    """Neighboring pieces, about ``TASK`` bytes together."""
    pieces: list[Piece] = []
    size = 0
    for piece in corpus.pieces():
        pieces.append(piece)
        size += piece.end - piece.start
        if size >= TASK:
            yield pieces
            pieces, size = [], 0
    if pieces:
        yield pieces


def _encode(pieces: list[Piece], encoder: Encoder) -> _Result:
    texts = [piece.text() for piece in pieces]
    found = encoder(texts)
    return _Result(
        np.array(list(itertools.chain.from_iterable(found)), dtype=np.uint32),
        np.array([len(ids) for ids in found]),
        np.array([len(text.encode()) for text in texts]),
    )


def _alone(tasks: Iterator[list[Piece]], encoder: Encoder, workers: int) -> Iterator[tuple[list[Piece], _Result]]:
    for pieces in tasks:
        yield pieces, _encode(pieces, encoder)


_of_this_process: list[Encoder] = []


def _begin(encoder: Encoder) -> None:
    os.environ["RAYON_NUM_THREADS"] = "1"  # the processes are the parallelism
    _of_this_process.append(encoder)


def _work(pieces: list[Piece]) -> _Result:
    return _encode(pieces, _of_this_process[0])


def _in_processes(
    tasks: Iterator[list[Piece]], encoder: Encoder, workers: int
) -> Iterator[tuple[list[Piece], _Result]]:
    """In the order of the tasks, at most a few of them read ahead.

    Processes are spawned: a fork of one that has threads (torch's, the tokenizer's) may hang.
    """
    waiting: deque[tuple[list[Piece], Future[_Result]]] = deque()
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (encoder,)) as pool:
        try:
            for pieces in tasks:
                waiting.append((pieces, pool.submit(_work, pieces)))
                if len(waiting) > 3 * workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a process that tokenizes was ended from outside (out of memory?): try data.workers=1"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
