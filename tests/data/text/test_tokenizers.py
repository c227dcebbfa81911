import pickle
import subprocess
import sys
from functools import partial

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ssl_lightning.data.text.python_docs import python_docs
from ssl_lightning.data.text.tokenizers import Tokenizer, bpe, byte, char, learns, load, pretrained, wordpiece
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
    assert tokenizer.token_bytes[ids].sum() == len(text.encode())


def test_wordpiece_gives_the_words_in_lower_case(made):
    tokenizer = made["wordpiece"]
    ids = tokenizer.encode(TEXTS[0])
    assert tokenizer.decode(ids).split()[:4] == ["the", "quick", "brown", "fox"]
    assert tokenizer.decode(ids).replace(" ", "") == "".join(TEXTS[0].lower().split())
    assert tokenizer.token_bytes[ids].sum() == len("".join(TEXTS[0].split()))
    cased = wordpiece(TEXTS, 250, lowercase=False)
    assert cased.decode(cased.encode("The fox")) == "The fox"


@pytest.mark.parametrize("name", ALL)
def test_ours_have_the_same_special_tokens_at_the_same_ids(made, name):
    tokenizer = made[name]
    ids = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    assert ids == tokenizer.special_ids == [0, 1, 2, 3, 4]
    assert tokenizer.vocab_size == len(tokenizer.inner) == len(tokenizer.word_starts) == len(tokenizer.token_bytes)
    assert tokenizer.word_starts.dtype == torch.bool
    assert tokenizer.token_bytes[:5].tolist() == [0] * 5
    assert tokenizer.word_starts[:5].all()


@pytest.mark.parametrize("name", ALL)
def test_a_special_token_in_the_text_counts_only_where_it_is_asked_for(made, name):
    tokenizer = made[name]
    assert tokenizer.mask_id not in tokenizer.encode("the [MASK] dog")
    ids = tokenizer.encode("the [MASK] dog", specials=True)
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
    assert torch.equal(again.token_bytes, tokenizer.token_bytes)


def test_bytes_have_their_own_number(made):
    assert made["byte"].vocab_size == 261
    assert made["byte"].encode("aé\n") == [5 + number for number in "aé\n".encode()]


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
def test_an_encoder_goes_to_another_process(made, name):
    encoder = pickle.loads(pickle.dumps(made[name].encoder))
    assert encoder(TEXTS) == [made[name].encode(text) for text in TEXTS]


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
    assert tokenizer.unk_id == 0
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


def test_a_slow_tokenizer_of_transformers_works_too():
    from transformers import ByT5Tokenizer

    tokenizer = Tokenizer(ByT5Tokenizer(extra_ids=0))
    text = "naïve dog </s>"
    assert tokenizer.decode(pickle.loads(pickle.dumps(tokenizer.encoder))([text])[0]) == text
    assert not tokenizer.inner.is_fast
    assert tokenizer.key
