import math
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from ssl_lightning.data.text.python_docs import python_docs
from ssl_lightning.data.text.tokenizers import wordpiece
from ssl_lightning.errors import InputError
from ssl_lightning.transforms.text.masking import MaskTokens, NextSentence, Tokens

V, PAD, CLS, SEP, MASK = 50, 0, 2, 3, 4
SPECIAL = (0, 1, 2, 3, 4)
STARTS = torch.arange(V) % 3 == 0
TOKENIZER = SimpleNamespace(
    vocab_size=V,
    pad_id=PAD,
    cls_id=CLS,
    sep_id=SEP,
    mask_id=MASK,
    special_ids=list(SPECIAL),
    word_starts=STARTS,
    decode=lambda ids: "." if ids[0] % 5 == 0 else "x",
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def windows(B: int, N: int, lengths: list[int] | None = None, seed: int = 0) -> Tensor:
    """Ordinary tokens; row i has lengths[i % len(lengths)] of them, then padding."""
    tokens = torch.randint(5, V, (B, N), generator=generator(seed))
    real = torch.tensor([(lengths or [N])[i % len(lengths or [N])] for i in range(B)])
    return tokens.masked_fill(torch.arange(N) >= real[:, None], PAD)


def is_special(tokens: Tensor) -> Tensor:
    return torch.isin(tokens, torch.tensor(SPECIAL))


def ready(transform: Any) -> Any:
    transform.read(TOKENIZER)
    return transform


def apply(transform: Any, tokens: Tensor, seed: int = 0, document: Tensor | None = None) -> dict[str, Tensor]:
    document = torch.arange(len(tokens)) if document is None else document
    return ready(transform)({"tokens": tokens, "document": document}, generator(seed))


@pytest.mark.parametrize("rate", [0.15, 0.4, 1.0])
def test_exactly_the_rate_is_masked(rate: float) -> None:
    tokens = windows(64, 40, [40, 17, 3, 1, 0])
    masked = apply(MaskTokens(rate), tokens)["masked"]
    real = (tokens != PAD).sum(1)
    for count, n in zip(masked.sum(1).tolist(), real.tolist(), strict=True):
        assert count == (max(1, round(rate * n)) if n else 0)


@pytest.mark.parametrize("whole_word", [False, True])
def test_special_tokens_and_padding_stay(whole_word: bool) -> None:
    tokens = windows(64, 40, [40, 20])
    tokens[:, ::7] = torch.where(tokens[:, ::7] == PAD, PAD, SEP)
    made = apply(MaskTokens(0.5, whole_word=whole_word), tokens)
    special = is_special(tokens)
    assert not made["masked"][special].any()
    assert torch.equal(made["inputs"][special], tokens[special])
    assert made["masked"].any(dim=1).all()


def test_what_is_not_masked_is_not_touched() -> None:
    tokens = windows(64, 40, [40, 20])
    before = tokens.clone()
    made = apply(MaskTokens(), tokens)
    assert torch.equal(made["inputs"][~made["masked"]], tokens[~made["masked"]])
    assert torch.equal(made["targets"], before)
    assert torch.equal(tokens, before)


def test_eighty_ten_ten() -> None:
    tokens = windows(400, 100)
    made = apply(MaskTokens(0.5), tokens)
    shown, true = made["inputs"][made["masked"]], tokens[made["masked"]]
    n = len(shown)
    replaced, same = (shown == MASK).float().mean().item(), (shown == true).float().mean().item()
    assert replaced == pytest.approx(0.8, abs=4 * (0.16 / n) ** 0.5)
    assert same == pytest.approx(0.1 + 0.1 / (V - 5), abs=4 * (0.09 / n) ** 0.5)
    drawn = shown[(shown != MASK) & (shown != true)]
    assert not is_special(drawn).any()
    assert set(drawn.tolist()) == set(range(5, V))


@pytest.mark.parametrize(("replace", "random"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_a_single_fate(replace: float, random: float) -> None:
    tokens = windows(64, 40)
    made = apply(MaskTokens(0.5, replace, random), tokens)
    shown, true = made["inputs"][made["masked"]], made["targets"][made["masked"]]
    assert bool((shown == MASK).all()) == (replace == 1)
    assert bool((shown == true).all()) == (replace == random == 0)


def test_every_token_is_chosen_alike_and_anew() -> None:
    tokens = windows(1, 20).repeat(4000, 1)
    masked = apply(MaskTokens(0.25), tokens)["masked"]
    torch.testing.assert_close(masked.float().mean(0), torch.full((20,), 0.25), atol=0.035, rtol=0)
    again = apply(MaskTokens(0.25), tokens, seed=1)["masked"]
    assert not torch.equal(masked, again)
    assert torch.equal(masked, apply(MaskTokens(0.25), tokens)["masked"])


def words(tokens: list[int]) -> list[list[int]]:
    """Places of the tokens of each word, one after the other."""
    found: list[list[int]] = []
    for place, token in enumerate(tokens):
        if token in SPECIAL:
            continue
        follows = place > 0 and tokens[place - 1] not in SPECIAL and not STARTS[token]
        if follows:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def test_whole_words_are_whole() -> None:
    tokens = windows(200, 60, [60, 31, 2])
    tokens[:, 10] = torch.where(tokens[:, 10] == PAD, PAD, SEP)
    masked = apply(MaskTokens(0.15, whole_word=True), tokens)["masked"]
    for row, chosen in zip(tokens.tolist(), masked.tolist(), strict=True):
        parts = words(row)
        assert all(len({chosen[place] for place in word}) == 1 for word in parts)
        assert any(chosen)
        assert sum(chosen) == sum(len(word) for word in parts if chosen[word[0]])


def test_whole_words_keep_the_rate() -> None:
    tokens = windows(2000, 100)
    masked = apply(MaskTokens(0.15, whole_word=True), tokens)["masked"]
    assert masked.float().mean().item() == pytest.approx(0.15, abs=0.005)
    assert masked.sum(1).float().std() < 3


def test_next_token_needs_the_tokens_alone() -> None:
    tokens = windows(3, 8)
    made = Tokens()({"tokens": tokens}, generator())
    assert list(made) == ["tokens"]
    assert made["tokens"] is tokens


def ends(token: int) -> bool:
    return token >= 5 and token % 5 == 0


def pairs(
    B: int = 200, N: int = 31, lengths: list[int] | None = None, seed: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Windows whose tokens are unlike those of all others, and what NextSentence makes of them without a mask.

    Every fifth token of the vocabulary ends a sentence.
    """
    tokens = torch.arange(B * N).view(B, N) + 5
    real = torch.tensor([(lengths or [N])[i % len(lengths or [N])] for i in range(B)])
    tokens = tokens.masked_fill(torch.arange(N) >= real[:, None], PAD)
    transform = NextSentence(replace=0.0, random=0.0)
    sizes = {"vocab_size": B * N + 5, "word_starts": torch.ones(B * N + 5, dtype=torch.bool)}
    transform.read(SimpleNamespace(**{**vars(TOKENIZER), **sizes}))
    return tokens, transform({"tokens": tokens, "document": torch.arange(B) // 2}, generator(seed))


@pytest.mark.parametrize("lengths", [None, [31, 12, 9, 28, 29]])
def test_pairs_are_put_together(lengths: list[int] | None) -> None:
    tokens, made = pairs(lengths=lengths)
    rows = [[token for token in row if token != PAD] for row in tokens.tolist()]
    home = {token: number for number, row in enumerate(rows) for token in row}
    for number, row in enumerate(rows):
        n = min(len(row), 28)
        found = made["inputs"][number].tolist()
        a = found.index(SEP) - 1
        b = found.index(SEP, a + 2) - a - 2
        first, second = found[1 : a + 1], found[a + 2 : a + 2 + b]
        assert found == [CLS, *first, SEP, *second, SEP] + [PAD] * (31 - a - b - 3)
        assert first == row[:a]
        assert ends(first[-1])
        assert n // 4 - 2 <= a <= n * 3 // 4 + 2
        assert 0 < b <= n - a
        assert len({home[token] for token in second}) == 1
        assert second == list(range(second[0], second[0] + b))
        assert ends(second[0] - 1), "B begins with a sentence"
        own = home[second[0]] == number
        assert own == bool(made["is_next"][number])
        assert not own or second[0] == row[a]
        assert own or home[second[0]] // 2 != number // 2, "another document"
        assert made["segment"][number].tolist() == [0] * (a + 2) + [1] * (b + 1) + [0] * (31 - a - b - 3)


def test_half_of_the_pairs_are_foreign() -> None:
    _, made = pairs()
    assert int(made["is_next"].sum()) == 100


def test_lengths_do_not_tell() -> None:
    """Both parts' lengths are drawn before it is decided which B a pair gets."""
    _, made = pairs(B=4000, lengths=[31, 30, 12, 9])
    first = (made["segment"] == 0).cumprod(dim=1).sum(dim=1)
    second = made["segment"].sum(dim=1)
    for lengths in (first, second, first + second):
        by_label = [lengths[made["is_next"] == label].double() for label in (0, 1)]
        error = torch.stack([x.var() / len(x) for x in by_label]).sum().sqrt()
        assert abs(by_label[0].mean() - by_label[1].mean()) < 4 * error


def test_an_ellipsis_is_one_end_and_without_an_end_the_place_is_free() -> None:
    transform = ready(NextSentence())
    tokens = torch.tensor([[6, 7, 10, 10, 10, 9, 8, 6, 7, 8], [6] * 10]).repeat(500, 1)
    cuts = transform.cut(tokens, torch.full((1000,), 9), generator())
    assert set(cuts[::2].tolist()) == {5}
    assert set(cuts[1::2].tolist()) == {2, 3, 4, 5, 6}


def borders(transform: Any, batch: dict[str, Tensor], draws: int) -> list[tuple[int, int, int]]:
    """The last token of A, the first of B, and whether B follows A, of several draws of all pairs."""
    made = [transform(batch, generator(seed)) for seed in range(draws)]
    tokens, segment, label = (torch.cat([part[key] for part in made]) for key in ("targets", "segment", "is_next"))
    row, last = torch.arange(len(tokens)), (segment == 0).cumprod(dim=1).sum(dim=1) - 2
    return list(zip(tokens[row, last].tolist(), tokens[row, last + 2].tolist(), label.tolist(), strict=True))


def test_the_tokens_at_the_border_do_not_tell() -> None:
    """A count of pairs of tokens on documents that it has not seen, by its area under the ROC curve."""
    corpus = python_docs()
    rows = np.random.default_rng(0).permutation(len(corpus))
    tokenizer = wordpiece(map(corpus.text, rows[:500]), vocab_size=1000)
    ids = tokenizer.encode_batch([corpus.text(row) for row in rows])
    parts = [(torch.tensor(part), n) for n, row in enumerate(ids) for part in zip(*[iter(row)] * 128, strict=False)]
    tokens, document = torch.stack([part for part, _ in parts]), torch.tensor([n for _, n in parts])
    transform, areas = NextSentence(replace=0.0, random=0.0), []
    transform.read(tokenizer)
    for cut_at_ends in (True, False):
        transform.ends_sentence &= cut_at_ends
        seen = document < 0.7 * len(rows)
        counted, judged = (
            borders(transform, {"tokens": tokens[chosen], "document": document[chosen]}, draws)
            for chosen, draws in ((seen, 4), (~seen, 2))
        )
        counts = [Counter((a, b) for a, b, label in counted if label == wanted) for wanted in (0, 1)]
        scores = [math.log((counts[1][a, b] + 0.5) / (counts[0][a, b] + 0.5)) for a, b, _ in judged]
        areas.append(roc_auc_score([label for *_, label in judged], scores))
    assert 0.45 < areas[0] < 0.56 < 0.65 < areas[1], areas


def test_no_other_document_no_foreign_pair() -> None:
    tokens = windows(8, 20)
    made = apply(NextSentence(), tokens, document=torch.zeros(8, dtype=torch.long))
    assert made["is_next"].all()


def test_partners_are_drawn_from_all() -> None:
    partners = set()
    for seed in range(60):
        tokens, made = pairs(B=8, seed=seed)
        second = made["inputs"][0, int(made["segment"][0].argmax())]
        partners.add(int((tokens == second).any(dim=1).nonzero()))
    assert partners == {0, 2, 3, 4, 5, 6, 7}


def test_masks_of_pairs() -> None:
    made = apply(NextSentence(0.3), windows(64, 40, [40, 20]))
    special = is_special(made["targets"])
    assert not made["masked"][special].any()
    assert torch.equal(made["inputs"][~made["masked"]], made["targets"][~made["masked"]])
    assert (made["targets"] == CLS).sum() == 64


def test_wrong_use_is_named() -> None:
    batch = {"tokens": windows(2, 4), "document": torch.arange(2)}
    with pytest.raises(InputError, match=r"parts of more than 1"):
        MaskTokens(0.1, 0.9, 0.2)
    with pytest.raises(InputError, match="windows of 4 tokens are too short"):
        apply(NextSentence(), batch["tokens"])
