from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.transforms.text.masking import MaskTokens, NextSentence, Tokens

V, PAD, CLS, SEP, MASK = 50, 0, 2, 3, 4
SPECIAL = (0, 1, 2, 3, 4)
STARTS = torch.arange(V) % 3 == 0
TOKENIZER = SimpleNamespace(
    vocab_size=V, pad_id=PAD, cls_id=CLS, sep_id=SEP, mask_id=MASK, special_ids=list(SPECIAL), word_starts=STARTS
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


def pairs(
    B: int = 200, N: int = 31, lengths: list[int] | None = None, seed: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Windows whose tokens are unlike those of all others, and what NextSentence makes of them without a mask."""
    tokens = torch.arange(B * N).view(B, N) + 5
    real = torch.tensor([(lengths or [N])[i % len(lengths or [N])] for i in range(B)])
    tokens = tokens.masked_fill(torch.arange(N) >= real[:, None], PAD)
    transform = NextSentence(replace=0.0, random=0.0)
    sizes = {"vocab_size": B * N + 5, "word_starts": torch.ones(B * N + 5, dtype=torch.bool)}
    transform.read(SimpleNamespace(**{**vars(TOKENIZER), **sizes}))
    return tokens, transform({"tokens": tokens, "document": torch.arange(B) // 2}, generator(seed))


@pytest.mark.parametrize("lengths", [None, [31, 12, 2, 28, 29]])
def test_pairs_are_put_together(lengths: list[int] | None) -> None:
    tokens, made = pairs(lengths=lengths)
    rows = [[token for token in row if token != PAD] for row in tokens.tolist()]
    home = {token: number for number, row in enumerate(rows) for token in row}
    for number, row in enumerate(rows):
        n = min(len(row), 28)
        a, b = n // 2, n - n // 2
        found = made["inputs"][number].tolist()
        expected = [CLS, *row[:a], SEP, *found[a + 2 : a + 2 + b], SEP]
        assert found == expected + [PAD] * (31 - len(expected))
        second = found[a + 2 : a + 2 + b]
        assert len({home[token] for token in second}) == 1
        assert second == list(range(second[0], second[0] + b))
        own = home[second[0]] == number
        assert own == bool(made["is_next"][number])
        assert not own or second == row[a:n]
        assert own or home[second[0]] // 2 != number // 2, "another document"
        assert made["segment"][number].tolist() == [0] * (a + 2) + [1] * (b + 1) + [0] * (31 - a - b - 3)


def test_half_of_the_pairs_are_foreign() -> None:
    _, made = pairs()
    assert int(made["is_next"].sum()) == 100


def test_half_are_foreign_even_if_not_all_can_be() -> None:
    """Five full windows of one document find nothing as long as they need; the three others find each other."""
    document = torch.tensor([0] * 6 + [1, 2])
    tokens = windows(8, 20, [20] * 5 + [10, 8, 7])
    made = apply(NextSentence(), tokens, document=document)
    assert made["is_next"].tolist()[:5] == [1] * 5, "no partner is as long"
    assert made["is_next"].tolist()[5:] == [0] * 3


def test_lengths_do_not_tell() -> None:
    _, made = pairs(B=2000, lengths=[31, 30, 12, 5])
    separators = (made["inputs"] == SEP).float().argmax(1) * 100 + (made["inputs"] != PAD).sum(1)
    by_label = [{int(x) for x in separators[made["is_next"] == label]} for label in (0, 1)]
    assert by_label[0] == by_label[1]


def test_no_other_document_no_foreign_pair() -> None:
    tokens = windows(8, 20)
    made = apply(NextSentence(), tokens, document=torch.zeros(8, dtype=torch.long))
    assert made["is_next"].all()


def test_partners_are_drawn_from_all() -> None:
    partners = set()
    for seed in range(60):
        tokens, made = pairs(B=8, seed=seed)
        second = made["inputs"][0, 16]
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
    with pytest.raises(InputError, match="call read"):
        MaskTokens()(batch, generator())
    with pytest.raises(InputError, match="windows of 4 tokens are too short"):
        apply(NextSentence(), batch["tokens"])
