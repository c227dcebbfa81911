"""Text from language models: continue a prompt, fill masks, restore a corrupted text.

All functions take any model of transformers. Sampling draws from the generator that is passed in and from nothing else.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


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
    """Samples token after token after `tokens` (at least one), without end.

    A cache keeps the keys and values of earlier tokens up to `max_length` tokens. After that the model reads the last
    `max_length` tokens again for each new one.

    Args:
        generator: on the CPU.
        temperature: divides the logits.
        top_k: keeps the k most likely tokens (Fan et al. 2018, https://arxiv.org/abs/1805.04833).
        top_p: keeps the fewest most likely tokens whose probabilities sum to at least p, nucleus sampling (Holtzman et
            al. 2019, https://arxiv.org/abs/1904.09751).
        forbidden: tokens that are never drawn.
    """
    seen, cache = list(tokens), None
    process = _logits_processors(temperature, top_k, top_p, forbidden)
    while True:
        if cache is None or len(seen) > max_length:
            fresh, cache = seen[-max_length:], None
        else:
            fresh = seen[-1:]
        inputs = torch.tensor([fresh], device=model.device)
        result = model(input_ids=inputs, past_key_values=cache, use_cache=len(seen) < max_length)
        cache = getattr(result, "past_key_values", None)
        scores = process(inputs, result.logits[:, -1].float().cpu())
        seen.append(int(torch.multinomial(scores[0].softmax(dim=0), 1, generator=generator)))
        yield seen[-1]


def _logits_processors(temperature: float, top_k: int | None, top_p: float, forbidden: Sequence[int]) -> Any:
    """The filters of transformers' `generate`, in its order."""
    import transformers

    filters: list[Any] = [transformers.SuppressTokensLogitsProcessor(forbidden)] if forbidden else []
    filters.append(transformers.TemperatureLogitsWarper(float(temperature)))
    if top_k is not None:
        filters.append(transformers.TopKLogitsWarper(top_k))
    if top_p < 1:
        filters.append(transformers.TopPLogitsWarper(top_p))
    return transformers.LogitsProcessorList(filters)


@torch.no_grad()
def best_fillings(
    model: Any, inputs: dict[str, Tensor], mask_id: int, count: int, forbidden: Sequence[int] = ()
) -> tuple[Tensor, Tensor]:
    """The `count` most likely tokens for each of M masks and their probabilities: (M, count) each, best first.

    `inputs`: the model's inputs, with `input_ids` (1, N); masks are the places with `mask_id`. Those `forbidden` are
    left out, but the probabilities of the others stay.
    """
    hidden = inputs["input_ids"][0] == mask_id
    logits = model(**inputs).logits[0, hidden].float()
    probabilities = logits.softmax(dim=-1)
    probabilities[:, list(forbidden)] = -1.0
    best = probabilities.topk(min(count, logits.shape[-1] - len(forbidden)), dim=-1)
    return best.indices.cpu(), best.values.cpu()


@torch.no_grad()
def restored(model: Any, inputs: dict[str, Tensor], max_new_tokens: int, beams: int) -> list[int]:
    """The decoder's most likely tokens for a corrupted text: beam search, which is greedy with one beam."""
    made = model.generate(
        **inputs, max_new_tokens=max_new_tokens, num_beams=beams, do_sample=False, early_stopping=beams > 1
    )
    return [int(token) for token in made[0]]
