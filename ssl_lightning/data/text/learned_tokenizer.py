"""The tokenizer of a run: learned once from the training texts, stored in the run, read again from it."""

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from ssl_lightning.data.cache import cache_folder, cached_dir, digest, fill
from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.data.text.modality import TextModality
from ssl_lightning.data.text.tokenizers import Tokenizer, learns, load, pretrained
from ssl_lightning.errors import InputError

MAY_LACK = 5  # padding, unknown, [CLS], [SEP], [MASK]
LEARN_FROM = 2**28  # bytes of the training documents that a tokenizer is trained on; more add little to its merges


class LearnsTokenizer:
    """Mixed into a DataModule with texts, whose `text` has `make_tokenizer` to make its tokenizer.

    `tokenizer(texts)` is called with the training documents only, unless the cache has what it made of them before.
    """

    tokenizer: Callable[..., Tokenizer]
    cache: str | None
    text: TextModality

    def _training_texts(self) -> Corpus:
        raise NotImplementedError

    def store(self, folder: Path) -> None:
        """Saves the tokenizer, in the format of transformers, where it is not there yet."""
        if not (folder / "tokenizer").exists():
            fill(folder / "tokenizer", self.text.tokenizer.save)

    def restore(self, folder: Path) -> None:
        """Takes the tokenizer that ``store`` saved instead of the one that would be made."""
        if not (folder / "tokenizer").is_dir():
            raise InputError(f"the tokenizer of the run is not there: {folder / 'tokenizer'}")
        self.text.make = partial(load, folder / "tokenizer")

    def refuse_other_tokenizer(self, checkpoint: str | Path) -> None:
        try:
            theirs = pretrained((), str(checkpoint)).inner.get_vocab()
        except InputError:
            return  # it has none to compare
        ours = self.text.tokenizer.inner.get_vocab()
        moved = sum(theirs.get(text, number) != number for text, number in ours.items())
        missing = len(ours.keys() - theirs.keys())
        if moved or missing > MAY_LACK:
            raise InputError(
                f"{checkpoint} was trained with another tokenizer: {moved} tokens have other ids and {missing} are not"
                f" in it; take its own by tokenizer=pretrained data.tokenizer.name={checkpoint}"
            )

    def make_tokenizer(self) -> Tokenizer:
        """From the cache, by the training documents and what makes it: it has to be the same on every machine."""
        if not learns(self.tokenizer):
            return self.tokenizer(())
        training = self._training_texts().spread(LEARN_FROM)
        key = digest(version("tokenizers"), training.key, _described(self.tokenizer))
        home = cache_folder(self.cache) / "tokenizers" / key
        cached_dir(home, lambda folder: self.tokenizer(piece for _, piece in training.pieces()).save(folder))
        return load(home)


def _described(make: Callable[..., Tokenizer]) -> str:
    function, options = getattr(make, "func", make), getattr(make, "keywords", {})
    return f"{function.__module__}.{function.__qualname__} {sorted(options.items())}"
