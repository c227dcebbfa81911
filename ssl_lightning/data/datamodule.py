"""What every DataModule does, whatever its modality: splits, batches, seeds."""

import time
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from lightning import LightningDataModule
from lightning.fabric.utilities import move_data_to_device
from torch import nn

from ssl_lightning.data.cache import cache_folder
from ssl_lightning.data.loader import Loader
from ssl_lightning.data.modality import Batch, Modality, Samples
from ssl_lightning.data.sampler import BatchSampler, mix
from ssl_lightning.data.splits import held_out, resolve_size
from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.features import groups_of
from ssl_lightning.randomness import seed_generators
from ssl_lightning.ranges import NonNegativeInt, PositiveFraction, PositiveInt, Seed, Size


@dataclass(eq=False, repr=False)
class DataModule(LightningDataModule):
    """Splits of one source, in batches that are a function of (seed, epoch), transformed on the device.

    `source(root=, split=)` returns a set like `ImageDataset`. "pretrain" is what is trained on; its first samples
    are those of "train", which has the labels if there are any; "test" is not opened before `test` is asked for.

    `setup` makes

    - `val`: `val_size` samples (a count, or a fraction below 1) held out of "train", by label, or those that the set
      itself holds out; None for 0;
    - `probe_train`: the rest of "train", for probes; None if there are no labels;
    - `train`: `fraction` of "pretrain" without the samples of `val`.

    What is held out is fixed by `split_seed`, so that runs of all seeds share it, the fraction by `seed`.
    `batch_size` is that of all devices together. `fetched_at` is the time (`time.perf_counter`) at which the
    last batch had arrived from the loader.
    """

    provides: ClassVar[tuple[str, ...]] = ("index", "label")
    """The keys of a raw batch; a transform or method that needs others is refused before anything is built."""
    modality: Modality = field(init=False)

    source: Callable[..., Any]
    root: str
    transform: nn.Module
    _: KW_ONLY
    batch_size: PositiveInt
    num_workers: NonNegativeInt = 0
    val_size: Size = 0
    fraction: PositiveFraction = 1.0
    seed: Seed = 0
    split_seed: Seed = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.root = str(Path(self.root).expanduser())
        self.trainer: Any
        self.train: Any = None
        self.probe_train: Any = None
        self.val: Any = None
        self.fetched_at = 0.0
        self._sets: dict[str, Any] = {}
        self._generators: dict[torch.device, torch.Generator] = {}
        self._kept_loaders: list[Loader] = []

    @property
    def test(self) -> Any:
        """The test set; opened, and downloaded or decoded, at the first call."""
        return self._open("test")

    def store(self, folder: Path) -> None:
        """Writes to a run folder what the run needs of the data to be opened again without it."""

    def restore(self, folder: Path) -> None:
        """Takes what `store` wrote instead of making it again; before `setup`.

        Raises InputError if it is not there.
        """

    def refuse_other_tokenizer(self, checkpoint: str | Path) -> None:
        """Refuses a checkpoint of transformers, or the tokenizer of a run, whose tokens have other ids than the data's.

        Raises InputError; data without tokens takes any.
        """

    @property
    def validation_set(self) -> Any:
        """What the validation loss is measured on."""
        return self.val

    @property
    def classes(self) -> list[str] | None:
        """Names of the labels; None without labels or before `setup`."""
        return None if self.probe_train is None else self.probe_train.classes

    @property
    def num_classes(self) -> int | None:
        return None if self.classes is None else len(self.classes)

    def groups(self, split: str) -> torch.Tensor | None:
        """(N,): which samples of a split come from one original, in its order; None if none or all do."""
        return groups_of(getattr(self, split))

    def _open(self, split: str) -> Any:
        if split not in self._sets:
            self._sets[split] = self.source(root=self.root, split=split)
        return self._sets[split]

    def prepare_data(self) -> None:
        """Downloads and decodes, on one process of each machine, before the others read the result."""
        if self._open("pretrain").labels is None:
            self._open("train")

    def setup(self, stage: str | None = None) -> None:
        if self.train is not None:
            return
        pretrain = self._open("pretrain")
        train = pretrain if pretrain.labels is not None else self._open("train")
        count = resolve_size(self.val_size, len(train), "data.val_size")
        val = train.validation if count else None
        if val is None or not val.any():
            val = held_out(len(train), count, self.split_seed, train.labels, train.groups)
        rest = np.flatnonzero(~val)
        self.val = train.subset(np.flatnonzero(val)) if count else None
        self.probe_train = train.subset(rest) if train.labels is not None else None
        rest = np.concatenate([rest, np.arange(len(train), len(pretrain))])
        self.train = pretrain.subset(self._fraction_of(rest))

    def _fraction_of(self, rows: np.ndarray) -> np.ndarray:
        """`fraction` of the rows, in order; a smaller fraction is a part of a larger one."""
        if self.fraction == 1:
            return rows
        keep = max(1, round(self.fraction * len(rows)))
        return np.sort(np.random.default_rng(mix("fraction", self.seed)).permutation(rows)[:keep])

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def _loader(self, dataset: Any, sampler: BatchSampler, keep_workers: bool = True, **options: Any) -> Loader:
        cuda = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        loader = Loader(dataset, sampler, self.num_workers, pin_memory=cuda, keep_workers=keep_workers, **options)
        if keep_workers:
            self._kept_loaders.append(loader)
        return loader

    def teardown(self, stage: str | None = None) -> None:
        while self._kept_loaders:
            self._kept_loaders.pop().close()

    def on_exception(self, exception: BaseException) -> None:
        self.teardown()  # which Lightning calls only after a run that went well

    def _position(self) -> tuple[int, int]:
        """(epoch, batches of it that were begun and finished), also right after a resume in the middle of an epoch."""
        epoch = 0 if self.trainer.overfit_batches else self.trainer.current_epoch
        return epoch, self.trainer.fit_loop.epoch_loop.batch_progress.current.completed

    def train_dataloader(self) -> Loader:
        sampler = BatchSampler(len(self.train), self.batch_size, self._rank, self._world_size, self.seed)
        return self._loader(self.train, sampler, position=self._position)

    def val_dataloader(self) -> Loader | list:
        """Batches of equal width on every process, since losses gather; the last one may be narrower."""
        return self._validation_loader() or []

    def _validation_loader(self, **options: Any) -> Loader | None:
        held = self.validation_set
        size = 0 if held is None else len(held) // self._world_size * self._world_size
        if not size:
            return None
        width = min(self.batch_size, size)
        sampler = BatchSampler(size, width, self._rank, self._world_size, training=False)
        return self._loader(held, sampler, **options)

    def predict_dataloader(self) -> Loader:
        """The training set in its order, for `trainer.predict`: batches as evaluation sees them."""
        return self.features_loader("train")

    def features_loader(self, split: str) -> Loader:
        """This process's share of "train", "probe_train", "val" or "test", in order, each sample once."""
        return self.loader_of(self._part(split))

    def loader_of(self, part: Any) -> Loader:
        """The same of any set like its own."""
        sampler = BatchSampler(len(part), self.batch_size, self._rank, self._world_size, training=False)
        return self._loader(part, sampler, keep_workers=False)

    @property
    def features_cache(self) -> Path:
        """Where features of its samples are kept."""
        return cache_folder() / "features"

    def samples(self, split: str) -> Samples:
        """All of "train", "probe_train", "val" or "test"; their names are their places in the whole set."""
        part = self._part(split)
        return Samples([str(row) for row in part.rows], part.__getitems__, part.labels, part.classes)

    def _part(self, split: str) -> Any:
        if split not in ("train", "probe_train", "val", "test"):
            raise InputError(f"no split named {split!r}: choose train, probe_train, val or test")
        if getattr(self, split) is None:
            lacking = "data.val_size is 0" if split == "val" else "the data has no labels"
            raise InputError(f"there is no {split} set: {lacking}")
        return getattr(self, split)

    def on_before_batch_transfer(self, batch: dict, dataloader_idx: int) -> dict:
        self.fetched_at = time.perf_counter()
        return batch

    def validation_batches(self, device: torch.device) -> Iterator[Batch]:
        """The batches of the validation loss on a device, seeded and transformed as by the Trainer, but without it."""
        for number, raw in enumerate(self._validation_loader(keep_workers=False) or ()):
            yield self._drawn(move_data_to_device(raw, device), "validation", number)

    def on_after_batch_transfer(self, batch: dict, dataloader_idx: int) -> dict:
        if self.trainer.predicting:
            return self._converted(self.modality.evaluation_view(batch))
        return self._converted(self._drawn(batch, *self._moment()))

    def _moment(self) -> tuple[str, int]:
        """Stage and number of this batch, the same on all processes; each validation counts from 0."""
        if self.trainer.training:
            return "step", self.trainer.fit_loop.epoch_loop.batch_progress.total.completed
        fitting = self.trainer.state.fn == "fit"
        loop = self.trainer.fit_loop.epoch_loop.val_loop if fitting else self.trainer.validate_loop
        return "validation", loop.batch_progress.current.ready

    def _drawn(self, batch: Batch, stage: str, number: int) -> Batch:
        """Transforms a batch, and seeds the generators from which methods draw masks and noise, and dropout."""
        own, shared = mix("network", stage, self.seed, self._rank, number), mix("shared", stage, self.seed, number)
        seed_generators(own, shared, batch["index"].device)
        return self.augment(batch, mix(stage, self.seed, self._rank, number))

    def _converted(self, batch: dict) -> dict:
        """In the precision of the weights, to which Lightning converts a batch before it is transformed."""
        return self.trainer.precision_plugin.convert_input(batch)

    def augment(self, batch: dict, seed: int) -> dict:
        """`transform` of a batch on its own device, drawing from a generator with this seed."""
        device = batch["index"].device
        if device not in self._generators:
            self._generators[device] = torch.Generator(device)
            self.transform.to(device)
        return self.transform(batch, self._generators[device].manual_seed(seed))
