import json
import os
import warnings

import datasets
import pytest

from ssl_lightning.data.text.hf_text import hf_text
from ssl_lightning.errors import InputError

TEXTS = [f"Dökument {number}\nline" for number in range(6)]


@pytest.fixture
def read(tmp_path):
    """`hf_text` of sets below `tmp_path`."""
    return lambda path, **options: hf_text(str(tmp_path), path=path, cache=str(tmp_path / "cache"), **options)


@pytest.fixture
def rows(tmp_path):
    """`folder`: as it comes from the hub, two parts of JSON lines; `saved` and `saved_dict`: written by the library."""
    (tmp_path / "folder").mkdir()
    train = [{"text": text, "other": number, "class": "ab"[number % 2]} for number, text in enumerate(TEXTS)]
    train.append({"text": " ", "other": 6, "class": "a"})
    test = [{"text": "held", "other": 0, "class": "b"}]
    for name, part in (("train", train), ("test", test)):
        (tmp_path / "folder" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)))
    kinds = datasets.Features(
        {
            "text": datasets.Value("string"),
            "other": datasets.Value("int64"),
            "class": datasets.ClassLabel(names=["a", "b"]),
        }
    )
    saved = [datasets.Dataset.from_list(part, features=kinds) for part in (train, test)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        datasets.disable_progress_bars()
        saved[0].save_to_disk(tmp_path / "saved")
        datasets.DatasetDict(train=saved[0], test=saved[1]).save_to_disk(tmp_path / "saved_dict")
    return tmp_path


@pytest.mark.parametrize("path", ["folder", "saved", "saved_dict"])
def test_a_row_a_document(rows, read, path):
    corpus = read(path)
    assert list(corpus.texts()) == TEXTS
    assert (corpus.labels, corpus.key) == (None, read(path).key)
    assert list(read(path, limit=2).texts()) == TEXTS[:2]


@pytest.mark.parametrize("path", ["folder", "saved_dict"])
def test_labels(rows, read, path):
    corpus = read(path, label="class", test_part="test")
    assert corpus.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert corpus.classes == ["a", "b"]
    test = read(path, split="test", label="class", test_part="test")
    assert (list(test.texts()), test.labels.tolist()) == (["held"], [1])
    parts = [read(path, split=split, label="class", test_size=2) for split in ("train", "test")]
    assert sorted(text for part in parts for text in part.texts()) == TEXTS
    assert sorted(parts[1].labels) == [0, 1]


def test_a_set_is_read_once_and_again_when_a_file_changes(rows, read):
    first = list(read("folder").texts())
    file = rows / "folder/train.jsonl"
    status = file.stat()
    file.write_bytes(b"x" * status.st_size)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list(read("folder").texts()) == first
    file.write_text('{"text": "new"}')
    assert list(read("folder").texts()) == ["new"]


@pytest.mark.parametrize("pattern", ["*.jsonl", "inner/*.jsonl", "../outside/*.jsonl", "{}/outside/new.jsonl"])
def test_files_of_a_pattern_are_read_again_when_one_changes(rows, read, pattern):
    """Wherever it leads; those beside them do not change."""
    folder = rows / "folder" / "inner" if pattern.startswith("inner") else rows / "outside"
    folder = rows / "folder" if pattern == "*.jsonl" else folder
    folder.mkdir(exist_ok=True)
    for text in ("first", "second"):
        for file in folder.glob("*.jsonl"):
            file.unlink()
        (folder / "new.jsonl").write_text(json.dumps({"text": text}))
        assert list(read("folder", data_files=pattern.format(rows)).texts()) == [text]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"column": "body"}, "folder has no column 'body' but text, other, class: name it in data.source"),
        ({"column": "other"}, "folder has no text in its column but int: state data.source.column"),
        ({"label": "kind"}, "folder has no column 'kind'"),
        ({"part": "valid"}, r"folder cannot be read \(.*valid"),
        ({"data_files": "none.json"}, "folder cannot be read"),
        ({"split": "test"}, "a text set without labels has no test split"),
    ],
)
def test_sets_that_do_not_fit(rows, read, options, line):
    with pytest.raises(InputError, match=line) as caught:
        read("folder", **options)
    assert "\n" not in str(caught.value)


def test_a_path_that_names_no_set(read):
    with pytest.raises(InputError, match="read files with data=text_files"):
        read("json")


def test_a_set_that_is_neither_here_nor_on_the_hub(read, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="nowhere/at-all cannot be read"):
        read("nowhere/at-all")


def test_code_in_a_set_is_refused_and_not_run(rows, read):
    marker = rows / "it_ran"
    (rows / "folder/folder.py").write_text(f"open({str(marker)!r}, 'w')")
    with pytest.raises(InputError, match=r"folder cannot be read \(Dataset scripts are no longer supported"):
        read("folder")
    assert not marker.exists()
