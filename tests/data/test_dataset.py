import pickle

import numpy as np
import pytest
import torch

from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.data.text.dataset import TokenDataset
from ssl_lightning.data.video.dataset import VideoDataset

N = 10
LABELS, GROUPS = np.arange(N) % 3, np.arange(N) // 2


def images(labels=LABELS, classes=("a", "b", "c")):
    values = np.arange(N, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 3, 4, 5), dtype=np.uint8)
    return ImageDataset(values, labels, list(classes), groups=GROUPS)


def numbered_clips(rows):
    return (rows[:, None, None, None, None] + torch.zeros(1, 2, 3, 4, 5)).to(torch.uint8)


def clips(labels=LABELS, classes=("a", "b", "c")):
    return VideoDataset(numbered_clips, N, labels=labels, classes=list(classes), groups=GROUPS)


def tokens(labels=LABELS, classes=("a", "b", "c")):
    """Ten documents of one window each, which all are of one token."""
    values = np.repeat(np.arange(N, dtype=np.uint16), 4)
    return TokenDataset(values, np.arange(0, 4 * N + 1, 4), 4, 0, labels=labels, classes=list(classes))


KINDS = {"image": (images, (3, 4, 5)), "video": (clips, (2, 3, 4, 5)), "tokens": (tokens, (4,))}


@pytest.fixture(params=KINDS)
def kind(request):
    """The key of the batch, what makes the set, and the shape of a sample: sample i holds nothing but the number i."""
    return request.param, *KINDS[request.param]


def test_batch_contract(kind):
    key, make, shape = kind
    batch = make().__getitems__([7, 2, 2])
    assert batch[key].shape == (3, *shape)
    assert batch[key].dtype == (torch.int64 if key == "tokens" else torch.uint8)
    assert batch[key].flatten(1).T.unique(dim=0).tolist() == [[7, 2, 2]]
    assert batch["index"].tolist() == [7, 2, 2]
    assert batch["label"].tolist() == [1, 2, 2]
    assert batch["index"].dtype == batch["label"].dtype == torch.int64


def test_without_labels_there_is_no_label(kind):
    key, make, _ = kind
    data = make(labels=None)
    assert set(data.__getitems__([0])) - {"document"} == {key, "index"}
    assert data.labels is None
    assert data.subset([1]).labels is None


def test_subset_of_subset_keeps_original_positions_labels_and_groups(kind):
    key, make, _ = kind
    data = make()
    part = data.subset([9, 5, 3, 1]).subset(torch.tensor([2, 0]))
    batch = part.__getitems__([0, 1])
    assert (len(part), len(data)) == (2, N)
    assert batch["index"].tolist() == batch[key].flatten(1)[:, 0].tolist() == [3, 9]
    assert part.labels.tolist() == batch["label"].tolist() == [0, 0]
    assert part.groups.tolist() == ([3, 9] if key == "tokens" else [1, 4])
    assert part.classes == ["a", "b", "c"]
    assert type(part) is type(data)


def test_a_batch_owns_its_memory(kind):
    key, make, _ = kind
    data = make()
    data.__getitems__([1])[key].zero_()
    assert data.__getitems__([1])[key].flatten()[0] == 1


def test_a_worker_that_gets_a_copy_reads_the_same(kind):
    key, make, _ = kind
    part = make().subset([8, 4])
    assert torch.equal(pickle.loads(pickle.dumps(part)).__getitems__([1, 0])[key], part.__getitems__([1, 0])[key])


def test_labels_must_be_one_per_sample(kind):
    with pytest.raises(ValueError, match=r"labels must be \(10,\)"):
        kind[1](labels=np.zeros(3))


def test_a_subset_shares_the_memory_of_the_whole():
    data, text = images(), tokens()
    assert np.shares_memory(data.subset([1]).images, data.images)
    assert text.subset([1]).tokens is text.tokens


def test_memory_mapped_and_tensor_images_are_not_copied(tmp_path):
    np.save(tmp_path / "images.npy", images().images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert np.shares_memory(ImageDataset(mapped).images, mapped)
    assert ImageDataset(mapped).__getitems__([4])["image"][0, 0, 0, 0] == 4
    tensor = torch.from_numpy(images().images)
    assert np.shares_memory(ImageDataset(tensor).images, tensor.numpy())


@pytest.mark.parametrize("values", [np.zeros((2, 4, 4), np.uint8), np.zeros((2, 1, 4, 4), np.float32)])
def test_other_images_are_refused(values):
    with pytest.raises(ValueError, match="uint8"):
        ImageDataset(values)


def test_groups_must_be_one_per_sample():
    with pytest.raises(ValueError, match=r"groups must be \(2,\)"):
        ImageDataset(np.zeros((2, 1, 4, 4), np.uint8), groups=np.zeros(3))


def documents(sizes, length=4, stride=None, seed=0, **more):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return TokenDataset(
        rng.integers(1, 60000, offsets[-1]).astype(np.uint16), offsets, length, 0, stride=stride, **more
    )


def naive(array, sizes, stride):
    """Windows by the definition: along each document, one every ``stride`` tokens, until one reaches the end."""
    windows = []
    start = 0
    for document, size in enumerate(sizes):
        text = array.tokens[start : start + size].tolist()
        place = 0
        while size:
            window = text[place : place + array.length]
            windows.append((document, window + [array.pad_id] * (array.length - len(window))))
            if place + array.length >= size:
                break
            place += stride
        start += size
    return windows


@pytest.mark.parametrize("seed", range(20))
def test_windows_are_those_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1, 12))
    stride = int(rng.integers(1, length + 1))
    sizes = rng.integers(0, 40, rng.integers(1, 15))
    array = documents(sizes, length, stride, seed)
    batch = array.__getitems__(range(len(array)))
    found = list(zip(batch["document"].tolist(), batch["tokens"].tolist(), strict=True))
    assert found == naive(array, sizes.tolist(), stride)
    assert batch["index"].tolist() == list(range(len(array)))


@pytest.mark.parametrize("seed", range(20))
def test_windows_tile_their_documents(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 60, 12)
    array = documents(sizes, int(rng.integers(1, 20)), seed=seed)
    batch = array.__getitems__(range(len(array)))
    real = torch.arange(array.length) < torch.from_numpy(array.places(array.rows)[2])[:, None]
    assert (batch["tokens"][~real] == 0).all()
    assert batch["tokens"][real].tolist() == array.tokens.tolist()
    assert np.bincount(batch["document"], weights=real.sum(1), minlength=12).tolist() == sizes.tolist()


def test_windows_of_large_texts_take_eight_bytes_each():
    """Their rows alone; all else is kept by document."""
    offsets = np.array([0, 3, 10**9, 10**9 + 500_000])
    array = TokenDataset(np.broadcast_to(np.uint16(7), 10**9 + 500_000), offsets, 1000, 0, stride=1000)
    held = [value for value in vars(array).values() if isinstance(value, np.ndarray) and value.size > 4]
    assert sum(value.nbytes for value in held if value is not array.tokens) == 8 * len(array)
    assert array.token_count == 10**9 + 500_000
    assert array.__getitems__([0, 1])["document"].tolist() == [0, 1]


def test_subsets_keep_numbers_labels_and_documents():
    array = documents([9, 3, 0, 6], labels=np.array([1, 0, 1, 0]), classes=["no", "yes"])
    assert array.groups.tolist() == [0, 0, 0, 1, 3, 3]
    part = array.subset([5, 3, 0]).subset([0, 2])
    assert part.__getitems__([0, 1])["index"].tolist() == [5, 0]
    assert (len(part), part.groups.tolist(), part.labels.tolist()) == (2, [3, 0], [0, 1])
    assert part.classes == ["no", "yes"]
    assert part.tokens is array.tokens
    chosen = array.of_documents(np.array([False, True, True, True]))
    assert chosen.groups.tolist() == [1, 3, 3]
    assert chosen.firsts().__getitems__([0, 1])["index"].tolist() == [3, 4]
