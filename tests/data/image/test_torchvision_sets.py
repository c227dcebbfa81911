import numpy as np
import pytest

from ssl_lightning.data.image.torchvision_sets import SETS, torchvision_images
from ssl_lightning.errors import InputError


def write_idx(path, values):
    """The IDX format: two zeros, 8 for uint8, the number of axes, each axis as a big-endian int32, the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">i4").tobytes()
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def write_mnist(root, folder="MNIST", train=50, test=20):
    rng = np.random.default_rng(0)
    made = {}
    for name, count in (("train", train), ("t10k", test)):
        made[name] = rng.integers(0, 256, (count, 28, 28)), np.arange(count) % 10
        write_idx(root / folder / "raw" / f"{name}-images-idx3-ubyte", made[name][0])
        write_idx(root / folder / "raw" / f"{name}-labels-idx1-ubyte", made[name][1])
    return made


@pytest.fixture
def no_network(monkeypatch):
    """Every request goes to a port on this machine where nobody listens."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
def test_reads_files_that_are_there(tmp_path, no_network, name, folder):
    made = write_mnist(tmp_path, folder)
    for split, key in (("pretrain", "train"), ("train", "train"), ("test", "t10k")):
        data = torchvision_images(name, str(tmp_path), split)
        assert (data.images[:, 0] == made[key][0]).all()
        assert (data.labels == made[key][1]).all()
        assert len(data.classes) == 10


def write_stl10(root, monkeypatch):
    folder = root / "stl10_binary"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 96, 96), dtype=np.uint8)
    for name, rows in (("train", slice(0, 3)), ("unlabeled", slice(3, 6)), ("test", slice(6, 8))):
        images[rows].transpose(0, 1, 3, 2).tofile(folder / f"{name}_X.bin")
    np.array([1, 2, 10], dtype=np.uint8).tofile(folder / "train_y.bin")
    np.array([3, 4], dtype=np.uint8).tofile(folder / "test_y.bin")
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))
    reader = SETS["stl10"][0]
    for part in ("train_list", "test_list"):  # the checksums of the true files
        monkeypatch.setattr(reader, part, [[name, None] for name, _ in getattr(reader, part)])
    return images


def test_stl10_pretrains_on_its_training_images_followed_by_the_unlabeled(tmp_path, no_network, monkeypatch):
    images = write_stl10(tmp_path, monkeypatch)
    pretrain, train, test = (
        torchvision_images("stl10", str(tmp_path), split) for split in ("pretrain", "train", "test")
    )
    assert pretrain.labels is None
    assert (pretrain.images == images[:6]).all()
    assert (train.images == images[:3]).all()
    assert train.labels.tolist() == [0, 1, 9]
    assert (test.images == images[6:]).all()
    assert test.labels.tolist() == [2, 3]
    assert train.classes == list("abcdefghij")


@pytest.mark.parametrize("name", SETS)
def test_absent_files_without_a_network_say_what_to_put_where(tmp_path, no_network, name):
    with pytest.raises(InputError, match=f"{name} is missing or damaged in .* cannot be downloaded") as caught:
        torchvision_images(name, str(tmp_path), "train")
    message = str(caught.value)
    assert "\n" not in message
    *_, folder, files = SETS[name]
    assert str(tmp_path / folder) in message
    assert f"put {files} there" in message


def test_downloading_may_be_switched_off(tmp_path):
    with pytest.raises(InputError, match=r"switched off .*: put train-images-idx3-ubyte\.gz"):
        torchvision_images("mnist", str(tmp_path), "train", download=False)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_damaged_files_are_told(tmp_path, no_network, name):
    write_mnist(tmp_path)
    path = tmp_path / "MNIST/raw" / name
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(InputError, match=r"mnist is missing or damaged in .*MNIST/raw.*remove"):
        torchvision_images("mnist", str(tmp_path), "train")


def test_a_damaged_archive_is_told(tmp_path, no_network):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"half of it")
    with pytest.raises(InputError, match=r"put cifar-10-python\.tar\.gz there"):
        torchvision_images("cifar10", str(tmp_path), "train")


def test_unknown_names(tmp_path):
    with pytest.raises(InputError, match="'emnist'"):
        torchvision_images("emnist", str(tmp_path), "train")
    with pytest.raises(InputError, match="'valid'"):
        torchvision_images("mnist", str(tmp_path), "valid")
