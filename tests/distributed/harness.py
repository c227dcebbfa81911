"""Run a function in W real gloo processes: `run(function, *args, world_size=2)` gives the list of their results.

The processes stay for the next call (importing torch is the slow part); each call gets a fresh process group. After an
error or a time-out they are ended, so a call never sees what a broken one left. No port is used: they meet by a file.
"""

import atexit
import importlib.util
import inspect
import io
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from runs.warm import context


def _pack(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _unpack(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=False)


def _find(path: str, name: str) -> Callable[..., Any]:
    """The function `name` of the file `path`, loaded once: by file, as a test module need not be importable by name."""
    key = f"_harness_{path}"
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[key] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[key])
    return getattr(sys.modules[key], name)


def _rank_main(rank: int, world_size: int, pipe: Connection) -> None:
    torch.set_num_threads(1)
    while True:
        try:
            path, name, args, store, timeout = pipe.recv()
        except EOFError:
            return
        try:
            dist.init_process_group(
                "gloo",
                init_method=f"file://{store}",
                rank=rank,
                world_size=world_size,
                timeout=timedelta(seconds=timeout),
            )
            dist.barrier()  # else a function that needs no other rank could end while one still connects
            reply = (True, _pack(_find(path, name)(*_unpack(args))))
            dist.destroy_process_group()
        except Exception:
            reply = (False, traceback.format_exc())
        pipe.send(reply)


class _Pool:
    def __init__(self, world_size: int) -> None:
        self.pipes, self.processes = [], []
        for rank in range(world_size):
            here, there = context.Pipe()
            process = context.Process(target=_rank_main, args=(rank, world_size, there), daemon=True)
            process.start()
            there.close()
            self.pipes.append(here)
            self.processes.append(process)

    def close(self) -> None:
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.close()
            process.kill()
            process.join()

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], timeout: float) -> list[Any]:
        path = inspect.getsourcefile(function)
        results: dict[int, Any] = {}
        end = time.monotonic() + timeout
        with tempfile.TemporaryDirectory() as folder:
            for pipe in self.pipes:
                pipe.send((path, function.__name__, _pack(args), str(Path(folder) / "store"), timeout))
            while len(results) < len(self.pipes):
                waiting = [pipe for rank, pipe in enumerate(self.pipes) if rank not in results]
                ready = wait(waiting, max(0.0, end - time.monotonic()))
                if not ready:
                    late = [rank for rank in range(len(self.pipes)) if rank not in results]
                    raise TimeoutError(f"{function.__name__}: ranks {late} gave no result in {timeout} s")
                for pipe in ready:
                    rank = self.pipes.index(pipe)
                    good, reply = pipe.recv()
                    if not good:
                        raise RuntimeError(f"{function.__name__} failed on rank {rank}:\n{reply}")
                    results[rank] = _unpack(reply)
        return [results[rank] for rank in range(len(self.pipes))]


_pools: dict[int, _Pool] = {}


def run(function: Callable[..., Any], *args: Any, world_size: int = 2, timeout: float = 60.0) -> list[Any]:
    """Results of `function(*args)` in `world_size` gloo processes, by rank.

    `function` is a top-level function of any file; arguments and results are what `torch.save` takes. An exception on a
    rank raises RuntimeError with its traceback, no result in `timeout` seconds raises TimeoutError.
    """
    if world_size not in _pools:
        _pools[world_size] = _Pool(world_size)
    try:
        return _pools[world_size].call(function, args, timeout)
    except BaseException:
        _pools.pop(world_size).close()
        raise


@atexit.register
def _close() -> None:
    while _pools:
        _pools.popitem()[1].close()
