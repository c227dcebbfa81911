from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_lightning.transforms.text.denoising import Denoise

V, PAD, SEP, MASK = 4000, 0, 3, 4
STOPS = (5, 6)
TOKENIZER = SimpleNamespace(
    vocab_size=V,
    pad_id=PAD,
    cls_id=2,
    sep_id=SEP,
    mask_id=MASK,
    special_ids=[0, 1, 2, 3, 4],
    word_starts=torch.ones(V, dtype=torch.bool),
    decode=lambda ids: {5: " end.", 6: "\n"}.get(ids[0], "word" if ids[0] > 4 else "."),
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(**options: Any) -> Denoise:
    transform = Denoise(**options)
    transform.read(TOKENIZER)
    return transform


def windows(B: int, N: int, lengths: tuple[int, ...] = ()) -> Tensor:
    """Row i counts up from 10, so that each token tells its place; `lengths` of real tokens in turn."""
    tokens = (torch.arange(N) + 10).repeat(B, 1)
    real = torch.tensor([(lengths or (N,))[i % len(lengths or (N,))] for i in range(B)])
    return tokens.masked_fill(torch.arange(N) >= real[:, None], PAD)


def text(row: Tensor) -> list[int]:
    """The tokens before [SEP], behind which there is only padding."""
    values = row.tolist()
    end = values.index(SEP)
    assert set(values[end + 1 :]) <= {PAD}
    return values[:end]


LENGTHS = (41, 40, 25, 10, 3, 2, 1)


def test_targets_are_the_text() -> None:
    tokens = windows(70, 41, LENGTHS)
    made = make()({"tokens": tokens}, generator())
    assert made["inputs"].shape == made["targets"].shape == tokens.shape
    for row, target in zip(tokens, made["targets"], strict=True):
        assert text(target) == [token for token in row.tolist()[:40] if token != PAD]


def test_spans_put_back_restore_the_text() -> None:
    """What is left stands in its order, and every gap in it has a [MASK] where tokens are missing."""
    made = make(shuffle=False)({"tokens": windows(350, 41, LENGTHS)}, generator())
    for found, target in zip(made["inputs"], made["targets"], strict=True):
        left, whole = text(found), text(target)
        restored: list[int] = []
        pieces = " ".join(map(str, left)).split(str(MASK)) if MASK in left else None
        assert pieces is not None, "at least one span"
        kept = [token for token in left if token != MASK]
        hidden = len(whole) - len(kept)
        assert hidden == max(1, round(0.3 * len(whole)))
        assert len(left) <= len(whole)
        for token in [*left, None]:
            if token == MASK:
                continue
            upto = whole.index(token) if token is not None else len(whole)
            missing = whole[len(restored) : upto]
            before = left[: left.index(token)] if token is not None else left
            assert not missing or before[-1] == MASK
            restored += missing + ([] if token is None else [token])
        assert restored == whole


def test_a_mask_a_span_of_poisson_length() -> None:
    made = make(shuffle=False)({"tokens": windows(500, 121)}, generator())
    hidden = 36.0
    spans = (made["inputs"] == MASK).sum(1).float()
    assert spans.mean().item() == pytest.approx(hidden / 3, rel=0.08)  # the last span is cut
    runs = torch.tensor([len(text(row)) - 84 for row in made["inputs"]])
    assert torch.equal(runs, spans.long())


def test_spans_may_be_empty() -> None:
    made = make(shuffle=False)({"tokens": windows(300, 41)}, generator())
    inserted = 0
    for row in made["inputs"]:
        left = text(row)
        inserted += sum(b == MASK and c == a + 1 for a, b, c in zip(left, left[1:], left[2:], strict=False))
    assert inserted > 0


def test_every_place_is_hidden_alike() -> None:
    """But for the ends, which fewer spans reach."""
    made = make(shuffle=False)({"tokens": windows(4000, 41)}, generator())
    left = torch.zeros(40)
    for place in range(40):
        left[place] = (made["inputs"] == 10 + place).any(1).float().mean()
    assert left.mean().item() == pytest.approx(0.7)
    torch.testing.assert_close(left, torch.full((40,), 0.7), atol=0.16, rtol=0)
    torch.testing.assert_close(left[3:-3], torch.full((34,), 0.69), atol=0.04, rtol=0)


def test_sentences_are_shuffled_whole() -> None:
    tokens = windows(200, 31)
    tokens[:, 7], tokens[:, 8], tokens[:, 19] = STOPS[0], STOPS[1], STOPS[0]
    tokens[::2, 25:] = PAD
    transform = make()
    places = transform.shuffled(tokens, generator())
    orders = set()
    for row, place in zip(tokens.tolist(), places.tolist(), strict=True):
        n = sum(token != PAD for token in row)
        assert place[n:] == list(range(n, 31))
        assert sorted(place) == list(range(31))
        cuts = {8, 9, 20}
        order = [p for i, p in enumerate(place[:n]) if i == 0 or p != place[i - 1] + 1]
        assert set(order) <= {0, *cuts}
        orders.add(tuple(order))
    assert len(orders) > 15


def test_without_shuffling_the_order_stays() -> None:
    tokens = windows(20, 31)
    tokens[:, ::4] = STOPS[0]
    made = make(shuffle=False)({"tokens": tokens}, generator())
    for row in made["inputs"]:
        kept = [token for token in text(row) if token not in (MASK, *STOPS)]
        assert kept == sorted(kept)


def test_special_tokens_end_no_sentence() -> None:
    assert make().ends_sentence.nonzero()[:, 0].tolist() == list(STOPS)


def test_a_window_without_text() -> None:
    made = make()({"tokens": torch.zeros(2, 6, dtype=torch.long)}, generator())
    assert made["inputs"].tolist() == made["targets"].tolist() == [[SEP, 0, 0, 0, 0, 0]] * 2


@pytest.mark.parametrize("rate", [0.05, 0.6, 0.95])
def test_any_rate(rate: float) -> None:
    made = make(rate=rate)({"tokens": windows(100, 41, LENGTHS)}, generator())
    for found, target in zip(made["inputs"], made["targets"], strict=True):
        n = len(text(target))
        assert len([token for token in text(found) if token != MASK]) == n - min(n, max(1, round(rate * n)))
