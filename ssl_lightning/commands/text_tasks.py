"""What language models do with a user's text: continue it, fill its masks, or restore it."""

import sys
from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console

from ssl_lightning.commands.text_model import TextModel
from ssl_lightning.errors import InputError, printable
from ssl_lightning.figures.table import print_table
from ssl_lightning.modules.generation import best_fillings, continued, restored

_MASK = "[MASK]"
"""How a text says that something is hidden, whatever the token of the model is called."""


def perform(text: TextModel, config: DictConfig) -> dict[str, Any]:
    """`config.text` continued, its masks filled, or restored, as the model can; on the terminal, and as JSON.

    Raises:
        InputError: a text that the model cannot take.
    """
    return {"causal": _continue, "masked": _fill, "seq2seq": _restore}[text.head](text, config)


def _continue(text: TextModel, config: DictConfig) -> dict[str, Any]:
    tokenizer, end = text.tokenizer, text.model.config.eos_token_id
    ids = tokenizer(config.text, split_special_tokens=True, verbose=False)["input_ids"]
    if ids and ids[-1] == end:
        ids = ids[:-1]
    if not ids:
        raise InputError("the text has no token to go on from; give more of it")
    generator = torch.Generator().manual_seed(config.seed)
    options = {key: config[key] for key in ("temperature", "top_k", "top_p")}
    tokens = continued(text.model, ids, text.max_length, generator, **options, forbidden=text.forbidden)
    ends = end if isinstance(end, list) else [end]
    drawn: list[int] = []

    def until_the_end() -> Iterator[int]:
        for token in takewhile(lambda token: token not in ends, islice(tokens, config.max_new_tokens)):
            drawn.append(token)
            yield token

    _write(config.text)
    for piece in pieces(tokenizer, ids, until_the_end()):
        _write(piece)
    _write("\n")
    whole = _decode(tokenizer, [*ids, *drawn])
    return {"continuation": whole[len(_decode(tokenizer, ids)) :], "tokens": drawn}


def pieces(tokenizer: Any, before: list[int], tokens: Iterator[int]) -> Iterator[str]:
    """The text of tokens as they come; a character of which only some bytes are there waits for the others."""
    ids = list(before)
    shown = len(_decode(tokenizer, ids))
    for token in tokens:
        ids.append(token)
        text = _decode(tokenizer, ids)
        if not text.endswith("\ufffd"):
            yield text[shown:]
            shown = max(shown, len(text))
    yield _decode(tokenizer, ids)[shown:]


def _fill(text: TextModel, config: DictConfig) -> dict[str, Any]:
    tokenizer = text.tokenizer
    written = config.text.replace(_MASK, tokenizer.mask_token)
    if tokenizer.mask_token not in written:
        raise InputError(f'the text has no [MASK] for this masked model to fill, as in text="the {_MASK} of it"')
    if config.words > text.model.config.vocab_size:
        raise InputError(f"words={config.words} are more than the {text.model.config.vocab_size} that the model knows")
    inputs = _encoded(text, written)
    ids, probabilities = best_fillings(
        text.model, inputs, tokenizer.mask_token_id, config.words, tokenizer.all_special_ids
    )
    given = inputs["input_ids"][0].cpu()
    filled = given.masked_scatter(given == tokenizer.mask_token_id, ids[:, 0])
    masks = [
        [{"word": _word(tokenizer, t), "token": t, "probability": p} for t, p in zip(*guesses, strict=True)]
        for guesses in zip(ids.tolist(), probabilities.tolist(), strict=True)
    ]
    numbers = range(1, 1 + len(masks)) if len(masks) > 1 else [""]
    headings = [heading for number in numbers for heading in (f"{_MASK} {number}".strip(), "probability")]
    rows = [
        [cell for guess in rank for cell in (guess["word"], f"{guess['probability']:.2%}")]
        for rank in zip(*masks, strict=True)
    ]
    print_table(Console(), config.text, headings, rows)
    return {"masks": masks, "filled": _decode(tokenizer, filled.tolist())}


def _restore(text: TextModel, config: DictConfig) -> dict[str, Any]:
    tokenizer = text.tokenizer
    written = config.text if tokenizer.mask_token is None else config.text.replace(_MASK, tokenizer.mask_token)
    inputs = _encoded(text, written)
    tokens = restored(text.model, inputs, min(config.max_new_tokens, text.max_length - 1), config.beams)
    _write(f"{_decode(tokenizer, tokens)}\n")
    return {"restored": _decode(tokenizer, tokens), "tokens": tokens}


def _encoded(text: TextModel, written: str) -> dict[str, torch.Tensor]:
    inputs = dict(text.tokenizer(written, return_tensors="pt", verbose=False).to(text.model.device))
    length = inputs["input_ids"].shape[1]
    if length > text.max_length:
        raise InputError(f"the text has {length} tokens, but the model takes {text.max_length}: shorten it")
    return inputs


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _word(tokenizer: Any, token: int) -> str:
    """Its text, that of space in quotes; of a byte or a special token, which has none of its own, its name."""
    text = _decode(tokenizer, [token])
    if not text.strip("\ufffd"):
        return str(tokenizer.convert_ids_to_tokens(token))
    word = text.strip()
    return word if word and word.isprintable() else repr(text)


def _write(text: str) -> None:
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()
