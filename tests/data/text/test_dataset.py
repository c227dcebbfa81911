import numpy as np
import pytest
import torch

from ssl_lightning.data.text.dataset import TokenDataset


def made(sizes, length=4, stride=None, seed=0, **more):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return TokenDataset(rng.integers(1, 60000, offsets[-1]).astype(np.uint16), offsets, length, 0, stride, **more)


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
    array = made(sizes, length, stride, seed)
    batch = array.__getitems__(range(len(array)))
    found = list(zip(batch["document"].tolist(), batch["tokens"].tolist(), strict=True))
    assert found == naive(array, sizes.tolist(), stride)
    assert batch["index"].tolist() == list(range(len(array)))


@pytest.mark.parametrize("seed", range(20))
def test_windows_tile_their_documents(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 60, 12)
    array = made(sizes, int(rng.integers(1, 20)), seed=seed)
    batch = array.__getitems__(range(len(array)))
    real = torch.arange(array.length) < torch.from_numpy(array.sizes)[:, None]
    assert (batch["tokens"][~real] == 0).all()
    assert batch["tokens"][real].tolist() == array.tokens.tolist()
    assert np.bincount(batch["document"], weights=real.sum(1), minlength=12).tolist() == sizes.tolist()


def test_batches_are_int64_and_their_own_memory():
    array = made([9, 3], labels=np.array([1, 0]), classes=["no", "yes"])
    batch = array.__getitems__([3, 0])
    assert {key: (value.dtype, tuple(value.shape)) for key, value in batch.items()} == {
        "tokens": (torch.int64, (2, 4)),
        "document": (torch.int64, (2,)),
        "index": (torch.int64, (2,)),
        "label": (torch.int64, (2,)),
    }
    assert batch["label"].tolist() == [0, 1]
    before = array.tokens.copy()
    batch["tokens"].zero_()
    assert (array.tokens == before).all()


def test_subsets_keep_numbers_labels_and_documents():
    array = made([9, 3, 0, 6], labels=np.array([1, 0, 1, 0]), classes=["no", "yes"])
    assert array.groups.tolist() == [0, 0, 0, 1, 3, 3]
    part = array.subset([5, 3, 0]).subset([0, 2])
    assert part.__getitems__([0, 1])["index"].tolist() == [5, 0]
    assert (len(part), part.groups.tolist(), part.labels.tolist()) == (2, [3, 0], [0, 1])
    assert part.classes == ["no", "yes"]
    assert part.tokens is array.tokens
    chosen = array.of_documents(np.array([False, True, True, True]))
    assert chosen.groups.tolist() == [1, 3, 3]
    assert chosen.firsts().__getitems__([0, 1])["index"].tolist() == [3, 4]


def test_wrong_arguments():
    with pytest.raises(ValueError, match="stride=5"):
        made([9], 4, 5)
    with pytest.raises(ValueError, match="length=0"):
        made([9], 0)
    with pytest.raises(ValueError, match=r"labels must be \(1,\)"):
        made([9], labels=np.array([1, 2]))
