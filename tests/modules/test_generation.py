"""Sampling with and without a cache, fillings and restored texts against naive loops."""

from itertools import islice
from typing import Any

import pytest
import torch

from ssl_lightning.modules.backbones.language_model import LanguageModel
from ssl_lightning.modules.backbones.text import language_model
from ssl_lightning.modules.generation import best_fillings, continued, restored

V, LENGTH = 30, 12


def model(architecture: str, head: Any) -> LanguageModel:
    """A tiny one whose weights are far enough from zero to have an opinion."""
    torch.manual_seed(0)
    made = language_model(
        architecture,
        V,
        0,
        head,
        max_length=LENGTH + (head == "causal"),
        width=16,
        layers=2,
        heads=2,
        cls_id=2,
        sep_id=3,
    ).eval()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.2 * torch.randn(p.shape))
    return made


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 1}, 1),
        ({"top_k": 3}, 3),
        ({"top_p": 1e-6}, 1),
        ({"temperature": 1e-4}, 1),
        ({"top_k": 2, "top_p": 0.99}, 2),
    ],
)
def test_options_reach_the_filters(options: dict[str, Any], kept: int) -> None:
    """Whatever is drawn is among the `kept` most likely tokens."""
    causal, seen = model("gpt2", "causal"), [5]
    for token in islice(continued(causal.model, [5], LENGTH, generator(), **options), LENGTH - 1):
        with torch.no_grad():
            logits = causal.model(input_ids=torch.tensor([seen])).logits[0, -1]
        assert token in logits.topk(kept).indices
        seen.append(token)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
def test_the_cache_changes_nothing(architecture: str) -> None:
    """Also where the text outgrows the longest window, which a naive loop cuts at each token."""
    causal = model(architecture, "causal")
    seen, draws = [5, 6, 7], generator()
    with torch.no_grad():
        for _ in range(2 * LENGTH):
            tokens = torch.tensor([seen[-LENGTH:]])
            logits = causal.logits(causal.hidden(tokens, tokens >= 0)[0, -1])
            drawn = torch.multinomial((logits / 0.8).softmax(dim=0), 1, generator=draws)
            seen.append(int(drawn))
    found = list(islice(continued(causal.model, [5, 6, 7], LENGTH, generator(), temperature=0.8), 2 * LENGTH))
    assert found == seen[3:]


def test_a_seed_is_a_text_and_a_long_beginning_is_cut() -> None:
    causal = model("llama", "causal").model
    first, again, other = (list(islice(continued(causal, [5] * 40, LENGTH, generator(seed)), 20)) for seed in (1, 1, 2))
    assert first == again != other


def test_what_is_forbidden_is_not_drawn() -> None:
    forbidden = [token for token in range(V) if token not in (7, 8)]
    found = list(islice(continued(model("gpt2", "causal").model, [5], LENGTH, generator(), forbidden=forbidden), 30))
    assert set(found) == {7, 8}


def test_fillings_are_the_likeliest_tokens() -> None:
    masked = model("bert", "masked").model
    tokens = torch.tensor([[9, 4, 11, 4]])
    ids, probabilities = best_fillings(masked, {"input_ids": tokens}, mask_id=4, count=3)
    assert ids.shape == probabilities.shape == (2, 3)
    with torch.no_grad():
        expected = masked(input_ids=tokens).logits[0].softmax(dim=-1)
    for place, row, values in zip((1, 3), ids.tolist(), probabilities, strict=True):
        ranked = sorted(range(V), key=lambda token: -float(expected[place, token]))
        assert row == ranked[:3]
        torch.testing.assert_close(values, expected[place, row])
    assert best_fillings(masked, {"input_ids": tokens}, mask_id=4, count=100)[0].shape == (2, V)
    best = int(ids[0, 0])
    fewer, others = best_fillings(masked, {"input_ids": tokens}, mask_id=4, count=100, forbidden=[best, 4])
    assert fewer.shape == (2, V - 2)
    assert not {best, 4} & set(fewer.flatten().tolist())
    assert others[0, 0] == expected[1, fewer[0, 0]]


def test_greedy_restoring_takes_the_likeliest_token_each_time() -> None:
    bart = model("bart", "seq2seq")
    inputs = torch.tensor([[9, 4, 11, 3]])
    found = restored(bart.model, {"input_ids": inputs, "attention_mask": torch.ones_like(inputs)}, 8, beams=1)
    made: list[int] = []
    with torch.no_grad():
        while len(made) < 8 and made[-1:] != [3]:
            _, h = bart.decoded(inputs, inputs != 0, torch.tensor([[*made, 0]]))
            made.append(int(bart.logits(h[0, -1]).argmax()))
    assert found == [0, *made]  # the start, which is padding, and what the decoder wrote
    assert len(restored(bart.model, {"input_ids": inputs}, 8, beams=3)) <= 9
