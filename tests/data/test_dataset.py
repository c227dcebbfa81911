import numpy as np
import pytest
import torch

from ssl_lightning.data.dataset import ImageDataset


def array(n=10, labels=True):
    images = np.arange(n, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 3, 4, 5), dtype=np.uint8)
    return ImageDataset(images, np.arange(n) % 3 if labels else None, ["a", "b", "c"] if labels else None)


def test_batch_contract():
    batch = array().__getitems__([7, 2, 2])
    assert batch["image"].shape == (3, 3, 4, 5)
    assert batch["image"].dtype == torch.uint8
    assert batch["index"].tolist() == [7, 2, 2]
    assert batch["index"].dtype == torch.int64
    assert batch["label"].tolist() == [1, 2, 2]
    assert batch["label"].dtype == torch.int64
    assert (batch["image"][:, 0, 0, 0] == batch["index"]).all()


def test_without_labels_there_is_no_label():
    data = array(labels=False)
    assert set(data.__getitems__([0])) == {"image", "index"}
    assert data.labels is None
    assert data.subset([1]).labels is None


def test_subset_of_subset_keeps_original_positions_and_copies_nothing():
    data = array()
    part = data.subset([9, 5, 3, 1]).subset(torch.tensor([2, 0]))
    batch = part.__getitems__([0, 1])
    assert len(part) == 2
    assert batch["index"].tolist() == batch["image"][:, 0, 0, 0].tolist() == [3, 9]
    assert part.labels.tolist() == batch["label"].tolist() == [0, 0]
    assert np.shares_memory(part.images, data.images)


def test_a_batch_owns_its_memory():
    data = array()
    data.__getitems__([1])["image"].zero_()
    assert data.images[1, 0, 0, 0] == 1


def test_memory_mapped_and_tensor_images_are_not_copied(tmp_path):
    np.save(tmp_path / "images.npy", array().images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert np.shares_memory(ImageDataset(mapped).images, mapped)
    assert ImageDataset(mapped).__getitems__([4])["image"][0, 0, 0, 0] == 4
    tensor = torch.from_numpy(array().images)
    assert np.shares_memory(ImageDataset(tensor).images, tensor.numpy())


@pytest.mark.parametrize("images", [np.zeros((2, 4, 4), np.uint8), np.zeros((2, 1, 4, 4), np.float32)])
def test_other_images_are_refused(images):
    with pytest.raises(ValueError, match="uint8"):
        ImageDataset(images)


def test_labels_must_be_one_per_image():
    with pytest.raises(ValueError, match="labels"):
        ImageDataset(np.zeros((2, 1, 4, 4), np.uint8), np.zeros(3))
