"""Joint-embedding methods against lightly's implementations of them: accuracy, effective rank and speed, on one core.

    python tests/benchmarks/joint_vs_lightly.py DATA --json tests/benchmarks/results/joint_vs_lightly.json

Both sides train the same conv net from the same initial weights on the same images (DATA/cifar10_images), for the same
steps with the same batch size, optimizer, schedule and widths of the heads. Ours is `ssl-pretrain method=NAME` as it
is. lightly's side is its heads, teacher and loss, put together as in its examples. Both see the views of our transform.
The backbones, and the untrained one, are then evaluated by protocol v1 on the test set, with the labels of every fifth
training image. Rates are images per second of CPU time of one thread, whatever else the machine does; for them lightly
also trains some steps with its own dataset and transform of the same strengths. The two sides take turns, and a second
start goes on after the last whole pair. Needs `pip install lightly`.
"""

import argparse
import copy
import datetime
import json
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightly
import lightning
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightly.data import LightlyDataset
from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, NTXentLoss, VICRegLoss
from lightly.models.modules import heads
from lightly.models.modules.nn_memory_bank import NNMemoryBankModule
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms import BYOLTransform, MoCoV2Transform, SimCLRTransform
from lightly.transforms.byol_transform import BYOLView1Transform, BYOLView2Transform
from lightly.utils.scheduler import cosine_schedule
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ssl_lightning.config.build import build_backbone, build_data, build_method
from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.evaluation.health import effective_rank
from ssl_lightning.evaluation.protocol import PROTOCOLS
from ssl_lightning.optim.groups import parameter_groups
from ssl_lightning.runs.frozen_features import part_features
from ssl_lightning.runs.provenance import git_commit, hardware

NORMALIZE = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616]}
SMALL: dict[str, Any] = {"input_size": 32, "gaussian_blur": 0.0, "normalize": NORMALIZE}
RATE_STEPS = 25
METRICS = ("probe/knn_accuracy", "probe/linear_accuracy")


def simclr_views() -> Any:
    return SimCLRTransform(cj_strength=0.5, **SMALL)


def byol_views() -> Any:
    return BYOLTransform(BYOLView1Transform(**SMALL), BYOLView2Transform(**SMALL))


class Lightly(lightning.LightningModule):
    """A method of lightly's parts, with the sizes of our config, and our optimizer and schedule."""

    views: Callable[[], Any] = staticmethod(simclr_views)

    def __init__(self, config: DictConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone, {})
        self.make_parts(self.backbone.out_dim, config.method)

    def make_parts(self, dim: int, sizes: DictConfig) -> None:
        raise NotImplementedError

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """Of a batch of our DataModule, or of lightly's loader."""
        x0, x1 = batch["views"] if isinstance(batch, dict) else batch[0]
        return self.loss(x0.to(memory_format=torch.channels_last), x1.to(memory_format=torch.channels_last))

    def loss(self, x0: Tensor, x1: Tensor) -> Tensor:
        raise NotImplementedError

    def configure_optimizers(self) -> Any:
        optimizer = instantiate(self.config.optimizer)(parameter_groups(self))
        steps = self.trainer.max_steps
        schedule = instantiate(self.config.schedule)(optimizer, total_steps=steps, steps_per_epoch=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class SimCLR(Lightly):
    def make_parts(self, dim: int, sizes: DictConfig) -> None:
        self.head = heads.SimCLRProjectionHead(dim, sizes.hidden_dim, sizes.out_dim)
        self.criterion = NTXentLoss(sizes.temperature)

    def loss(self, x0: Tensor, x1: Tensor) -> Tensor:
        return self.criterion(self.head(self.backbone(x0)), self.head(self.backbone(x1)))


class MoCo(Lightly):
    views = staticmethod(lambda: MoCoV2Transform(**SMALL))

    def make_parts(self, dim: int, sizes: DictConfig) -> None:
        self.student = nn.Sequential(self.backbone, heads.MoCoProjectionHead(dim, sizes.hidden_dim, sizes.out_dim))
        self.teacher = copy.deepcopy(self.student)
        deactivate_requires_grad(self.teacher)
        self.criterion = NTXentLoss(sizes.temperature, memory_bank_size=(sizes.queue_size, sizes.out_dim))

    def loss(self, x0: Tensor, x1: Tensor) -> Tensor:
        update_momentum(self.student, self.teacher, m=self.config.method.momentum)
        return self.criterion(self.student(x0), self.teacher(x1).detach())


class BYOL(Lightly):
    views = staticmethod(byol_views)

    def make_parts(self, dim: int, sizes: DictConfig) -> None:
        head = heads.BYOLProjectionHead(dim, sizes.hidden_dim, sizes.out_dim)
        self.student = nn.Sequential(self.backbone, head)
        self.predictor = heads.BYOLPredictionHead(sizes.out_dim, sizes.hidden_dim, sizes.out_dim)
        self.teacher = copy.deepcopy(self.student)
        deactivate_requires_grad(self.teacher)
        self.criterion = NegativeCosineSimilarity()

    def loss(self, x0: Tensor, x1: Tensor) -> Tensor:
        momentum = cosine_schedule(self.global_step, self.trainer.max_steps, self.config.method.momentum, 1)
        update_momentum(self.student, self.teacher, m=momentum)
        p0, p1 = (self.predictor(self.student(x)) for x in (x0, x1))
        z0, z1 = (self.teacher(x).detach() for x in (x0, x1))
        return (self.criterion(p0, z1) + self.criterion(p1, z0)) / 2


class BarlowTwins(Lightly):
    views = staticmethod(byol_views)

    def make_parts(self, dim: int, sizes: DictConfig) -> None:
        self.head = heads.BarlowTwinsProjectionHead(dim, sizes.out_dim, sizes.out_dim)
        self.criterion: nn.Module = BarlowTwinsLoss(sizes.off_diagonal)

    def loss(self, x0: Tensor, x1: Tensor) -> Tensor:
        return self.criterion(self.head(self.backbone(x0)), self.head(self.backbone(x1)))


class VICReg(BarlowTwins):
    def make_parts(self, dim: int, sizes: DictConfig) -> None:
        self.head = heads.VICRegProjectionHead(dim, sizes.out_dim, sizes.out_dim, num_layers=3)
        self.criterion = VICRegLoss(sizes.invariance, sizes.variance, sizes.covariance)


class SimSiam(Lightly):
    def make_parts(self, dim: int, sizes: DictConfig) -> None:
        self.head = heads.SimSiamProjectionHead(dim, sizes.out_dim, sizes.out_dim)
        self.predictor = heads.SimSiamPredictionHead(sizes.out_dim, sizes.hidden_dim, sizes.out_dim)
        self.criterion = NegativeCosineSimilarity()

    def loss(self, x0: Tensor, x1: Tensor) -> Tensor:
        z0, z1 = (self.head(self.backbone(x)) for x in (x0, x1))
        p0, p1 = self.predictor(z0), self.predictor(z1)
        return (self.criterion(p0, z1.detach()) + self.criterion(p1, z0.detach())) / 2


class NNCLR(Lightly):
    def make_parts(self, dim: int, sizes: DictConfig) -> None:
        self.head = heads.NNCLRProjectionHead(dim, sizes.hidden_dim, sizes.out_dim)
        self.predictor = heads.NNCLRPredictionHead(sizes.out_dim, sizes.hidden_dim * 2, sizes.out_dim)
        self.bank = NNMemoryBankModule((sizes.queue_size, sizes.out_dim))
        self.criterion = NTXentLoss(sizes.temperature)

    def loss(self, x0: Tensor, x1: Tensor) -> Tensor:
        z0, z1 = (self.head(self.backbone(x)) for x in (x0, x1))
        p0, p1 = self.predictor(z0), self.predictor(z1)
        z0, z1 = self.bank(z0, update=False), self.bank(z1, update=True)
        return (self.criterion(z0, p1) + self.criterion(z1, p0)) / 2


THEIRS = {
    "simclr": SimCLR,
    "moco": MoCo,
    "byol": BYOL,
    "barlow_twins": BarlowTwins,
    "simsiam": SimSiam,
    "vicreg": VICReg,
    "nnclr": NNCLR,
}


def lightly_method(name: str, config: DictConfig) -> Lightly:
    lightning.seed_everything(config.seed, verbose=False)
    return THEIRS[name](config).to(memory_format=torch.channels_last)


def composed(name: str, seed: int, args: argparse.Namespace) -> DictConfig:
    overrides = [
        f"method={name}", "data=cifar10_images", f"data.root={args.root}", f"data.batch_size={args.batch_size}",
        f"seed={seed}", "schedule.warmup_epochs=0", f"schedule.warmup_steps={args.steps // 10}",
    ]  # fmt: skip
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("pretrain", overrides)


def trained(module: Any, steps: int, **data: Any) -> float:
    """Trains `module` in place; returns the seconds of CPU time."""
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=-1, max_steps=steps, logger=False, limit_val_batches=0,
        enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
    )  # fmt: skip
    began = time.process_time()
    trainer.fit(module, **data)
    return time.process_time() - began


def evaluated(backbone: nn.Module, config: DictConfig, data: Any) -> dict[str, float]:
    """kNN and linear accuracy of a backbone, and the effective rank of its embeddings, on the test set."""
    method = build_method(config)
    method.backbone.load_state_dict(backbone.state_dict())
    bank, test = (part_features(method, data, part) for part in (data.probe_train, data.test))
    found = PROTOCOLS["v1"].run(bank, test, data.num_classes)
    rank = float(effective_rank(test["features"][:2048]))
    return {**{name: found[name] for name in METRICS}, "effective_rank": rank}


def pairs(args: argparse.Namespace, done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row a method and seed: figures of the untrained encoder, ours and lightly's."""
    known = {(row["method"], row["seed"]) for row in done}
    folder = args.root / "cifar10_images" / "train"
    untrained: dict[int, dict[str, float]] = {row["seed"]: row["untrained"] for row in done}
    for seed in range(args.seeds):
        for name in args.methods:
            if (name, seed) in known:
                continue
            config, plain = composed(name, seed, args), composed("simclr", seed, args)
            data = build_data(config)
            data.prepare_data()
            data.setup()
            data.probe_train = data.probe_train.subset(np.arange(0, len(data.probe_train), 5))
            method = build_method(config)
            if seed not in untrained:
                untrained[seed] = evaluated(method.backbone, plain, data)
            row = {"method": name, "seed": seed, "untrained": untrained[seed]}
            rate = args.batch_size * args.steps / trained(method, args.steps, datamodule=data)
            row["ours"] = {**evaluated(method.backbone, plain, data), "images_per_cpu_second": rate}
            theirs = lightly_method(name, config)
            trained(theirs, args.steps, datamodule=data)
            dataset = LightlyDataset(str(folder), transform=theirs.views())
            loader = DataLoader(dataset, args.batch_size, shuffle=True, drop_last=True)
            seconds = trained(lightly_method(name, config), RATE_STEPS, train_dataloaders=loader)
            rate = args.batch_size * RATE_STEPS / seconds
            row["lightly"] = {**evaluated(theirs.backbone, plain, data), "images_per_cpu_second": rate}
            yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder that holds cifar10_images/train and /test")
    parser.add_argument("--methods", nargs="+", default=list(THEIRS), choices=list(THEIRS))
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, required=True, help="write the figures to this file")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    figures = {
        "command": f"python tests/benchmarks/joint_vs_lightly.py DATA --steps {args.steps} --json FILE",
        "date": str(datetime.date.today()),
        "git_commit": git_commit(),
        "hardware": hardware(),
        "steps": args.steps,
        "batch_size": args.batch_size,
        "versions": {"torch": torch.__version__, "lightly": lightly.__version__, "python": platform.python_version()},
        "rows": json.loads(args.json.read_text())["rows"] if args.json.exists() else [],
    }
    for row in pairs(args, figures["rows"]):
        figures["rows"].append(row)
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
