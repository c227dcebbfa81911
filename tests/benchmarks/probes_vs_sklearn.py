"""Our probes against scikit-learn's on the same features: accuracy, time, and the memory of kNN on a large set.

    python tests/benchmarks/probes_vs_sklearn.py --json tests/benchmarks/results/probes_vs_sklearn.json

The features are those of an untrained residual network on MNIST (`data.root`, $SSL_DATA). One thread.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from ssl_lightning.data.image.torchvision_sets import torchvision_images
from ssl_lightning.evaluation.knn import knn_predict
from ssl_lightning.evaluation.linear_probe import fit_linear
from ssl_lightning.modules.backbones.image import ConvNet

TRAIN, TEST = 10_000, 5_000


def features() -> list[torch.Tensor]:
    """(TRAIN, 128) and labels, (TEST, 128) and labels."""
    torch.manual_seed(0)
    network, found = ConvNet(in_channels=1).eval(), []
    for split, count in (("train", TRAIN), ("test", TEST)):
        part = torchvision_images("mnist", os.environ.get("SSL_DATA", "data"), split)
        batch = part.__getitems__(np.arange(count))
        with torch.no_grad():
            found += [torch.cat([network(x.float() / 255) for x in batch["image"].split(500)]), batch["label"]]
    return found


def linear(x: torch.Tensor, y: torch.Tensor, x_test: torch.Tensor, y_test: torch.Tensor, l2: float) -> dict[str, float]:
    std, mean = torch.std_mean(x.double(), dim=0, correction=0)
    train, test = (((part.double() - mean) / std.where(std > 1e-6, 1)).numpy() for part in (x, x_test))
    began = time.perf_counter()
    theirs = LogisticRegression(C=1 / l2, max_iter=5000, tol=1e-5).fit(train, y.numpy())
    between = time.perf_counter()
    ours = fit_linear(x, y, 10, l2, tolerance=1e-5)
    ended = time.perf_counter()
    predicted, expected = ours.predict(x_test), torch.from_numpy(theirs.predict(test))
    return {
        "l2": l2,
        "our_accuracy": float((predicted == y_test).double().mean()),
        "sklearn_accuracy": float((expected == y_test).double().mean()),
        "equal_predictions": float((predicted == expected).double().mean()),
        "our_seconds": ended - between,
        "sklearn_seconds": between - began,
    }


def neighbors(x: torch.Tensor, y: torch.Tensor, x_test: torch.Tensor, k: int) -> dict[str, float]:
    mean, temperature = x.mean(dim=0), 0.07
    centered, queries = ((part - mean).double().numpy() for part in (x, x_test))
    theirs = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / temperature)
    )
    began = time.perf_counter()
    expected = torch.from_numpy(theirs.fit(centered, y.numpy()).predict(queries))
    between = time.perf_counter()
    predicted = knn_predict(x_test, x, y, 10, k, temperature)
    seconds = {"our_seconds": time.perf_counter() - between, "sklearn_seconds": between - began}
    return {"k": k, "equal_predictions": float((predicted == expected).double().mean()), **seconds}


def large() -> dict[str, float]:
    """10,000 queries among 50,000 samples of 512 numbers, in this process."""
    generator = torch.Generator().manual_seed(0)
    train, queries = (torch.randn(n, 512, generator=generator) for n in (50_000, 10_000))
    labels = torch.randint(100, (50_000,), generator=generator)
    before = peak_kibibytes()
    began = time.perf_counter()
    knn_predict(queries, train, labels, 100, k=200)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_mebibytes_above_the_features": (peak_kibibytes() - before) / 1024}


def peak_kibibytes() -> int:
    """Of this process; what getrusage tells begins with the peak of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--large", action="store_true", help="only kNN on a large set, whose peak needs a new process")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.large:
        print(json.dumps(large()))
        return
    x, y, x_test, y_test = features()
    command = [sys.executable, __file__, "--large"]
    figures = {
        "linear": [linear(x, y, x_test, y_test, l2) for l2 in (1.0, 100.0)],
        "knn": [neighbors(x, y, x_test, k) for k in (20, 200)],
        "knn_50000_x_10000_x_512": json.loads(subprocess.run(command, capture_output=True, check=True).stdout),
        "samples": {"train": TRAIN, "test": TEST, "width": x.shape[1]},
        "threads": 1,
        "versions": {"torch": torch.__version__, "sklearn": sklearn.__version__, "python": platform.python_version()},
    }
    print(json.dumps(figures, indent=1))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
