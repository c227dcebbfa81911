import io
import json
import subprocess
import sys
from functools import partial

import pytest
import torch
from tokenizers import Tokenizer as Fast
from tokenizers import decoders, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ssl_lightning.data.text.python_docs import python_docs
from ssl_lightning.data.text.tokenizers import (
    Tokenizer,
    bpe,
    byte,
    char,
    learns,
    load,
    pretrained,
    starts_word,
    wordpiece,
)
from ssl_lightning.errors import InputError

TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps.\n\nThe end!\n",
    "def naïve(x):\n\treturn 'déjà vu' * 2  # [MASK] is no mask here\r\n",
    "日本語のテキスト and emoji 😀😀 and e\u0301 in two code points\n",
    " leading space, trailing space ",
]
EXACT = {"byte": byte, "char": char, "bpe": partial(bpe, vocab_size=300)}
ALL = {**EXACT, "wordpiece": partial(wordpiece, vocab_size=200)}


@pytest.fixture(scope="module")
def made():
    return {name: make(TEXTS * 3) for name, make in ALL.items()}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("text", [*TEXTS, "", "\n", "  ", "[CLS] [PAD]"])
def test_decoding_gives_the_text(made, name, text):
    tokenizer = made[name]
    if name == "char" and text.startswith("[CLS]"):
        tokenizer = char([text])
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.special_ids)


def test_wordpiece_gives_the_words_in_lower_case(made):
    tokenizer = made["wordpiece"]
    ids = tokenizer.encode(TEXTS[0])
    assert tokenizer.decode(ids).split()[:4] == ["the", "quick", "brown", "fox"]
    assert tokenizer.decode(ids).replace(" ", "") == "".join(TEXTS[0].lower().split())
    cased = wordpiece(TEXTS, 250, lowercase=False)
    assert cased.decode(cased.encode("The fox")) == "The fox"


@pytest.mark.parametrize("name", ALL)
def test_ours_have_the_same_special_tokens_at_the_same_ids(made, name):
    tokenizer = made[name]
    ids = [tokenizer.pad_id, tokenizer.inner.unk_token_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    assert ids == tokenizer.special_ids == [0, 1, 2, 3, 4]
    assert tokenizer.vocab_size == len(tokenizer.inner) == len(tokenizer.word_starts)
    assert tokenizer.word_starts.dtype == torch.bool
    assert tokenizer.word_starts[:5].all()


@pytest.mark.parametrize("name", ALL)
def test_a_special_token_in_the_text_counts_only_where_it_is_asked_for(made, name):
    tokenizer = made[name]
    assert tokenizer.mask_id not in tokenizer.encode("the [MASK] dog")
    ids = tokenizer.inner.encode("the [MASK] dog", add_special_tokens=False)
    assert ids.count(tokenizer.mask_id) == 1
    written = "the[MASK] dog" if name == "bpe" else "the [MASK] dog"  # where a word's space is part of its first token
    assert tokenizer.decode(ids, specials=True) == written
    assert tokenizer.decode(ids).split() == ["the", "dog"]
    assert tokenizer.decode(torch.tensor(ids)).split() == ["the", "dog"]


@pytest.mark.parametrize("name", ALL)
def test_transformers_opens_what_was_saved(made, name, tmp_path):
    tokenizer = made[name]
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    assert theirs(TEXTS[0])["input_ids"] == tokenizer.encode(TEXTS[0])
    again = load(tmp_path)
    assert again.key == tokenizer.key
    assert again.special_ids == tokenizer.special_ids
    assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    assert torch.equal(again.word_starts, tokenizer.word_starts)


def test_bytes_have_their_own_number(made):
    assert made["byte"].vocab_size == 261
    assert len(set(made["byte"].encode("aé\n"))) == 4


def test_characters_are_in_order_and_others_unknown():
    tokenizer = char(["cab", "db"])
    assert tokenizer.vocab_size == 9
    assert tokenizer.encode("abcd") == [5, 6, 7, 8]
    assert tokenizer.encode("axx\nb") == [5, 1, 1, 1, 6]


def words(tokenizer, text):
    """The text parted at the tokens that begin a word."""
    found = []
    for token in tokenizer.encode(text):
        piece = [token]
        if tokenizer.word_starts[token] or not found:
            found.append(piece)
        else:
            found[-1] += piece
    return [tokenizer.decode(word) for word in found]


def test_where_words_begin(made):
    text = "The dog's naïve end, 日本."
    parted = ["The", " dog", "'s", " naïve", " end", ",", " 日本", "."]
    assert words(made["bpe"], text) == parted
    for name in ("byte", "char"):
        parts = words(char([text]) if name == "char" else made[name], text)
        assert parts == ["The", " dog", "'s", " naïve", " end", ",", " 日本", "."]
    assert words(made["wordpiece"], "the lazy dog, and") == ["the", "lazy", "dog", ",", "and"]


def test_training_gives_the_same_tokenizer_every_time():
    """In another process too: hash tables there have another random seed."""
    texts = [f"{first}{second}er {second}{first}ing" for first in "abcdefghij" for second in "klmnopqrstuvwxyz"] * 2
    code = f"from ssl_lightning.data.text import tokenizers as t; x, y = t.bpe({texts}, 300), t.wordpiece({texts}, 100)"
    scope = {}
    exec(code, scope)
    command = [sys.executable, "-c", f"{code}; print(x.key, y.key)"]
    other = subprocess.run(command, capture_output=True, text=True, check=True)
    assert other.stdout.split() == [scope["x"].key, scope["y"].key]
    assert (scope["x"].vocab_size, scope["y"].vocab_size) == (300, 100)


def test_a_trained_tokenizer_shortens_the_text():
    texts = list(python_docs().texts())[:100]
    size = sum(len(text.encode()) for text in texts)
    for make in (bpe, wordpiece):
        tokenizer = make(texts, 1000)
        assert tokenizer.vocab_size == 1000
        tokens = sum(len(tokenizer.encode(text)) for text in texts)
        assert tokens < 0.45 * size


@pytest.mark.parametrize(("make", "least"), [(bpe, 261), (wordpiece, 5)])
def test_a_vocabulary_that_cannot_hold_the_characters_is_refused(make, least):
    with pytest.raises(InputError, match=rf"data\.tokenizer\.vocab_size={least} is too small: \d+ are taken"):
        make(TEXTS, least)


@pytest.mark.parametrize("name", ALL)
def test_a_batch_of_texts_is_each_of_them(made, name):
    assert made[name].encode_batch(TEXTS) == [made[name].encode(text) for text in TEXTS]


def gpt2_like(folder):
    """A tokenizer of transformers that has no special tokens but an end of text, as that of GPT-2."""
    inner = bpe(TEXTS * 3, 300).inner.backend_tokenizer
    state = inner.to_str().replace("[PAD]", "<|endoftext|>")
    kept = PreTrainedTokenizerFast(
        tokenizer_object=type(inner).from_str(state), unk_token="<|endoftext|>", eos_token="<|endoftext|>"
    )
    kept.save_pretrained(str(folder))
    return len(kept)


def test_a_tokenizer_of_transformers_gets_what_it_lacks_at_its_end(tmp_path):
    size = gpt2_like(tmp_path)
    tokenizer = pretrained((), str(tmp_path))
    assert tokenizer.inner.unk_token_id == 0
    ids = [tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    known = [token for token in ids if token < size]  # [CLS], [SEP] and [MASK] stand in its vocabulary as plain tokens
    assert tokenizer.vocab_size == size + len(set(ids) - set(known))
    assert tokenizer.pad_id == size
    assert set(ids) | {0} == set(tokenizer.special_ids)
    assert tokenizer.decode(tokenizer.encode(TEXTS[1])) == TEXTS[1]
    assert tokenizer.mask_id not in tokenizer.encode("[MASK]")
    tokenizer.save(tmp_path / "kept")
    assert load(tmp_path / "kept").key == tokenizer.key


def test_a_tokenizer_that_is_not_there(tmp_path):
    for name in (str(tmp_path), str(tmp_path / "nowhere")):
        with pytest.raises(InputError, match="no tokenizer") as caught:
            pretrained((), name)
        assert "\n" not in str(caught.value)


def test_which_of_them_learn():
    assert [learns(make) for make in (byte, char, partial(bpe, vocab_size=300), wordpiece)] == [False, True, True, True]
    assert not learns(partial(pretrained, name="gpt2"))


def test_a_tokenizer_that_is_written_in_python_is_refused():
    from transformers import ByT5Tokenizer

    with pytest.raises(InputError, match=r"ByT5Tokenizer has no tokenizer\.json: choose a fast tokenizer"):
        Tokenizer(ByT5Tokenizer(extra_ids=0))


def test_what_is_saved_is_kept(made, tmp_path):
    inner = made["bpe"].inner
    given = {"model_max_length": 77, "model_input_names": ["input_ids"], "extra_special_tokens": ["[MORE]"]}
    Tokenizer(PreTrainedTokenizerFast(tokenizer_object=inner.backend_tokenizer, pad_token="[PAD]", **given)).save(
        tmp_path
    )
    again = load(tmp_path)
    assert again.inner.model_max_length == 77
    assert again.inner.model_input_names == ["input_ids"]
    assert again.inner.convert_tokens_to_ids("[MORE]") in again.special_ids


HOSTILE = {
    "auto_map": {"AutoTokenizer": ["code.Evil", "code.Evil"], "AutoConfig": "code.Evil"},
    "tokenizer_class": "Evil",
}


@pytest.mark.parametrize("opened", [load, lambda folder: pretrained((), str(folder))])
def test_code_beside_a_tokenizer_is_not_run(made, tmp_path, monkeypatch, opened):
    """A folder with `auto_map` and a Python file; "y" would answer the question that transformers asks."""
    made["bpe"].save(tmp_path)
    marker = tmp_path / "it_ran"
    (tmp_path / "code.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")
    for name in ("tokenizer_config.json", "config.json"):
        file = tmp_path / name
        stored = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**stored, **HOSTILE, "trust_remote_code": True}))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    if opened is load:
        assert load(tmp_path).encode("dog") == made["bpe"].encode("dog")
    else:
        with pytest.raises(InputError, match="no tokenizer"):
            opened(tmp_path)
    assert not marker.exists()
    assert "code" not in {name.rpartition(".")[2] for name in sys.modules if "transformers_modules" in name}


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [None, "", "[]", "{}", "\x80", '{"unk_token": {"no": 1}}'])
def test_a_damaged_tokenizer_is_told(made, tmp_path, name, content):
    made["bpe"].save(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content.encode("latin-1"))
    if name == "tokenizer_config.json" and content in ("{}", "[]"):
        assert load(tmp_path).encode("dog") == made["bpe"].encode("dog")
        return
    with pytest.raises(InputError, match="no tokenizer in ") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_where_words_begin_in_sentencepiece():
    """A tokenizer as that of Llama 2: a low line for a space, bytes for what is not in its vocabulary."""
    vocabulary = [
        "<unk>",
        "a",
        "\u2581",
        "\u2581the",
        "the",
        "\u2581\u2581",
        "s",
        ".",
        "<0x0A>",
        "<0xC3>",
        "<0xA9>",
        "<0x41>",
    ]
    fast = Fast(models.BPE({token: number for number, token in enumerate(vocabulary)}, [], byte_fallback=True))
    fast.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer = Tokenizer(PreTrainedTokenizerFast(tokenizer_object=fast, unk_token="<unk>"))
    starts = {token for token, found in zip(vocabulary, tokenizer.word_starts, strict=False) if found}
    assert starts == {"<unk>", "\u2581", "\u2581the", "\u2581\u2581", ".", "<0x0A>"}


@pytest.mark.parametrize("text", [" the", "\n", "'s", ".", "\U0001f600", ""])
def test_beginnings(text):
    assert starts_word(text)


@pytest.mark.parametrize("text", ["the", "7", "\ufffd", "\u00e9t", "\u0301"])
def test_continuations(text):
    assert not starts_word(text)
