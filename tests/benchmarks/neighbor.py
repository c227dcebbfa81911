"""The rate of the default run alone and beside a busy process, by how long OpenMP's threads spin while they wait.

    python tests/benchmarks/neighbor.py --json tests/benchmarks/results/neighbor.json

On a machine that does nothing else. 300000 is libgomp's own GOMP_SPINCOUNT; launch/environment.py sets another. Each
rate is the median of several runs of `ssl-pretrain`, whose settings take turns; the neighbor is one process that never
waits.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ssl_lightning.hardware import cores
from ssl_lightning.launch.environment import SPIN_COUNT

LIBGOMP = 300_000


def rate(spin_count: int, epochs: int) -> float:
    """Samples a second."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ssl_lightning.pretrain", "trainer=cpu", "callbacks=minimal"]
        subprocess.run(
            [*command, f"trainer.max_epochs={epochs}", f"hydra.run.dir={folder}"],
            env={**os.environ, "OMP_NUM_THREADS": str(cores()), "GOMP_SPINCOUNT": str(spin_count)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return json.loads((Path(folder) / "results.json").read_text())["timing"]["samples_per_second"]


@contextmanager
def neighbors(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--spin-counts", type=int, nargs="*", default=[LIBGOMP, SPIN_COUNT])
    args = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    for name, count in (("alone", 0), ("beside one busy process", 1)):
        rates: dict[int, list[float]] = {spins: [] for spins in args.spin_counts}
        for _ in range(args.runs):
            for spins in rates:
                with neighbors(count):
                    rates[spins].append(rate(spins, args.epochs))
        figures[name] = {str(spins): round(statistics.median(found)) for spins, found in rates.items()}
        print(name, figures[name], flush=True)
    result = {
        "samples_per_second": figures,
        "spin_counts": {"libgomp": LIBGOMP, "ours": SPIN_COUNT},
        "cores": cores(),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
