import builtins
import json

import pytest

from ssl_lightning.data.text.hf_text import hf_text
from ssl_lightning.errors import InputError


@pytest.fixture
def folder(tmp_path):
    rows = [{"text": f"Dökument {number}\nline", "other": number} for number in range(6)] + [{"text": " ", "other": 6}]
    (tmp_path / "rows.json").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def read(folder, **options):
    options = {"path": "json", "data_files": "rows.json", "cache": str(folder / "cache"), **options}
    return hf_text(str(folder), **options)


@pytest.fixture
def datasets(folder, monkeypatch):
    found = pytest.importorskip("datasets", reason="the extra hf is not installed")
    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", folder / "datasets")
    found.disable_progress_bars()
    return found


@pytest.mark.parametrize("streaming", [False, True])
def test_a_row_a_document(folder, datasets, streaming):
    corpus = read(folder, streaming=streaming, limit=100)
    assert list(corpus.texts()) == [f"Dökument {number}\nline" for number in range(6)]
    assert corpus.key == read(folder, streaming=streaming, limit=100).key
    assert list(read(folder, streaming=streaming, limit=2).texts()) == ["Dökument 0\nline", "Dökument 1\nline"]


def test_texts_are_fetched_once(folder, datasets):
    first = list(read(folder, path="json").texts())
    status = (folder / "rows.json").stat()
    (folder / "rows.json").write_bytes(b"x" * status.st_size)
    import os

    os.utime(folder / "rows.json", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list(read(folder, path="json").texts()) == first


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"column": "body"}, "json has no column 'body' but text, other: state data.source.column"),
        ({"column": "other"}, "json has no text in its column 'other' but int"),
        ({"data_files": "none.json"}, "datasets cannot load 'json'"),
        ({"part": "valid"}, "datasets cannot load 'json'"),
    ],
)
def test_sets_that_do_not_fit(folder, datasets, options, line):
    with pytest.raises(InputError, match=line) as caught:
        read(folder, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"path": ""}, r"data\.source\.path is empty"),
        ({"streaming": True}, r"streaming needs data\.source\.limit"),
        ({"limit": 0}, r"limit=0 must be at least 1"),
        ({"split": "test"}, "no split 'test': give a labeled set as data.probe"),
    ],
)
def test_wrong_arguments(folder, options, line):
    with pytest.raises(InputError, match=line):
        read(folder, **options)


def test_without_the_library_it_says_what_to_install(folder, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "datasets":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"needs the datasets library: pip install 'ssl-lightning\[hf\]'"):
        read(folder)
