import os
import shutil

import numpy as np
import pytest
from PIL import Image
from runs.warm import start

from ssl_lightning.data.folder import list_files
from ssl_lightning.data.image import decode as module
from ssl_lightning.data.image.decode import decode_images
from ssl_lightning.data.image.image_folder import image_folder
from ssl_lightning.errors import InputError, InputWarning


def paint(path, value, size=(12, 10), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).convert(mode).save(path)


def make_split(root, names=("cat", "dog"), count=5, start=0):
    for label, name in enumerate(names):
        for number in range(count):
            paint(root / name / f"{number}.png", start + 10 * label + number)


@pytest.fixture
def load(tmp_path):
    defaults = {"folder": "set", "store_size": 8, "cache": str(tmp_path / "cache")}

    def call(split="train", **options):
        return image_folder(str(tmp_path), split, **{**defaults, **options})

    return call


def test_official_splits(tmp_path, load):
    make_split(tmp_path / "set/train")
    make_split(tmp_path / "set/test", count=2, start=100)
    train, test = load("pretrain"), load("test")
    assert train.images.shape == (10, 3, 8, 8)
    assert train.classes == test.classes == ["cat", "dog"]
    assert train.labels.tolist() == [0] * 5 + [1] * 5
    assert train.__getitems__([0, 7])["image"][:, 0, 0, 0].tolist() == [0, 12]
    assert test.__getitems__([0, 3])["image"][:, 0, 0, 0].tolist() == [100, 111]
    assert test.__getitems__([0, 3])["label"].tolist() == [0, 1]


def test_val_is_the_test_split_of_imagenet_and_may_lack_classes(tmp_path, load):
    make_split(tmp_path / "set/train", names=("a", "b", "c"))
    make_split(tmp_path / "set/val", names=("b", "c"), count=1)
    assert load("test").labels.tolist() == [1, 2]


def test_class_folders_alone_are_split_by_class(tmp_path, load):
    make_split(tmp_path / "set", count=20)
    train, test = load("train"), load("test")
    assert np.bincount(train.labels).tolist() == [16, 16]
    assert np.bincount(test.labels).tolist() == [4, 4]
    rows = [one.__getitems__(range(len(one)))["index"].tolist() for one in (train, test)]
    assert sorted(rows[0] + rows[1]) == list(range(40))
    assert (load("train").rows == train.rows).all()
    assert (load("train", seed=1).rows != train.rows).any()


@pytest.mark.parametrize("place", ["set", "set/all", "set/train"])
def test_images_without_classes_have_no_labels(tmp_path, load, place):
    for number in range(10):
        paint(tmp_path / place / f"{number}.png", number)
    data = load()
    assert data.labels is None
    assert data.classes is None
    assert len(data) == (10 if place == "set/train" else 8)


def test_loose_images_beside_classes_are_told(tmp_path, load):
    make_split(tmp_path / "set")
    paint(tmp_path / "set/stray.png", 0)
    with pytest.warns(InputWarning, match="1 files lie beside"):
        assert load().labels is None


def test_any_depth_link_and_extension_but_nothing_hidden(tmp_path, load):
    make_split(tmp_path / "elsewhere", names=("cat",), count=2)
    paint(tmp_path / "set/train/dog/deep/er/a.JPG", 1)
    paint(tmp_path / "set/train/dog/.hidden.png", 1)
    paint(tmp_path / "set/train/.git/a.png", 1)
    (tmp_path / "set/train/dog/notes.txt").write_text("x")
    os.symlink(tmp_path / "elsewhere/cat", tmp_path / "set/train/cat")
    os.symlink(tmp_path / "set/train", tmp_path / "set/train/dog/loop")
    assert load().labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("channels", [1, 3])
def test_channels(tmp_path, load, channels):
    for number, mode in enumerate(["L", "RGB", "RGBA", "P"]):
        paint(tmp_path / f"set/train/{number}.png", 50, size=(20 + number, 30), mode=mode)
    data = load(channels=channels)
    assert data.images.shape == (4, channels, 8, 8)
    assert (abs(data.images.astype(int) - 50) <= 1).all()  # a palette has no exact 50


def corrupt(tmp_path):
    make_split(tmp_path / "set/train", count=40)
    (tmp_path / "set/train/cat/3.png").write_text("not an image")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "set/train/dog/9.jpg")
    whole = (tmp_path / "set/train/dog/9.jpg").read_bytes()
    (tmp_path / "set/train/dog/9.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "set/train/dog/empty.png").touch()


def test_corrupt_files_are_named_and_left_out(tmp_path, load):
    corrupt(tmp_path)
    for _ in range(2):
        with pytest.warns(InputWarning, match="3 of 82 files cannot be read") as caught:
            data = load()
        for name in ("cat/3.png (not an image)", "dog/9.jpg (", "dog/empty.png"):
            assert name in str(caught[0].message)
    assert len(data) == len(data.labels) == 79
    values = data.__getitems__(range(79))
    assert (values["image"][:, 0, 0, 0] // 10 >= values["label"]).all()


def test_corrupt_files_may_be_fatal(tmp_path, load):
    corrupt(tmp_path)
    for _ in range(2):
        with pytest.raises(InputError, match=r"cat/3\.png"):
            load(on_corrupt="raise")


def test_nothing_readable_is_fatal(tmp_path, load):
    (tmp_path / "set/train").mkdir(parents=True)
    (tmp_path / "set/train/a.png").write_text("x")
    with pytest.raises(InputError, match=r"1 of 1 .*a\.png"):
        load()


def caches(tmp_path):
    """Each cache's array and when it was made: a cache that is made again changes, one that is used does not."""
    return {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").glob("*/values.bin")}


def test_the_cache_is_used_until_a_file_changes(tmp_path, load):
    make_split(tmp_path / "set/train")
    first = load()
    made = caches(tmp_path)
    assert (load().images == first.images).all()
    assert caches(tmp_path) == made

    paint(tmp_path / "set/train/cat/0.png", 222)
    os.utime(tmp_path / "set/train/cat/0.png", ns=(0, 1))
    assert load().images[0, 0, 0, 0] == 222
    paint(tmp_path / "set/train/cat/00.png", 111)
    assert load().images[1, 0, 0, 0] == 111
    (tmp_path / "set/train/cat/00.png").rename(tmp_path / "set/train/dog/00.png")
    assert load().labels.tolist() == [0] * 5 + [1] * 6
    load(store_size=6)
    load(channels=1)
    assert len(caches(tmp_path)) == 6


def test_unchanged_files_are_not_read_again(tmp_path, load):
    make_split(tmp_path / "set/train")
    file = tmp_path / "set/train/cat/0.png"
    load()
    stamp, content = file.stat().st_mtime_ns, file.read_bytes()
    file.write_bytes(bytes(len(content)))  # of the same length and, below, time: only reading it would tell
    os.utime(file, ns=(stamp, stamp))
    assert len(load()) == 10
    os.utime(file, ns=(stamp, stamp + 1))
    with pytest.warns(InputWarning, match=r"cat/0\.png \(not an image"):
        assert len(load()) == 9


def test_a_file_that_becomes_readable_is_seen(tmp_path, load):
    make_split(tmp_path / "set/train")
    os.symlink(tmp_path / "later.png", tmp_path / "set/train/cat/9.png")
    for _ in range(2):
        with pytest.warns(InputWarning, match=r"1 of 11 .*cat/9\.png"):
            assert len(load()) == 10
    paint(tmp_path / "later.png", 7)
    assert len(load()) == 11


def test_the_cache_folder_comes_from_the_environment(tmp_path, load, monkeypatch):
    make_split(tmp_path / "set/train")
    monkeypatch.setenv("SSL_CACHE", str(tmp_path / "other"))
    load(cache=None)
    assert len(list((tmp_path / "other").glob("*/values.bin"))) == 1


def test_a_damaged_cache_says_what_to_remove(tmp_path, load):
    make_split(tmp_path / "set/train")
    load()
    (array,) = caches(tmp_path)
    made = array.parent
    for left in (b"x", b""):  # the second by a power cut
        array.write_bytes(left)
        with pytest.raises(InputError, match=f"{made} is damaged"):
            load()
    shutil.rmtree(made)
    assert len(load()) == 10


def test_files_that_change_while_they_are_decoded_leave_no_cache(tmp_path, load, monkeypatch):
    make_split(tmp_path / "set/train")
    real = module.decode

    def decode(path, *shape):
        paint(tmp_path / "set/train/cat/0.png", 222, size=(50, 50))
        return real(path, *shape)

    monkeypatch.setattr(module, "decode", decode)
    with pytest.raises(InputError, match="changed while they were decoded"):
        load()
    assert not caches(tmp_path)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_what_a_killed_build_left_is_removed_by_the_next(tmp_path, load):
    make_split(tmp_path / "set/train")
    load()
    (array,) = caches(tmp_path)
    array.parent.rename(tmp_path / "cache" / f".{array.parent.name}.killed")
    load()
    assert caches(tmp_path)
    assert {path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()} == {array.parent.name}


def test_several_may_build_at_once(tmp_path, load):
    make_split(tmp_path / "set/train", count=60)
    place = tmp_path / "set/train"
    files = list_files(place, {".png"}, "image")
    processes = [start(decode_images, place, files, 8, 3, tmp_path / "cache") for _ in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert load().images[:60, 0, 0, 0].max() == 59
    assert len(caches(tmp_path)) == 1
    assert not [path for path in (tmp_path / "cache").glob(".*") if path.is_dir()]


@pytest.mark.parametrize(
    ("build", "split", "message"),
    [
        (lambda home: None, "train", "set does not exist"),
        (lambda home: home.write_text(""), "train", "set is not a folder"),
        (lambda home: home.mkdir(), "train", "set holds no image"),
        (lambda home: (home / "train/cat").mkdir(parents=True), "train", "train holds no image"),
        (lambda home: make_split(home / "train"), "test", "neither test nor val"),
        (
            lambda home: (make_split(home / "train"), make_split(home / "test", names=("cat", "eel"))),
            "test",
            "test/eel is not one of the 2 classes",
        ),
        (lambda home: make_split(home), "valid", "'valid'"),
    ],
)
def test_impossible_folders(tmp_path, load, build, split, message):
    build(tmp_path / "set")
    with pytest.raises(InputError, match=message) as caught:
        load(split)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folder(tmp_path, load):
    make_split(tmp_path / "set/train")
    (tmp_path / "set/train/cat").chmod(0)
    with pytest.raises(InputError, match="train/cat cannot be read"):
        load()


def test_impossible_options(tmp_path, load):
    make_split(tmp_path / "set")
    with pytest.raises(InputError, match="test_size=50"):
        load(test_size=50)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/cache cannot be filled"):
        load(cache=str(tmp_path / "file/cache"))


def test_the_test_split_knows_images_by_their_paths(tmp_path, load):
    """One image more moves none of the others but at the border; the draw by place moved most of them."""
    make_split(tmp_path / "set", count=40)
    before = load("test", test_size=16)
    paint(tmp_path / "set/cat/000.png", 250)
    after = load("test", test_size=16)
    grays = [set(part.images[part.rows, 0, 0, 0].tolist()) for part in (before, after)]
    assert len(grays[0] & grays[1]) >= 15
