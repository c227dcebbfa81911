"""Language models at work: the next token drawn again and again, hidden tokens guessed.

All of it takes a model of transformers as it is, ours or anyone's, and no sampling state but the generator handed in.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


def next_token_probabilities(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0
) -> Tensor:
    """Probabilities (V,) of what comes next, from logits (V,): softmax(logits / temperature) of those that are kept.

    Kept are the `top_k` likeliest tokens (Fan et al. 2018, https://arxiv.org/abs/1805.04833), and of these the fewest
    that together have probability `top_p` (Holtzman et al. 2019, https://arxiv.org/abs/1904.09751), at least one.
    """
    scores = logits.float() / temperature
    if top_k is not None and top_k < len(scores):
        scores = scores.masked_fill(scores < scores.topk(top_k).values[-1], -torch.inf)
    if top_p < 1:
        ordered, order = scores.sort(descending=True, stable=True)
        before = ordered.softmax(dim=0).cumsum(dim=0).roll(1)
        before[0] = 0  # of the likeliest token, which is always kept
        scores = scores.index_fill(0, order[before >= top_p], -torch.inf)
    return scores.softmax(dim=0)


@torch.no_grad()
def continued(
    model: Any,
    tokens: Sequence[int],
    max_length: int,
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    forbidden: Sequence[int] = (),
) -> Iterator[int]:
    """Endlessly the next token after `tokens`, of which there is at least one, each drawn from those before it.

    Up to `max_length` tokens the keys and values of those before are kept; beyond it the model sees the last
    `max_length` of them, computed anew for each token. `forbidden` tokens are never drawn. `generator`: on the CPU.
    """
    seen, cache = list(tokens), None
    banned = torch.tensor(list(forbidden), dtype=torch.long)
    while True:
        if cache is None or len(seen) > max_length:
            fresh, cache = seen[-max_length:], None
        else:
            fresh = seen[-1:]
        inputs = torch.tensor([fresh], device=model.device)
        result = model(input_ids=inputs, past_key_values=cache, use_cache=len(seen) < max_length)
        cache = getattr(result, "past_key_values", None)
        logits = result.logits[0, -1].float().cpu().index_fill(0, banned, -torch.inf)
        probabilities = next_token_probabilities(logits, temperature, top_k, top_p)
        seen.append(int(torch.multinomial(probabilities, 1, generator=generator)))
        yield seen[-1]


@torch.no_grad()
def best_fillings(model: Any, inputs: dict[str, Tensor], mask_id: int, count: int) -> tuple[Tensor, Tensor]:
    """The `count` likeliest tokens of each of M hidden ones, and their probabilities: (M, count) each, in order.

    `inputs`: what the model takes, `input_ids` (1, N) among it; hidden is where `mask_id` stands.
    """
    hidden = inputs["input_ids"][0] == mask_id
    logits = model(**inputs).logits[0, hidden].float()
    best = logits.softmax(dim=-1).topk(min(count, logits.shape[-1]), dim=-1)
    return best.indices.cpu(), best.values.cpu()


@torch.no_grad()
def restored(model: Any, inputs: dict[str, Tensor], max_new_tokens: int, beams: int) -> list[int]:
    """The likeliest tokens of the decoder for a corrupted text: greedy with one beam, else of as many beams."""
    made = model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        num_beams=beams,
        do_sample=False,
        early_stopping=beams > 1,
    )
    return [int(token) for token in made[0]]
