"""How fast is a composed run, and what holds it up?"""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from ssl_lightning.config.build import build_data, build_method
from ssl_lightning.config.validate import validate_config
from ssl_lightning.errors import InputError
from ssl_lightning.figures.table import print_lines, print_table
from ssl_lightning.runs.folder import RunFolder, write_json
from ssl_lightning.runs.provenance import provenance


class Clock(Callback):
    """Times the optimizer steps of a real training after its warm-up, then stops it."""

    def __init__(self, warmup: int, steps: int) -> None:
        self.warmup, self.steps, self.seconds = warmup, steps, np.zeros(2)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.warmup:
            self.seconds = -_now(pl_module.device)
        if trainer.global_step == self.warmup + self.steps:
            self.seconds += _now(pl_module.device)
            trainer.should_stop = True


def bench(config: DictConfig) -> float:
    """Samples a second of compute alone, data and transform alone, and a real training; writes `bench.json`.

    Compute alone repeats forward, backward and optimizer step on one transformed batch that stays on the device. Data
    alone loads, moves and transforms batches. End to end is the Trainer itself, without callbacks.

    Raises:
        InputError: parts that do not fit, or several devices.
    """
    validate_config(config)
    if config.trainer.devices not in (1, "auto"):
        raise InputError(f"trainer.devices={config.trainer.devices}: one device is measured, give trainer.devices=1")
    run = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    clock = Clock(config.warmup, config.steps)
    endless = OmegaConf.merge(
        config.trainer, {"max_steps": 10**6, "limit_val_batches": 0, "accumulate_grad_batches": 1, "devices": 1}
    )
    trainer = instantiate(endless, callbacks=[clock], logger=False, default_root_dir=str(run.path), _convert_="all")
    data = build_data(config)
    data.prepare_data()
    data.setup()
    method = build_method(config, data)
    if config.compile:
        method.compile_parts()
    data.train_dataloader()  # which refuses a batch that is larger than the set
    device, batches = trainer.strategy.root_device, _prepared(data, trainer.strategy.root_device)

    def end_to_end() -> np.ndarray:
        method.load_state_dict(build_method(config, data).state_dict())
        trainer.fit(method, data)
        return clock.seconds / config.steps

    parts: dict[str, Callable[[], np.ndarray]] = {
        "data": lambda: _time(lambda: next(batches), config, device),
        "compute": lambda: _time(_step(method.to(device), next(batches), trainer.precision_plugin), config, device),
        "end_to_end": end_to_end,
    }
    console, batch_size = Console(), int(config.data.batch_size)
    seconds: dict[str, np.ndarray] = {}
    memory: dict[str, int] = {}
    for name, measure in parts.items():
        with console.status(name.replace("_", " ")):
            _forget_peak(device)
            seconds[name] = measure()
            memory[name] = _peak(device)
    rates = {name: batch_size / float(wall) for name, (wall, _) in seconds.items()}
    result = {
        "samples_per_second": rates,
        "end_to_end_over_compute": rates["end_to_end"] / rates["compute"],
        "end_to_end_over_compute_cpu": float(seconds["compute"][1] / seconds["end_to_end"][1]),
        "views_per_sample": len(next(batches).get("views", [None])),
        "peak_memory_bytes": memory,
        "batch_size": batch_size,
        "steps": config.steps,
        "compile": config.compile,
        "channels_last": config.channels_last,
        "provenance": provenance(OmegaConf.to_yaml(config), str(trainer.precision), trainer.world_size, config.seed),
    }
    write_json(run.path / "bench.json", result)
    _show(console, result, run.path / "bench.json")
    return rates["end_to_end"]


def _prepared(data: Any, device: torch.device) -> Iterator[dict[str, Any]]:
    step = 0
    while True:
        for batch in data.features_loader("train"):
            moved = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
            if len(moved["index"]) == data.batch_size:
                yield data.augment(moved, seed=step)
            step += 1


def _step(method: Any, batch: dict[str, Any], precision: Any) -> Callable[[], None]:
    optimizer = method.optimizer(method.groups())
    method.train()

    def step() -> None:
        with precision.forward_context():
            loss = method.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(0.0)

    return step


def _time(call: Callable[[], Any], config: DictConfig, device: torch.device) -> np.ndarray:
    """(2,) seconds a call."""
    for _ in range(config.warmup):
        call()
    begin = _now(device)
    for _ in range(config.steps):
        call()
    return (_now(device) - begin) / config.steps


def _now(device: torch.device) -> np.ndarray:
    """(2,) seconds, when the device is done: of the wall clock, and of the CPU, which count no neighbor's."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return np.array([time.perf_counter(), time.process_time()])


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: begin the peak anew


def _peak(device: torch.device) -> int:
    """Bytes since: of tensors on a GPU, of the whole process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _show(console: Console, result: dict[str, Any], path: Path) -> None:
    rows = []
    for name, rate in result["samples_per_second"].items():
        memory = f"{result['peak_memory_bytes'][name] / 2**30:.2f} GiB"
        rows.append((name.replace("_", " "), f"{rate:,.0f}", f"{rate * result['views_per_sample']:,.0f}", memory))
    title = f"batch {result['batch_size']}, {result['provenance']['hardware']}"
    print_table(console, title, ("", "samples/s", "views/s", "peak memory"), rows)
    ratios = {
        "end to end / compute": f"{result['end_to_end_over_compute']:.3f}",
        "the same by CPU time": f"{result['end_to_end_over_compute_cpu']:.3f}",
    }
    print_lines(console, {**ratios, "wrote": str(path)})
