"""The pretext task of a run on the user's own pictures."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from rich.console import Console

from ssl_lightning.config.build import load_config
from ssl_lightning.config.choices import choices_that_fit
from ssl_lightning.data.image.decode import decode
from ssl_lightning.data.image.image_folder import list_images
from ssl_lightning.data.video.frame_folder import natural
from ssl_lightning.errors import InputError
from ssl_lightning.figures.clips import clip_figure, write_gif
from ssl_lightning.figures.images import columns_figure, unnormalized
from ssl_lightning.runs.folder import RunFolder, write_json
from ssl_lightning.runs.load import load_method
from ssl_lightning.runs.pretext import run_pretext_task
from ssl_lightning.runs.provenance import provenance

_CROP = "ssl_lightning.transforms.ops.RandomResizedCrop"
_SQUARE = "ssl_lightning.transforms.ops.CentralSquare"


def generate_images(config: DictConfig, run: RunFolder, path: Path) -> None:
    """Writes `path`, a JSON file, and beside it a PNG of what the method makes of each picture at `config.input`.

    A run on video takes the pictures of a folder as the frames of one film and goes on with it; a GIF is written, too.
    Pictures are converted to the channels and size of the run, and transformed as it trained, but for random crops.

    Raises:
        InputError: a run that has nothing to show on a picture, or pictures that are not there or cannot be read.
    """
    began = time.perf_counter()
    composed = load_config(run.config)
    _refuse_what_shows_nothing(composed, run)
    data: Any = get_class(composed.data._target_)
    film = "video" in data.provides
    files = _files(str(config.input))
    left_out = len(files[config.max_images :])
    files = files[-config.max_images :] if film else files[: config.max_images]
    images = np.stack([_decoded(file, composed.data.image_size, composed.data.channels) for file in files])
    method, _ = load_method(run, str(config.checkpoint))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    method.to(device)
    transform = instantiate(_uncropped(composed)).to(device)
    given = torch.from_numpy(images).to(device)
    if film:
        frames = transform({"video": given[None]})["frames"]
        columns = {"seen": frames, "predicted": method.continued(frames, config.frames)}
    else:
        batch = {"image": given, "index": torch.arange(len(files), device=device)}
        batch = transform(batch, torch.Generator(device).manual_seed(config.seed))
        columns = run_pretext_task(method, batch, config.seed)
    shown = {name: unnormalized(column, composed.data.mean, composed.data.std) for name, column in columns.items()}
    figure = path.with_suffix(".png")
    figure.parent.mkdir(parents=True, exist_ok=True)
    if film:
        clip_figure(shown).savefig(figure, dpi=150)
        figure = path.with_suffix(".gif")
        write_gif(figure, shown)
    else:
        columns_figure(shown, [file.name for file in files]).savefig(figure, dpi=150)
    content = {
        "input": str(config.input),
        "files": [str(file) for file in files],
        "left_out": left_out,
        "columns": list(columns),
        "figure": figure.name,
        "checkpoint": str(run.checkpoint(str(config.checkpoint))),
        "options": {"seed": config.seed, "max_images": config.max_images, "frames": config.frames},
        "timing": {"wall_seconds": time.perf_counter() - began},
        "provenance": provenance(OmegaConf.to_yaml(config), "32-true", 1, config.seed),
    }
    write_json(path, content)
    more = f" ({left_out} more pictures are left out: max_images={config.max_images})" if left_out else ""
    Console(stderr=True).print(f"[bold]wrote[/] {figure} and {path.name}{more}", highlight=False, soft_wrap=True)


def _refuse_what_shows_nothing(composed: DictConfig, run: RunFolder) -> None:
    method: Any = get_class(composed.method._target_)
    data: Any = get_class(composed.data._target_)
    trained = f"{run.path} trained {method.__name__}"
    if "tokens" in data.provides:
        raise InputError(f"{trained}, which takes text: give text=... in place of input=")
    if not hasattr(method, "show"):
        able = ", ".join(choices_that_fit("method", lambda made, _: hasattr(made, "show")))
        raise InputError(f"{trained}, which has no task to show on a picture; methods that have: {able}")


def _files(given: str) -> list[Path]:
    place = Path(given).expanduser()
    if place.is_dir():
        return [place / name for name in sorted(list_images(place), key=natural)]
    if not place.exists():
        raise InputError(f"there is no picture and no folder at {place}")
    return [place]


def _decoded(file: Path, size: int, channels: int) -> np.ndarray:
    try:
        return decode(str(file), size, channels)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{file} cannot be read as an image ({type(error).__name__})") from error


def _uncropped(composed: DictConfig) -> DictConfig:
    """The transform of a run with the whole central square where it trained on random crops."""
    square = {"_target_": _SQUARE, "size": composed.data.image_size}

    def replaced(node: Any) -> Any:
        if isinstance(node, dict):
            return square if node.get("_target_") == _CROP else {key: replaced(child) for key, child in node.items()}
        return [replaced(child) for child in node] if isinstance(node, list) else node

    return OmegaConf.create(replaced(OmegaConf.to_container(composed.transform, resolve=True)))
