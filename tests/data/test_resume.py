"""A run that was stopped reads on exactly where it stopped, with the same randomness."""

from functools import partial

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn

from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.image.datamodule import ImageDataModule

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec:FutureWarning"),  # within Lightning
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),  # PyTorch's workers
]


class Noise(nn.Module):
    def forward(self, batch, generator):
        return {**batch, "noise": torch.rand((), generator=generator, device=batch["index"].device)}


class Recorder(LightningModule):
    """Writes down what it was given; ``ask`` makes Lightning build the loaders before it restores its progress."""

    def __init__(self, ask=False):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.ask = ask
        self.seen, self.validation_set = [], []

    def training_step(self, batch, batch_idx):
        noises = batch["noise"].item(), torch.rand(()).item()
        self.seen.append((self.current_epoch, batch_idx, batch["index"].tolist(), *noises))
        return self.weight * 1.0

    def validation_step(self, batch, batch_idx):
        self.validation_set.append((batch["index"].tolist(), batch["noise"].item(), torch.rand(()).item()))

    def configure_optimizers(self):
        if self.ask:
            assert self.trainer.estimated_stepping_batches > 0
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAt(Callback):
    """Saves after this many batches, in the hook that checkpoints use, and once at the end of every epoch."""

    def __init__(self, folder, batches):
        self.folder, self.batches = folder, batches

    def on_train_batch_end(self, trainer, *_):
        begun = trainer.fit_loop.total_batch_idx + 1
        if begun in self.batches:
            trainer.save_checkpoint(self.folder / f"batch-{begun}.ckpt")

    def on_train_epoch_end(self, trainer, *_):
        trainer.save_checkpoint(self.folder / f"epoch-{trainer.fit_loop.total_batch_idx + 1}.ckpt")

    def on_validation_end(self, trainer, *_):
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.folder / f"validation-{trainer.fit_loop.total_batch_idx + 1}.ckpt")


def source(root, split):
    images = np.arange(48, dtype=np.uint8)[:, None, None, None].repeat(4, 2).repeat(4, 3)
    return ImageDataset(images, np.arange(48) % 4, list("abcd"))


def data(num_workers=0):
    return ImageDataModule(
        partial(source),
        "",
        Noise(),
        image_size=4,
        channels=1,
        mean=[0.5],
        std=[0.5],
        batch_size=8,
        num_workers=num_workers,
        val_size=8,
        seed=3,
    )


def make_trainer(**options):
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **options,
    )


def fit(folder, resume=None, batches=(), num_workers=0, ask=False, **options):
    callbacks = [SaveAt(folder, batches)] if batches else []
    trainer = make_trainer(callbacks=callbacks, **{"max_epochs": 3, "log_every_n_steps": 1, **options})
    model = Recorder(ask)
    torch.manual_seed(99 if resume else 0)
    trainer.fit(model, datamodule=data(num_workers), ckpt_path=resume, weights_only=False)
    return model


OPTIONS = [
    {},
    {"accumulate_grad_batches": 2},
    {"ask": True},
    {"max_epochs": -1, "max_steps": 15},
    {"val_check_interval": 2},
    {"limit_train_batches": 4},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_resume_from_anywhere_gives_the_same_batches_and_seeds(tmp_path, options):
    whole = fit(tmp_path, batches=range(1, 16), **options)
    per_epoch = options.get("limit_train_batches", 5)
    assert [entry[1] for entry in whole.seen] == list(range(per_epoch)) * 3
    saved = sorted(tmp_path.glob("*.ckpt"))
    assert len(saved) > 15
    for path in saved:
        begun = int(path.stem.split("-")[1])
        rest = fit(tmp_path, resume=path, **options)
        assert rest.seen == whole.seen[begun:], path.name


@pytest.mark.parametrize("options", [{}, {"ask": True, "accumulate_grad_batches": 2}], ids=str)
def test_workers_change_nothing(tmp_path, options):
    whole = fit(tmp_path, batches=[7], **options)
    assert fit(tmp_path, num_workers=2, **options).seen == whole.seen
    rest = fit(tmp_path, resume=tmp_path / "batch-7.ckpt", num_workers=2, **options)
    assert rest.seen == whole.seen[7:]


def test_training_sees_each_image_once_an_epoch_in_a_new_order(tmp_path):
    seen = fit(tmp_path).seen
    epochs = [[index for epoch, _, batch, *_ in seen if epoch == number for index in batch] for number in range(3)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    assert len(set(epochs[0])) == 40
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_every_step_has_noise_of_its_own_and_every_validation_the_same(tmp_path):
    model = fit(tmp_path)
    assert len({noise for *_, noise, _ in model.seen}) == 15
    assert model.validation_set == model.validation_set[:1] * 3


def test_a_validation_alone_is_that_of_a_training(tmp_path):
    model, alone = fit(tmp_path, max_epochs=1), Recorder()
    make_trainer().validate(alone, data(), verbose=False)
    assert alone.validation_set == model.validation_set


def test_overfitting_repeats_the_same_batches(tmp_path):
    seen = fit(tmp_path, overfit_batches=2).seen
    assert [batch for _, _, batch, *_ in seen[:2]] == [batch for _, _, batch, *_ in seen[2:4]]
