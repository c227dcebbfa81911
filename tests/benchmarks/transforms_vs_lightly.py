"""Two SimCLR views of CIFAR-sized images on one CPU thread: conf/transform/simclr_cifar.yaml against lightly.

    python tests/benchmarks/transforms_vs_lightly.py --json figures.json

Both sides start from decoded images in memory (lightly PIL, as its data sets give them; ours one uint8 tensor) and end
with batches of two normalized float32 views with the same settings. Rounds alternate, so that a busy machine
slows both. Needs `pip install lightly`.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import lightly
import torch
from hydra.utils import instantiate
from lightly.data import LightlyDataset
from lightly.transforms import SimCLRTransform
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

CONFIG = Path(__file__).parents[2] / "conf" / "transform" / "simclr_cifar.yaml"
BATCH_SIZE = 256
MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]


class Pictures(Dataset):
    """PIL images in memory, as torchvision's CIFAR10 gives them: (image after `transform`, label)."""

    def __init__(self, images: Tensor) -> None:
        self.pictures = [Image.fromarray(image) for image in images.permute(0, 2, 3, 1).numpy()]
        self.transform: Callable | None = None

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[list[Tensor], int]:
        return self.transform(self.pictures[index]), 0


def lightly_pass(images: Tensor) -> Callable[[], int]:
    """One epoch through lightly's data set and transform; returns how many images it has seen."""
    normalize = {"mean": MEAN, "std": STD}
    transform = SimCLRTransform(input_size=32, gaussian_blur=0.0, cj_strength=0.5, normalize=normalize)
    dataset = LightlyDataset.from_torch_dataset(Pictures(images), transform=transform)
    loader = DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, num_workers=0)

    def run() -> int:
        return sum(len(first) for (first, _second), _label, _name in loader)

    return run


def our_pass(images: Tensor) -> Callable[[], int]:
    """The same epoch through ours: an index operation and the transform per batch."""
    data = {"image_size": 32, "mean": MEAN, "std": STD}
    transform = instantiate(OmegaConf.create({"data": data, "transform": OmegaConf.load(CONFIG)}).transform)
    generator = torch.Generator().manual_seed(0)

    def run() -> int:
        order = torch.randperm(len(images), generator=generator)
        batches = (transform({"image": images[indices]}, generator) for indices in order.split(BATCH_SIZE))
        return sum(len(batch["views"][0]) for batch in batches)

    return run


def rate(run: Callable[[], int], repeats: int) -> float:
    """Images per second."""
    start = time.perf_counter()
    seen = sum(run() for _ in range(repeats))
    return seen / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1024, help="images in an epoch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.randint(0, 256, (args.images, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
    theirs, ours = lightly_pass(images), our_pass(images)
    theirs(), ours()
    rounds = [(rate(theirs, 1), rate(ours, 10)) for _ in range(args.rounds)]
    ratios = [mine / other for other, mine in rounds]
    figures = {
        "lightly_images_per_second": statistics.median(other for other, _ in rounds),
        "ours_images_per_second": statistics.median(mine for _, mine in rounds),
        "ratio": statistics.median(ratios),
        "ratio_worst": min(ratios),
        "ratio_best": max(ratios),
        "views": 2,
        "threads": 1,
        "rounds": args.rounds,
        "versions": {"torch": torch.__version__, "lightly": lightly.__version__, "python": platform.python_version()},
    }
    print("two SimCLR views at 32 x 32, one thread   images/s (median)")
    print(f"lightly {lightly.__version__:<34}{figures['lightly_images_per_second']:>12,.0f}")
    print(f"ssl-lightning{'':<29}{figures['ours_images_per_second']:>12,.0f}")
    print(f"ratio {figures['ratio']:.1f}, over {args.rounds} rounds {min(ratios):.1f} to {max(ratios):.1f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
