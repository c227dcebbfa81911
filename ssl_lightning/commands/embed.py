"""The embeddings of a run's frozen encoder, for a user's files or the run's own data, and which of them are alike."""

import csv
import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.fabric.utilities import move_data_to_device
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import track

from ssl_lightning.commands.evaluated import chosen_data, config_on
from ssl_lightning.errors import InputError, first_line
from ssl_lightning.evaluation.features import spread
from ssl_lightning.evaluation.knn import nearest
from ssl_lightning.figures.curves import map_figure, picture_map
from ssl_lightning.figures.style import save
from ssl_lightning.figures.table import print_lines
from ssl_lightning.runs.description import title
from ssl_lightning.runs.folder import RunFolder, find_run, write_json, written_beside
from ssl_lightning.runs.frozen_features import embedded
from ssl_lightning.runs.load import load_method
from ssl_lightning.runs.provenance import provenance

_MOST_ON_MAP, _ROWS_OF_SHEET, _MOST_ON_SHEET = 2000, 10, 8
_ROWS_AT_ONCE = 2**16
_SECONDS = 1.0
"""Between two notes of how far it is."""


def embed(config: DictConfig) -> None:
    """Writes to Hydra's output folder.

    Raises:
        InputError: no such run, checkpoint or input; no sample that can be read; another process embeds there.
    """
    run, out = find_run(config.run), Path(HydraConfig.get().runtime.output_dir)
    with RunFolder(out).locked():
        _embed_into(out, run, config)


def _embed_into(out: Path, run: RunFolder, config: DictConfig) -> None:
    checkpoint = run.checkpoint(str(config.checkpoint))
    method, data = load_method(run, str(checkpoint), config_on(run, config.data))
    samples, origin = _samples(config, data)
    stamp = [checkpoint.stat().st_mtime_ns, origin, list(samples.names)]
    part = Part(out, hashlib.sha256(json.dumps(stamp).encode()).hexdigest())
    part.fill(method.to("cuda" if torch.cuda.is_available() else "cpu"), data, samples)
    features, unreadable = part.features, {int(row): why for row, why in part.state["unreadable"].items()}
    kept = [row for row in range(len(samples.names)) if row not in unreadable]
    names = [samples.names[row] for row in kept]
    numbers = None if samples.labels is None else torch.as_tensor(np.asarray(samples.labels)[kept])
    labels = None if numbers is None else [samples.classes[number] for number in numbers]
    files = _write(out / f"embeddings.{config.format}", features, names, labels)
    description = {
        "run": str(run.path.resolve()),
        "checkpoint": str(checkpoint),
        "input": origin,
        "samples": len(names),
        "width": features.shape[1],
        "unreadable": {samples.names[row]: why for row, why in unreadable.items()},
        "provenance": provenance(OmegaConf.to_yaml(config), "32-true", 1, 0),
    }
    write_json(out / "embeddings.json", description)
    if config.neighbours and len(names) > 1:
        files += _write_neighbors(config, run, data, samples, features, kept, out)
    if config.map and len(names) > 3:
        figure = _map(config.map, data.modality, samples, features, kept, numbers)
        files.append(save(figure, out / "map.png", f"{title(run, data.seed)}: map"))
    part.remove()
    failed = "; ".join(f"{name}: {why}" for name, why in list(description["unreadable"].items())[:3])
    counted = f"{len(unreadable)} of {len(samples.names)} samples, such as {failed}" if failed else ""
    print_lines(Console(), {"left out": counted, "wrote": f"{out}: {', '.join(file.name for file in files)}"})


def _samples(config: DictConfig, data: Any) -> tuple[Any, str]:
    """The user's, or those of a split of a data set; and where they come from."""
    if config.input is None:
        data.setup("test")
        name = " ".join(filter(None, (chosen_data(), data.root)))
        return data.samples(config.split), f"{name}, {config.split}"
    if chosen_data():
        raise InputError("input= and data= are both given: give one")
    return data.modality.find_samples(str(config.input)), str(config.input)


class Part:
    """Embeddings (M, D) float32 that grow on the disk batch by batch; a command that was killed goes on with them.

    How many are whole, and which samples could not be read, is noted in `state`.

    Args:
        out: the folder.
        stamp: of what is embedded by what; embeddings with another are begun anew.
    """

    def __init__(self, out: Path, stamp: str) -> None:
        self.file, self.note = out / "embeddings.part", out / "progress.json"
        self.state: dict[str, Any] = {"stamp": stamp, "read": 0, "bytes": 0, "width": 1, "unreadable": {}}
        with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
            left = json.loads(self.note.read_text())
            if left["stamp"] == stamp and left["bytes"] <= self.file.stat().st_size:
                self.state |= left

    @property
    def features(self) -> np.ndarray:
        return np.memmap(self.file, np.float32, "r").reshape(-1, self.state["width"])

    def fill(self, method: Any, data: Any, samples: Any) -> None:
        """Embeds what is not embedded yet."""
        state, total, written = self.state, len(samples.names), time.monotonic()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("r+b" if state["read"] else "wb") as file:
            file.truncate(state["bytes"])
            file.seek(state["bytes"])
            for start in track(range(state["read"], total, data.batch_size), "embedding", console=Console(stderr=True)):
                rows = range(start, min(start + data.batch_size, total))
                for features in embed_rows(method, data, samples, rows, state["unreadable"]):
                    file.write(features.tobytes())
                    state["width"] = features.shape[1]
                state |= {"read": rows.stop, "bytes": file.tell()}
                if time.monotonic() - written > _SECONDS or rows.stop == total:
                    file.flush()
                    os.fsync(file.fileno())
                    write_json(self.note, state)
                    written = time.monotonic()
        if not state["bytes"]:
            raise InputError(f"no sample can be read: {next(iter(state['unreadable'].values()), 'there is none')}")

    def remove(self) -> None:
        self.file.unlink()
        self.note.unlink()


@torch.no_grad()
def embed_rows(
    method: Any, data: Any, samples: Any, rows: Sequence[int], unreadable: dict[str, str]
) -> list[np.ndarray]:
    """Embeddings of the rows that can be read, in arrays (B, D); of a batch that cannot, row by row."""
    try:
        batch = move_data_to_device(samples.batch(rows), method.device)
    except InputError as error:
        if len(rows) == 1:
            unreadable[str(rows[0])] = first_line(error)
            return []
        return [part for row in rows for part in embed_rows(method, data, samples, [row], unreadable)]
    return [embedded(method, data, batch).float().cpu().numpy()]


def _write(path: Path, features: np.ndarray, names: list[str], labels: list[str] | None) -> list[Path]:
    """The array with names and labels; beside .npy, which holds numbers alone, these in a table."""
    with written_beside(path) as beside:
        if path.suffix == ".parquet":
            _write_parquet(beside, features, names, labels or [None] * len(names))
        else:
            with beside.open("wb") as file:
                if path.suffix == ".npy":
                    np.save(file, features)
                else:
                    known: dict[str, Any] = {"labels": labels} if labels else {}
                    np.savez(file, features=features, names=names, **known)
    if path.suffix != ".npy":
        return [path]
    rows = zip(names, labels or [""] * len(names), strict=True)
    return [path, _write_table(path.with_suffix(".csv"), ["name", "label"], rows)]


def _write_parquet(path: Path, features: np.ndarray, names: list[str], labels: Sequence[str | None]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.list_(pa.float32(), features.shape[1])
    schema = pa.schema([("name", pa.string()), ("label", pa.string()), ("embedding", kind)])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(names), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            rows = pa.FixedSizeListArray.from_arrays(pa.array(features[some].reshape(-1)), features.shape[1])
            writer.write_table(pa.table([names[some], pa.array(labels[some], pa.string()), rows], schema=schema))


def _write_table(path: Path, headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    with written_beside(path) as beside, beside.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(headings)
        writer.writerows(rows)
    return path


def _map(
    kind: str, modality: Any, samples: Any, features: np.ndarray, kept: list[int], numbers: torch.Tensor | None
) -> Figure:
    """Dots in the colors of the labels; without labels, the pictures themselves."""
    some = spread(len(features), _MOST_ON_MAP)
    h = torch.from_numpy(features[some])
    if numbers is None and modality.thumbnails:
        chosen = np.array(kept)[some]
        return picture_map(h, lambda rows: modality.thumbnails(samples.batch(chosen[rows].tolist())), kind)
    labels = None if numbers is None else numbers[some]
    return map_figure({f"{len(some):,} of {len(features):,} embeddings": h}, labels, samples.classes, kind)


def _write_neighbors(
    config: DictConfig, run: RunFolder, data: Any, samples: Any, features: np.ndarray, kept: list[int], out: Path
) -> list[Path]:
    """`neighbors.csv`, those that are nearly the same also in `duplicates.csv`, and a sheet of pictures."""
    device, names = "cuda" if torch.cuda.is_available() else "cpu", [samples.names[row] for row in kept]
    found = zip(*nearest(features, config.neighbours, device), strict=True)
    cosines, others = (torch.cat(parts).numpy() for parts in found)
    listed = (
        (names[row], rank + 1, names[other], f"{cosines[row, rank]:.4f}")
        for (row, rank), other in np.ndenumerate(others)
    )
    close = np.argwhere(cosines >= config.duplicates).tolist()
    alike = {tuple(sorted((row, int(others[row, rank])))): cosines[row, rank] for row, rank in close}
    twins = [(names[a], names[b], f"{cosine:.4f}") for (a, b), cosine in sorted(alike.items(), key=lambda x: -x[1])]
    some = spread(len(names), _ROWS_OF_SHEET)
    columns = {}
    for rank, places in enumerate([some, *others[some].T[:_MOST_ON_SHEET]]):
        batch = samples.batch([kept[place] for place in places])
        columns[f"neighbor {rank}" if rank else "sample"] = data.modality.evaluation_view(batch)[data.modality.key]
    sheet = data.modality.draw(columns, [Path(names[row]).name[:24] for row in some])
    return [
        _write_table(out / "neighbors.csv", ["name", "rank", "neighbor", "cosine"], listed),
        _write_table(out / "duplicates.csv", ["name", "near-duplicate", "cosine"], twins),
        save(sheet, out / "neighbors.png", f"{title(run, data.seed)}: nearest neighbors"),
    ]
