"""Text to token ids and back: bytes, characters, BPE and WordPiece trained on the corpus, or any of transformers.

BPE: Sennrich et al., 2016, https://arxiv.org/abs/1508.07909, on bytes as in GPT-2 (Radford et al., 2019). WordPiece:
Schuster and Nakajima, 2012, with BERT's normalization (Devlin et al., 2018, https://arxiv.org/abs/1810.04805).
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_lightning.data.cache import digest
from ssl_lightning.errors import InputError, told
from ssl_lightning.ranges import PositiveInt

if TYPE_CHECKING:
    import torch

SPECIALS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
KEPT = [f"{role}_token" for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")]
KEPT += ["extra_special_tokens", "model_max_length", "model_input_names", "clean_up_tokenization_spaces"]


class Tokenizer:
    """A fast tokenizer of transformers and what a language model has to know of it.

    `inner` gets the special tokens that it lacks at the end of its vocabulary of `vocab_size` tokens.

    Raises:
        InputError: `inner` is written in Python and has no `tokenizer.json`.
    """

    def __init__(self, inner: Any) -> None:
        if not inner.is_fast:
            raise InputError(f"{type(inner).__name__} has no tokenizer.json: choose a fast tokenizer, such as gpt2's")
        lacking = {
            f"{role}_token": token for role, token in SPECIALS.items() if getattr(inner, f"{role}_token") is None
        }
        if lacking:
            inner.add_special_tokens(lacking)
        self.inner = inner
        self.vocab_size: int = len(inner)
        self.pad_id: int = inner.pad_token_id
        self.cls_id: int = inner.cls_token_id
        self.sep_id: int = inner.sep_token_id
        self.mask_id: int = inner.mask_token_id
        self.special_ids: list[int] = sorted(set(inner.all_special_ids))

    @cached_property
    def _encoder(self) -> Any:
        from tokenizers import Tokenizer as Fast

        made = Fast.from_str(self.inner.backend_tokenizer.to_str())
        made.no_truncation()
        made.no_padding()
        made.encode_special_tokens = True
        return made

    @cached_property
    def key(self) -> str:
        """Digest of all that decides which ids a text gets."""
        return digest(self.inner.backend_tokenizer.to_str())

    def encode(self, text: str) -> list[int]:
        """Ids of a text, no special tokens added; special tokens that are written in it are text like any other."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts, in parallel threads."""
        return [found.ids for found in self._encoder.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: Sequence[int], specials: bool = False) -> str:
        """Text of ids; special ones are left out, or written out with `specials`."""
        ids = [int(token) for token in ids]
        return str(self.inner.decode(ids, skip_special_tokens=not specials, clean_up_tokenization_spaces=False))

    def save(self, folder: str | Path) -> None:
        """Files that `AutoTokenizer.from_pretrained(folder)` opens, and `load`."""
        self.inner.save_pretrained(str(folder))

    @cached_property
    def word_starts(self) -> torch.Tensor:
        """(V,) bool: whether a token starts a word: a run of letters and digits with the space before it, or of others.

        A token is read as the decoder writes it behind another one; special tokens start a word.
        """
        import torch

        names = self.inner.convert_ids_to_tokens(list(range(self.vocab_size)))
        texts = [self.inner.convert_tokens_to_string(["a", name or ""])[1:] for name in names]
        found = torch.tensor([starts_word(text) for text in texts])
        found[self.special_ids] = True
        return found


def starts_word(text: str) -> bool:
    """Whether a token's text does not continue a word: letters, marks, numbers and parts of a character (U+FFFD) do."""
    return not text or (text[0] != "\ufffd" and unicodedata.category(text[0])[0] not in "LMN")


def load(folder: str | Path) -> Tokenizer:
    """A tokenizer that `save` wrote.

    Reads `tokenizer.json`, and of `tokenizer_config.json` nothing but the special tokens and a few values, so that
    no code that lies in the folder, or that it names, can run.

    Raises:
        InputError: there is none.
    """
    from tokenizers import Tokenizer as Fast
    from transformers import PreTrainedTokenizerFast

    with told(f"no tokenizer in {str(folder)!r}"):
        fast = Fast.from_file(str(Path(folder) / "tokenizer.json"))
        stored = json.loads((Path(folder) / "tokenizer_config.json").read_text())
        kept = {key: stored[key] for key in KEPT if key in stored}
        texts = {key: value["content"] if isinstance(value, dict) else value for key, value in kept.items()}
        return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=fast, **texts))


def learns(make: Callable[..., Tokenizer]) -> bool:
    """Whether what this makes depends on the texts."""
    return getattr(make, "func", make) not in (byte, pretrained)


def pretrained(texts: Iterable[str], name: str) -> Tokenizer:
    """Any fast tokenizer of transformers, by its name on the hub or by a folder; the texts do not matter.

    Raises:
        InputError: there is none, or it would run code of its own.
    """
    from transformers import AutoTokenizer

    place = Path(name).expanduser()
    with told(f"no tokenizer {name!r}, neither as a folder nor by name", name=name):
        found = AutoTokenizer.from_pretrained(str(place) if place.is_dir() else name, trust_remote_code=False)
    return Tokenizer(found)


def byte(texts: Iterable[str]) -> Tokenizer:
    """The bytes of a text in UTF-8; nothing is unknown. The texts do not matter."""
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, pre_tokenizers

    fast = Fast(models.BPE(vocab=_numbered(sorted(pre_tokenizers.ByteLevel.alphabet())), merges=[]))
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


def bpe(texts: Iterable[str], vocab_size: PositiveInt = 8192) -> Tokenizer:
    """Byte-pair encoding on bytes, trained on the texts; nothing is unknown, and decoding gives the text itself."""
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, pre_tokenizers, trainers

    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(**_training(vocab_size, list(SPECIALS.values()), alphabet))
    fast.train_from_iterator(texts, trainer)
    return _own(fast, mask_takes_space=True)


def wordpiece(texts: Iterable[str], vocab_size: PositiveInt = 8192, lowercase: bool = True) -> Tokenizer:
    """BERT's WordPiece, trained on the texts: words and their pieces, spaces lost, accents too with `lowercase`.

    The trainer numbers the pieces of one character in the order of a hash table with a random seed, and ties between
    merges fall by these numbers. Handed to it as special tokens they come first, so equal texts give equal tokenizers.
    """
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    fast = Fast(models.WordPiece(unk_token=SPECIALS["unk"]))
    fast.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast.decoder = decoders.WordPiece()
    texts = list(texts)
    normalize, words_of = fast.normalizer.normalize_str, fast.pre_tokenizer.pre_tokenize_str
    words = {word for text in texts for word, _ in words_of(normalize(text))}
    alphabet = sorted(set().union(*words))
    inner = sorted(set().union(*(word[1:] for word in words)))
    fixed = [*SPECIALS.values(), *alphabet, *(f"##{character}" for character in inner)]
    learner = Fast(models.WordPiece(unk_token=SPECIALS["unk"]))
    learner.normalizer, learner.pre_tokenizer = fast.normalizer, fast.pre_tokenizer
    learner.train_from_iterator(texts, trainers.WordPieceTrainer(**_training(vocab_size, fixed)))
    fast.model = models.WordPiece(vocab=learner.get_vocab(), unk_token=SPECIALS["unk"])
    return _own(fast)


def _training(vocab_size: int, special: list[str], alphabet: Sequence[str] = ()) -> dict[str, Any]:
    """What a trainer of `tokenizers` is told. Pairs that come only once are not merged.

    Raises:
        InputError: the vocabulary has no room but for these.
    """
    needed = len(special) + len(alphabet)
    if vocab_size <= needed:
        raise InputError(
            f"data.tokenizer.vocab_size={vocab_size} is too small: {needed} are taken by single characters"
        )
    sizes = {"vocab_size": vocab_size, "min_frequency": 2, "show_progress": sys.stderr.isatty()}
    return {**sizes, "special_tokens": special, "initial_alphabet": list(alphabet)}


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
