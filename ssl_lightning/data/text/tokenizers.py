"""Text to token ids and back: bytes, characters, BPE and WordPiece trained on the corpus, or any of transformers.

BPE: Sennrich et al., 2016, https://arxiv.org/abs/1508.07909, on bytes as in GPT-2 (Radford et al., 2019). WordPiece:
Schuster and Nakajima, 2012, with BERT's normalization (Devlin et al., 2018, https://arxiv.org/abs/1810.04805).
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_lightning.data.cache import digest
from ssl_lightning.data.text.spelling import BYTES, begins_word, byte_level, metaspace, text_bytes
from ssl_lightning.errors import InputError

if TYPE_CHECKING:
    import torch

SPECIALS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ALPHABET = 1000  # characters that WordPiece keeps, the most frequent ones; the others are [UNK]


class Encoder:
    """Texts to lists of ids, no special ones added; special tokens that stand in a text are text like any other.

    ``inner``: the JSON of a ``tokenizers`` tokenizer, or a transformers tokenizer that is written in Python. Goes to
    another process without torch.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    @cached_property
    def _fast(self) -> Any:
        from tokenizers import Tokenizer as Fast

        made = Fast.from_str(self.inner)
        made.no_truncation()
        made.no_padding()
        made.encode_special_tokens = True
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {"inner": self.inner}

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        if isinstance(self.inner, str):
            return [found.ids for found in self._fast.encode_batch_fast(texts, add_special_tokens=False)]
        return [self.inner(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] for text in texts]


class Tokenizer:
    """A transformers tokenizer and what a language model has to know of it.

    ``inner`` gets those special tokens that it lacks at its end. ``word_starts (V,) bool``: this token begins a word;
    a word is a run of letters and digits with the space before it, or of anything else. ``token_bytes (V,) int64``:
    UTF-8 bytes of the text that the token stands for, 0 for special ones.
    """

    def __init__(self, inner: Any) -> None:
        lacking = {
            f"{role}_token": token for role, token in SPECIALS.items() if getattr(inner, f"{role}_token") is None
        }
        if lacking:
            inner.add_special_tokens(lacking)
        self.inner = inner
        self.vocab_size: int = len(inner)
        self.pad_id: int = inner.pad_token_id
        self.unk_id: int = inner.unk_token_id
        self.cls_id: int = inner.cls_token_id
        self.sep_id: int = inner.sep_token_id
        self.mask_id: int = inner.mask_token_id
        self.special_ids: list[int] = sorted(set(inner.all_special_ids))

    @cached_property
    def encoder(self) -> Encoder:
        """What encodes, alone: small enough to be sent to other processes."""
        return Encoder(self.inner.backend_tokenizer.to_str() if self.inner.is_fast else self.inner)

    @cached_property
    def key(self) -> str:
        """Digest of all that decides which ids a text gets."""
        how = (
            self.encoder.inner if self.inner.is_fast else f"{type(self.inner)} {sorted(self.inner.get_vocab().items())}"
        )
        return digest(how)

    def encode(self, text: str, specials: bool = False) -> list[int]:
        """Ids of a text, none added. ``specials``: a special token written out, as "[MASK]", counts as that token."""
        if specials:
            return list(self.inner.encode(text, add_special_tokens=False))
        return self.encoder([text])[0]

    def decode(self, ids: Sequence[int], specials: bool = False) -> str:
        """Text of ids; special ones are left out, or written out with ``specials``."""
        ids = [int(token) for token in ids]
        return str(self.inner.decode(ids, skip_special_tokens=not specials, clean_up_tokenization_spaces=False))

    def save(self, folder: str | Path) -> None:
        """Files that ``AutoTokenizer.from_pretrained(folder)`` opens, and ``load``."""
        self.inner.save_pretrained(str(folder))

    @cached_property
    def word_starts(self) -> torch.Tensor:
        import torch

        starts = [token in self._specials or begins_word(spelled) for token, spelled in enumerate(self._spelled)]
        return torch.tensor(starts)

    @cached_property
    def token_bytes(self) -> torch.Tensor:
        import torch

        sizes = [
            0 if token in self._specials else len(text_bytes(spelled)) for token, spelled in enumerate(self._spelled)
        ]
        return torch.tensor(sizes)

    @cached_property
    def _specials(self) -> set[int]:
        return set(self.special_ids)

    @cached_property
    def _spelled(self) -> list[str | bytes]:
        """Each token's text; as a str "##..." where that continues a word."""
        names = self.inner.convert_ids_to_tokens(list(range(self.vocab_size)))
        names = ["" if name is None else name for name in names]
        return list(map(self._speller(names), names))

    def _speller(self, names: list[str]) -> Callable[[str], str | bytes]:
        if self.inner.is_fast and "ByteLevel" in str(json.loads(self.encoder.inner)["decoder"]):
            return byte_level
        if any(name.startswith("##") for name in names):
            return str
        return metaspace


def load(folder: str | Path) -> Tokenizer:
    """A tokenizer that was saved, or that transformers knows by this name; InputError if there is none."""
    from transformers import AutoTokenizer

    try:
        return Tokenizer(AutoTokenizer.from_pretrained(str(folder)))
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"no tokenizer {str(folder)!r}, neither as a folder nor by name ({first[0]})") from error


def learns(make: Callable[..., Tokenizer]) -> bool:
    """Whether what this makes depends on the texts."""
    return getattr(make, "func", make) not in (byte, pretrained)


def pretrained(texts: Iterable[str], name: str) -> Tokenizer:
    """Any tokenizer of transformers, by its name on the hub or by a folder; the texts do not matter."""
    return load(Path(name).expanduser() if Path(name).expanduser().is_dir() else name)


def byte(texts: Iterable[str]) -> Tokenizer:
    """Byte b of a text in UTF-8 is token 5 + b; nothing is unknown. The texts do not matter."""
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, pre_tokenizers

    fast = Fast(models.BPE(vocab=_numbered(BYTES), merges=[]))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    fast.decoder = decoders.ByteLevel()
    return _own(fast)


def char(texts: Iterable[str]) -> Tokenizer:
    """The characters of the texts, in the order of their code points; others are unknown."""
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models

    known = sorted(set().union(*map(set, texts)))
    fast = Fast(models.BPE(vocab=_numbered(known), merges=[], unk_token=SPECIALS["unk"]))
    fast.decoder = decoders.Fuse()
    return _own(fast)


def bpe(texts: Iterable[str], vocab_size: int = 8192, min_frequency: int = 2) -> Tokenizer:
    """Byte-pair encoding on bytes, trained on the texts; nothing is unknown, and decoding gives the text itself."""
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, pre_tokenizers, trainers

    _refuse_small(vocab_size, len(SPECIALS) + len(BYTES))
    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIALS.values()),
        initial_alphabet=BYTES,
        show_progress=sys.stderr.isatty(),
    )
    fast.train_from_iterator(texts, trainer)
    return _own(fast, mask_takes_space=True)


def wordpiece(
    texts: Iterable[str], vocab_size: int = 8192, min_frequency: int = 2, lowercase: bool = True
) -> Tokenizer:
    """BERT's WordPiece, trained on the texts: words and their pieces, spaces lost, accents too with ``lowercase``.

    The trainer numbers the pieces of one character in the order of a hash table with a random seed, and ties between
    merges fall by these numbers. Handed to it as special tokens they come first, so equal texts give equal tokenizers.
    """
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    fast = Fast(models.WordPiece(unk_token=SPECIALS["unk"]))
    fast.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast.decoder = decoders.WordPiece()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in fast.pre_tokenizer.pre_tokenize_str(fast.normalizer.normalize_str(text)))
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    alphabet = sorted(sorted(characters, key=lambda c: (-characters[c], c))[:ALPHABET])
    known = set(alphabet)
    words = Counter({word: count for word, count in words.items() if known.issuperset(word)})  # the others are [UNK]
    inner = sorted({character for word in words for character in word[1:]})
    fixed = [*SPECIALS.values(), *alphabet, *(f"##{character}" for character in inner)]
    _refuse_small(vocab_size, len(fixed))
    learner = Fast(models.WordPiece(unk_token=SPECIALS["unk"]))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=fixed,
        show_progress=sys.stderr.isatty(),
    )
    learner.train_from_iterator(_repeated(words), trainer)
    fast.model = models.WordPiece(vocab=learner.get_vocab(), unk_token=SPECIALS["unk"])
    return _own(fast)


def _repeated(words: Counter[str]) -> Iterable[str]:
    for word, count in sorted(words.items()):
        for start in range(0, count, 1000):
            yield " ".join([word] * min(1000, count - start))


def _refuse_small(vocab_size: int, needed: int) -> None:
    if vocab_size <= needed:
        raise InputError(
            f"data.tokenizer.vocab_size={vocab_size} is too small: {needed} are taken by single characters"
        )


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate([*SPECIALS.values(), *tokens])}


def _own(fast: Any, mask_takes_space: bool = False) -> Tokenizer:
    """`mask_takes_space`: "[MASK]" in a text covers the space before it, which belongs to a word's first token."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    fast.add_special_tokens([token for role, token in SPECIALS.items() if role != "mask"])
    fast.add_special_tokens([AddedToken(SPECIALS["mask"], lstrip=mask_takes_space, normalized=False)])
    roles = {f"{role}_token": token for role, token in SPECIALS.items()}
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=fast, clean_up_tokenization_spaces=False, **roles))
