from functools import partial

import numpy as np
import pytest
import torch
from composition import task
from hydra.utils import instantiate
from torch import nn

from ssl_lightning.config.choices import load_choice
from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.image.datamodule import ImageDataModule
from ssl_lightning.errors import InputError

IMAGE_SETS = [
    file.stem
    for file in sorted((CONFIG_DIR / "data").glob("[!_]*.yaml"))
    if load_choice("data", file.stem)._target_.endswith(".ImageDataModule")
]
SETTINGS = {"image_size": 4, "channels": 1, "mean": [0.5], "std": [0.25], "batch_size": 8}


def images(count, first=0):
    return (first + np.arange(count, dtype=np.uint8))[:, None, None, None].repeat(4, 2).repeat(4, 3)


def labeled(root, split, count=60):
    assert split != "test", "the test set was opened"
    return ImageDataset(images(count), np.arange(count) % 3, list("abc"))


def partly(root, split):
    """Like STL-10: 30 labeled images, then 60 more without a label."""
    return ImageDataset(images(90)) if split == "pretrain" else ImageDataset(images(30), np.arange(30) % 3, list("abc"))


def unlabeled(root, split):
    return ImageDataset(images(60))


def made(source=labeled, **settings):
    data = ImageDataModule(source, "", nn.Identity(), **{**SETTINGS, **settings})
    data.prepare_data()
    data.setup()
    return data


def indices(part):
    return part.__getitems__(range(len(part)))["index"].tolist()


def test_splits_are_disjoint_and_stratified():
    data = made(val_size=12)
    assert (len(data.train), len(data.probe_train), len(data.val)) == (48, 48, 12)
    assert indices(data.train) == indices(data.probe_train)
    assert sorted(indices(data.train) + indices(data.val)) == list(range(60))
    assert np.bincount(data.val.labels).tolist() == [4, 4, 4]
    assert data.num_classes == 3


def test_splits_have_a_seed_of_their_own():
    assert indices(made(val_size=0.2).val) == indices(made(val_size=12).val)
    assert indices(made(val_size=12, seed=1).val) == indices(made(val_size=12).val)
    assert indices(made(val_size=12, split_seed=1).val) != indices(made(val_size=12).val)


def test_unlabeled_images_are_trained_on_but_not_probed_with():
    data = made(partly, val_size=6)
    assert (len(data.train), len(data.probe_train), len(data.val)) == (84, 24, 6)
    assert not set(indices(data.val)) & (set(indices(data.train)) | set(indices(data.probe_train)))
    assert set(range(30, 90)) < set(indices(data.train))
    assert np.bincount(data.val.labels).tolist() == [2, 2, 2]


def test_without_labels_there_is_no_bank():
    data = made(unlabeled, val_size=10)
    assert (len(data.train), data.probe_train, len(data.val)) == (50, None, 10)
    assert data.num_classes is None
    with pytest.raises(InputError, match="no probe_train set: the data has no labels"):
        data.features_loader("probe_train")


def test_fraction_takes_the_same_part_of_the_training_images_only():
    data, less = made(val_size=12, fraction=0.5), made(val_size=12, fraction=0.25)
    assert (len(data.train), len(data.probe_train), len(data.val)) == (24, 48, 12)
    assert set(indices(less.train)) < set(indices(data.train)) < set(indices(made(val_size=12).train))
    assert indices(data.val) == indices(made(val_size=12).val)


def test_the_test_set_is_opened_only_when_asked_for():
    opened = []

    def source(root, split):
        opened.append(split)
        return ImageDataset(images(60 if split != "test" else 7), np.zeros(60 if split != "test" else 7))

    data = made(source)
    assert opened == ["pretrain"]
    assert len(data.test) == len(data.test) == 7
    assert opened == ["pretrain", "test"]


@pytest.mark.parametrize("split", ["train", "probe_train", "val"])
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_features_loader_gives_each_image_once_in_order(split, num_workers):
    data = made(val_size=13, num_workers=num_workers)
    state = torch.get_rng_state()
    batches = list(data.features_loader(split))
    assert torch.cat([batch["index"] for batch in batches]).tolist() == indices(getattr(data, split))
    assert torch.cat([batch["label"] for batch in batches]).tolist() == getattr(data, split).labels.tolist()
    assert torch.equal(state, torch.get_rng_state())


def test_validation_sets_smaller_than_a_batch_work():
    batches = list(made(val_size=5).val_dataloader())
    assert [len(batch["index"]) for batch in batches] == [5]
    assert [len(batch["index"]) for batch in made(val_size=20).val_dataloader()] == [8, 8, 4]
    assert made().val_dataloader() == []
    with pytest.raises(InputError, match=r"no val set: data\.val_size is 0"):
        made().features_loader("val")


def test_plain_is_the_normalized_image():
    data = made()
    batch = data.train.__getitems__([5, 40])
    plain = data.modality.evaluation_view(batch)["image"]
    assert plain.dtype == torch.float32
    torch.testing.assert_close(plain, (batch["image"] / 255 - 0.5) / 0.25)
    assert data.modality.evaluation_view({**batch, "image": torch.zeros(2, 1, 9, 7, dtype=torch.uint8)})[
        "image"
    ].shape == (
        2,
        1,
        4,
        4,
    )


def test_augment_is_a_function_of_its_seed():
    class Noise(nn.Module):
        def forward(self, batch, generator):
            return {**batch, "views": [torch.rand(3, generator=generator)]}

    data = ImageDataModule(labeled, "", Noise(), **SETTINGS)
    batch = labeled("", "train").__getitems__([0])
    first, other, again = (data.augment(batch, seed)["views"][0] for seed in (1, 2, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 100}, "data.batch_size=100 is larger than the set of 60"),
        ({"val_size": 60}, "data.val_size=60"),
        ({"channels": 3}, "data.mean and data.std"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(InputError, match=message):
        made(**settings).train_dataloader()
    with pytest.raises(InputError, match="'validation'"):
        made().features_loader("validation")


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_every_image_set_composes(name, tmp_path):
    data = instantiate(task(f"data={name}", "seed=7").data, transform=nn.Identity(), root=str(tmp_path))
    assert data.seed == 7
    assert isinstance(data.source, partial)
    assert len(data.modality.mean) == len(data.modality.std) == data.modality.channels
    offline = {"download": False} if "name" in data.source.keywords else {}
    if name not in ("digits", "photo_patches"):
        with pytest.raises(InputError, match=str(tmp_path)):
            data.source(root=data.root, split="train", **offline)


def test_the_default_set_has_the_statistics_it_says():
    data = instantiate(task("data=digits", "seed=7").data, transform=nn.Identity())
    data.setup()
    assert (len(data.train), len(data.probe_train), len(data.val), len(data.test)) == (11000, 11000, 1000, 2376)
    assert not set(data.val.groups) & set(data.train.groups)
    pixels = data.train.images / 255
    assert pixels.mean() == pytest.approx(data.modality.mean[0], abs=1e-3)
    assert pixels.std() == pytest.approx(data.modality.std[0], abs=1e-3)
