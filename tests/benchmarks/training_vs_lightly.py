"""SimCLR end to end on CPU: this project's Trainer, data and transform against lightly's in the same training.

    python tests/benchmarks/training_vs_lightly.py DATA/cifar10_images/train --json figures.json

Both read the same folder of 32 x 32 JPEG files, make the same two views, and train the same network with the same
loss and optimizer through Lightning. lightly's side is its own `LightlyDataset`, `SimCLRTransform`, `NTXentLoss` and
`SimCLRProjectionHead` with a DataLoader, in each of the `--workers` settings; its best one counts. Ours decodes the
folder once into its cache before. Rounds alternate, so that a busy machine slows both. Needs `pip install lightly`.
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import lightly
import lightning
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightly.data import LightlyDataset
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from torch import Tensor
from torch.utils.data import DataLoader

from ssl_lightning.commands.bench import Clock
from ssl_lightning.config.build import build_data, build_method
from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.modules.backbones.image import ConvNet
from ssl_lightning.optim.groups import parameter_groups

BATCH_SIZE = 256
NORMALIZE = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616]}


class LightlySimCLR(lightning.LightningModule):
    """As in lightly's Lightning example, with our small backbone and AdamW."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.backbone = ConvNet(3, width).to(memory_format=torch.channels_last)
        self.head = SimCLRProjectionHead(self.backbone.out_dim, 512, 128)
        self.criterion = NTXentLoss(temperature=0.2)

    def training_step(self, batch: tuple, batch_index: int) -> Tensor:
        (x0, x1), _, _ = batch
        return self.criterion(self.head(self.backbone(x0)), self.head(self.backbone(x1)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def trainer(clock: Clock) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu", max_epochs=-1, max_steps=10**6, callbacks=[clock], logger=False, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip


def lightly_rate(folder: Path, width: int, workers: int, steps: int) -> float:
    """Images a second of lightly's training."""
    transform = SimCLRTransform(input_size=32, gaussian_blur=0.0, cj_strength=0.5, normalize=NORMALIZE)
    dataset = LightlyDataset(str(folder), transform=transform)
    loader = DataLoader(dataset, BATCH_SIZE, shuffle=True, drop_last=True, num_workers=workers)
    clock = Clock(warmup=5, steps=steps)
    trainer(clock).fit(LightlySimCLR(width), loader)
    return BATCH_SIZE * steps / clock.seconds


def ours(folder: Path, width: int) -> tuple[Callable[[int], float], Callable[[int], float]]:
    """Images a second of our training, and of its forward, backward and optimizer step alone."""
    overrides = ["data=cifar10_images", "transform=simclr_cifar", f"backbone.width={width}",
                 f"data.root={folder.parent.parent}", f"data.source.folder={folder.parent.name}"]  # fmt: skip
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("pretrain", overrides)
    data = build_data(config)
    data.prepare_data()
    data.setup()

    def end_to_end(steps: int) -> float:
        clock = Clock(warmup=5, steps=steps)
        fit = instantiate(config.trainer, max_epochs=-1, max_steps=10**6, callbacks=[clock], logger=False,
                          limit_val_batches=0, enable_progress_bar=False)  # fmt: skip
        fit.fit(build_method(config), data)
        return BATCH_SIZE * steps / clock.seconds

    def compute(steps: int) -> float:
        method = build_method(config)
        optimizer = method.optimizer(parameter_groups(method))
        batch = data.augment(data.train.__getitems__(range(BATCH_SIZE)), seed=0)
        for step in range(5 + steps):
            if step == 5:
                began = time.perf_counter()
            optimizer.zero_grad()
            method.loss(batch)["loss"].backward()
            optimizer.step()
        return BATCH_SIZE * steps / (time.perf_counter() - began)

    return end_to_end, compute


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of class folders of 32 x 32 JPEG files")
    parser.add_argument("--width", type=int, default=16, help="channels of the small conv net's first stage")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="lightly's num_workers to try")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    end_to_end, compute = ours(args.folder, args.width)
    rounds = []
    for _ in range(args.rounds):
        theirs = {workers: lightly_rate(args.folder, args.width, workers, args.steps) for workers in args.workers}
        rounds.append({"lightly": theirs, "ours": end_to_end(args.steps), "compute": compute(args.steps)})
        print(rounds[-1], flush=True)
    best = max(args.workers, key=lambda workers: statistics.median(r["lightly"][workers] for r in rounds))
    figures = {
        "lightly_images_per_second": statistics.median(r["lightly"][best] for r in rounds),
        "lightly_workers": best,
        "ours_images_per_second": statistics.median(r["ours"] for r in rounds),
        "compute_images_per_second": statistics.median(r["compute"] for r in rounds),
        "ours_over_lightly": statistics.median(r["ours"] / r["lightly"][best] for r in rounds),
        "ours_over_compute": statistics.median(r["ours"] / r["compute"] for r in rounds),
        "width": args.width,
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "versions": {"torch": torch.__version__, "lightly": lightly.__version__, "python": platform.python_version()},
    }
    for name in ("lightly_images_per_second", "ours_images_per_second", "compute_images_per_second"):
        print(f"{name:<28}{figures[name]:>10,.0f}")
    print(
        f"ours / lightly {figures['ours_over_lightly']:.2f}   ours / compute alone {figures['ours_over_compute']:.3f}"
    )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
