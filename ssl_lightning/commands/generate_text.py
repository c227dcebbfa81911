"""A text continued, its masks filled, or restored, by what a run or a checkpoint of transformers has learned.

Pictures are the business of `showing.py`.
"""

import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from ssl_lightning.commands.text_model import TextModel, text_model_of_checkpoint, text_model_of_run
from ssl_lightning.errors import InputError
from ssl_lightning.modules.generation import best_fillings, continued, restored
from ssl_lightning.runs.folder import find_run, write_json
from ssl_lightning.runs.provenance import provenance

_MASK = "[MASK]"
"""How a text says that something is hidden, whatever the token of the model is called."""


def generate(config: DictConfig) -> None:
    """Writes to the terminal and, as a JSON file of its own each time, to Hydra's output folder.

    Raises:
        InputError: no text or picture, or one that the model cannot take; no such run or checkpoint; options out of
            range.
    """
    refuse_wrong_options(config)
    path = _free_name(Path(HydraConfig.get().runtime.output_dir))
    if not OmegaConf.is_missing(config, "input"):
        from ssl_lightning.commands.generate_images import generate_images

        generate_images(config, find_run(config.run), path)
        return
    if OmegaConf.is_missing(config, "run"):
        origin = config.checkpoint
        text = text_model_of_checkpoint(str(config.checkpoint))
    else:
        run = find_run(config.run)
        origin = str(run.checkpoint(str(config.checkpoint)))
        text = text_model_of_run(run, str(config.checkpoint), "continue, fill or restore a text")
    text.model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    began = time.perf_counter()
    kept = [str(key) for key in config if key not in ("text", "input", "max_images", "frames", "run", "checkpoint")]
    made = {"causal": _continue, "masked": _fill, "seq2seq": _restore}[text.head](text, config)
    content = {
        "text": config.text,
        **made,
        "checkpoint": origin,
        "options": {key: config[key] for key in kept},
        "timing": {"wall_seconds": time.perf_counter() - began},
        "provenance": provenance(OmegaConf.to_yaml(config), "32-true", 1, config.seed),
    }
    write_json(path, content)
    Console(stderr=True).print(f"[bold]wrote[/] {path}", highlight=False, soft_wrap=True)


def refuse_wrong_options(config: DictConfig) -> None:
    """All that can be seen before anything is loaded.

    Raises:
        InputError: a value that is missing, of another kind, or out of its range.
    """
    pictures = not OmegaConf.is_missing(config, "input")
    if pictures and not OmegaConf.is_missing(config, "text"):
        raise InputError("text= and input= are for different runs: give the one that the method was trained on")
    if pictures and (OmegaConf.is_missing(config, "run") or not str(config.input).strip()):
        raise InputError("pictures need a run and a path: ssl-generate run=RUN input=image.png, or a folder of images")
    if not pictures and (OmegaConf.is_missing(config, "text") or not str(config.text).strip()):
        raise InputError(
            'text is missing: ssl-generate run=RUN text="...", or input=image.png where the run is of images'
        )
    if OmegaConf.is_missing(config, "run") and config.checkpoint == "last":
        raise InputError("run is missing: ssl-generate run=RUN, or checkpoint= a folder or name of transformers")
    lowest = {"max_new_tokens": 1, "words": 1, "beams": 1, "top_k": 1, "max_images": 1, "frames": 1, "seed": 0}
    for key, low in lowest.items():
        value = config[key]
        if not (value is None and key == "top_k") and (type(value) is not int or value < low):
            raise InputError(f"{key}={value} is not a whole number from {low}")
    for key in ("temperature", "top_p"):
        if type(config[key]) not in (int, float):
            raise InputError(f"{key}={config[key]} is not a number")
    if not config.temperature > 0:
        raise InputError(f"temperature={config.temperature} must be above 0; for the likeliest text use top_k=1")
    if not 0 < config.top_p <= 1:
        raise InputError(f"top_p={config.top_p} must be above 0 and at most 1")


def _continue(text: TextModel, config: DictConfig) -> dict[str, Any]:
    tokenizer, end = text.tokenizer, text.model.config.eos_token_id
    ids = tokenizer(config.text, split_special_tokens=True, verbose=False)["input_ids"]
    if ids and ids[-1] == end:
        ids = ids[:-1]
    if not ids:
        raise InputError("the text has no token to go on from; give more of it")
    tokens = continued(
        text.model,
        ids,
        text.max_length,
        torch.Generator().manual_seed(config.seed),
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        forbidden=text.forbidden,
    )
    drawn: list[int] = []

    def until_the_end() -> Iterator[int]:
        for token in islice(tokens, config.max_new_tokens):
            if token in (end if isinstance(end, list) else [end]):
                return
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
    inputs = _encoded(text, written)
    ids, probabilities = best_fillings(text.model, inputs, tokenizer.mask_token_id, config.words)
    masks = [
        [
            {"word": _word(tokenizer, token), "token": token, "probability": p}
            for token, p in zip(row, values, strict=True)
        ]
        for row, values in zip(ids.tolist(), probabilities.tolist(), strict=True)
    ]
    best = iter(ids[:, 0].tolist())
    filled = [next(best) if token == tokenizer.mask_token_id else token for token in inputs["input_ids"][0].tolist()]
    table = Table(title=config.text.replace("[", r"\["), title_justify="left")
    for number in range(1, len(masks) + 1):
        table.add_column(_MASK.replace("[", r"\[") + (f" {number}" if len(masks) > 1 else ""))
        table.add_column("probability", justify="right")
    for rank in zip(*masks, strict=True):
        table.add_row(*(cell for g in rank for cell in (g["word"].replace("[", r"\["), f"{g['probability']:.2%}")))
    Console().print(table)
    return {"masks": masks, "filled": _decode(tokenizer, filled)}


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
    """Its text; of a space, a byte or a special token, which is no text of its own, its name."""
    text = _decode(tokenizer, [token]).strip()
    return text if text.isprintable() and text.strip("\ufffd") else str(tokenizer.convert_ids_to_tokens(token))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _free_name(folder: Path) -> Path:
    stem = time.strftime("%Y-%m-%d_%H-%M-%S")
    names = (folder / f"{stem}{f'_{number}' if number else ''}.json" for number in range(10**6))
    return next(path for path in names if not path.exists())
