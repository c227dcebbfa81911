"""A trained method does its pretext task on what a user gives: a text, or files that its modality reads."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.fabric.utilities import move_data_to_device
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import track

from ssl_lightning.commands.embed import embed_rows
from ssl_lightning.commands.pair_judges import encoded_texts
from ssl_lightning.commands.text_model import refuse_without, text_model
from ssl_lightning.commands.text_tasks import perform
from ssl_lightning.config.build import build_data, load_config
from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.retrieval import similarities
from ssl_lightning.figures.style import save
from ssl_lightning.figures.table import print_lines, print_table
from ssl_lightning.runs.description import title
from ssl_lightning.runs.folder import find_run, write_json
from ssl_lightning.runs.frozen_features import embedded
from ssl_lightning.runs.load import load_method
from ssl_lightning.runs.pretext import run_pretext_task
from ssl_lightning.runs.provenance import provenance

_OF_TEXT = ("max_new_tokens", "temperature", "top_k", "top_p", "words", "beams", "seed")
_OF_FILES = ("max_images", "frames", "seed")


def generate(config: DictConfig) -> None:
    """Writes to the terminal and, as a JSON file of its own each time, to Hydra's output folder.

    Raises:
        InputError: no text or files, or some that the method cannot take; no such run or checkpoint; options out of
            range.
    """
    _refuse_misfit(config)
    began = time.perf_counter()
    path = _free_name(Path(HydraConfig.get().runtime.output_dir))
    of_text, alone = (OmegaConf.is_missing(config, "input"), OmegaConf.is_missing(config, "text"))
    made = _from_text(config) if of_text else _from_files(config, path) if alone else _from_both(config, path)
    content = {
        **made,
        "options": {key: config[key] for key in (_OF_TEXT if of_text else _OF_FILES)},
        "timing": {"wall_seconds": time.perf_counter() - began},
        "provenance": provenance(OmegaConf.to_yaml(config), "32-true", 1, config.seed),
    }
    write_json(path, content)
    written = f"{path.with_name(made['figure'])} and {path.name}" if "figure" in made else path
    left_out = made.get("left_out", 0)
    more = f" ({left_out} more pictures are left out: max_images={config.max_images})" if left_out else ""
    print_lines(Console(stderr=True), {"wrote": f"{written}{more}"})


def _from_text(config: DictConfig) -> dict[str, Any]:
    """The text continued, its masks filled, or restored, by what a run or a checkpoint of transformers has learned."""
    checkpoint = str(config.checkpoint)
    run = None if OmegaConf.is_missing(config, "run") else find_run(config.run)
    text = text_model(run, checkpoint, "continue, fill or restore a text")
    text.model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    origin = checkpoint if run is None else str(run.checkpoint(checkpoint))
    return {"text": config.text, **perform(text, config), "checkpoint": origin}


def _from_files(config: DictConfig, path: Path) -> dict[str, Any]:
    """The pretext task on files, drawn beside `path`; they are transformed as in training, without random crops."""
    run, checkpoint = find_run(config.run), str(config.checkpoint)
    option = build_data(load_config(run.config)).modality.option
    if option != "input":
        raise InputError(f"{run.path} takes {option}: give {option}=... instead of input=")
    refuse_without("show", run, "show its task on a picture")
    method, data = load_method(run, checkpoint)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    given = data.modality.read_input(str(config.input), config.max_images)
    data.transform.eval()
    batch = data.augment(move_data_to_device(given.batch, device), config.seed)
    columns = run_pretext_task(method.to(device), batch, config.seed, config)
    near, nearest = ({}, {}) if config.among is None else _nearest(method, data, given, config)
    columns |= nearest
    drawn = _drawn(config, data.modality, given, columns, [file.name for file in given.files], path)
    return {**drawn, "columns": list(columns), **near}


@torch.no_grad()
def _nearest(method: Any, data: Any, given: Any, config: DictConfig) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The files of the folder `among` that are nearest to each given one, on the terminal and as columns of pictures.

    Raises:
        InputError: there are no others that can be read.
    """
    home, modality = Path(config.among).expanduser(), data.modality
    unreadable: dict[str, str] = {}
    features: list[np.ndarray] = []
    samples = modality.find_samples(str(config.among))
    own = {file.resolve() for file in given.files}
    rows = [row for row, name in enumerate(samples.names) if (home / name).resolve() not in own]
    for start in track(range(0, len(rows), data.batch_size), "embedding", console=Console(stderr=True)):
        features += embed_rows(method, data, samples, rows[start : start + data.batch_size], unreadable)
    if not features:
        raise InputError(f"among={config.among} has no other file that can be read")
    rows, others = [row for row in rows if str(row) not in unreadable], torch.from_numpy(np.concatenate(features))
    queries = embedded(method, data, move_data_to_device(given.batch, method.device)).float().cpu()
    center = others.mean(dim=0)
    cosine, place = similarities(queries - center, others - center).topk(min(config.neighbours, len(rows)), dim=1)
    near = {}
    for file, found, cosines in zip(given.files, place.tolist(), cosine.tolist(), strict=True):
        names = [samples.names[rows[n]] for n in found]
        near[file.name] = dict(zip(names, cosines, strict=True))
        print_table(Console(), file.name, ["nearest", "cosine"], [(k, f"{x:.3f}") for k, x in near[file.name].items()])
    columns = {}
    for rank, found in enumerate(place.T.tolist(), start=1):
        view = modality.evaluation_view(samples.batch([rows[n] for n in found]))
        columns[f"nearest {rank}"] = view[modality.key].cpu()
    return {"nearest": near}, columns


def _from_both(config: DictConfig, path: Path) -> dict[str, Any]:
    """Captions, which "|" separates, and pictures ranked for each other: on the terminal, and drawn beside `path`."""
    run, checkpoint = find_run(config.run), str(config.checkpoint)
    refuse_without("encode_text", run, "rank captions and pictures: give text= or input= alone")
    method, data = load_method(run, checkpoint)
    given = data.modality.read_input(str(config.input), config.max_images)
    captions = list(dict.fromkeys(part.strip() for part in str(config.text).split("|") if part.strip()))
    images = data.modality.evaluation_view(given.batch)["image"]
    with torch.no_grad():
        cosine = similarities(method.encode_image(images), encoded_texts(method, data, captions))  # (files, captions)
    names = [file.name for file in given.files]
    tables = {caption: ("picture", names, cosine[:, place]) for place, caption in enumerate(captions)}
    if len(names) == 1:
        tables = {f"captions of {names[0]}": ("caption", captions, cosine[0])}
    for heading, (kind, found, near) in tables.items():
        rows = [(found[place], f"{near[place]:.3f}") for place in near.argsort(descending=True).tolist()]
        print_table(Console(), heading, [kind, "cosine"], rows)
    numbers = [f"{rank}." for rank in range(1, len(names) + 1)]
    order = cosine[0].argsort(descending=True).tolist() if len(names) == 1 else range(len(captions))
    ranked = {captions[place]: images[cosine[:, place].argsort(descending=True)] for place in order}
    drawn = _drawn(config, data.modality, given, ranked, numbers, path)
    return {**drawn, "captions": captions, "similarities": cosine.tolist()}


def _drawn(
    config: DictConfig, modality: Any, given: Any, columns: dict[str, torch.Tensor], names: list[str], path: Path
) -> dict[str, Any]:
    """Draws the columns beside `path`, also as a film where the modality moves; what is said of both ways."""
    run, picture, film = find_run(config.run), path.with_suffix(".png"), path.with_suffix(".gif")
    save(modality.draw(columns, names), picture, title(run, config.seed))
    return {
        "input": str(config.input),
        "files": [str(file) for file in given.files],
        "left_out": given.left_out,
        "figure": (film if modality.animate(columns, film) else picture).name,
        "checkpoint": str(run.checkpoint(str(config.checkpoint))),
    }


def _refuse_misfit(config: DictConfig) -> None:
    """What is given must fit together.

    Raises:
        InputError: a value that is missing, or one too many.
    """
    given = {key: str(config[key]) for key in ("run", "input", "text") if not OmegaConf.is_missing(config, key)}
    pictures, text = "input" in given, given.get("text", "")
    if pictures and "text" in given and not text.strip(" |"):
        raise InputError('text= is empty: give captions to rank, as in text="a cat | a dog"')
    if pictures and ("run" not in given or not given["input"].strip()):
        raise InputError("pictures need a run and a path: ssl-generate run=RUN input=image.png, or a folder of images")
    if not pictures and not text.strip():
        raise InputError(
            'text is missing: ssl-generate run=RUN text="...", or input=image.png where the run is of images'
        )
    if "run" not in given and config.checkpoint == "last":
        raise InputError("run is missing: ssl-generate run=RUN, or checkpoint= a folder or name of transformers")


def _free_name(folder: Path) -> Path:
    stem = time.strftime("%Y-%m-%d_%H-%M-%S")
    names = (folder / f"{stem}{f'_{number}' if number else ''}.json" for number in range(10**6))
    return next(path for path in names if not path.exists())
