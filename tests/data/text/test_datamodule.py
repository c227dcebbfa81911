import os
import resource
import signal
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from ssl_lightning.data.text.corpus import Corpus
from ssl_lightning.data.text.datamodule import TextDataModule
from ssl_lightning.data.text.text_files import text_files
from ssl_lightning.data.text.tokenizers import bpe, byte, char, pretrained
from ssl_lightning.errors import InputError
from ssl_lightning.transforms.text.masking import Tokens

TEXTS = [f"Document {number} ends with \u00e9. " + "word " * (number % 30) for number in range(80)]


def documents(root, split, texts=TEXTS):
    assert split == "pretrain", "the corpus has no other split"
    return Corpus.from_texts(texts)


def labeled(root, split, count=60):
    texts = [f"{split} {number} " + ("good " if number % 3 else "bad ") * 20 for number in range(count)]
    return Corpus.from_texts(texts, np.arange(count) % 3, ["a", "b", "c"])


@pytest.fixture
def made(tmp_path):
    def make(source=documents, tokenizer=byte, **settings):
        settings = {"length": 16, "batch_size": 8, "cache": str(tmp_path / "cache"), **settings}
        transform = settings.pop("transform", nn.Identity())
        data = TextDataModule(source, str(tmp_path), transform, tokenizer, **settings)
        data.prepare_data()
        data.setup()
        return data

    return make


def texts_of(data, windows):
    """The documents that windows make together, by number."""
    found = {}
    batch = windows.__getitems__(range(len(windows)))
    for document, tokens in zip(batch["document"].tolist(), batch["tokens"], strict=True):
        found[document] = found.get(document, []) + tokens[tokens != data.modality.tokenizer.pad_id].tolist()
    return {document: data.modality.tokenizer.decode(ids) for document, ids in found.items()}


def test_documents_are_trained_on_or_held_out_and_never_both(made):
    data = made(val_size=0.2)
    train, held = texts_of(data, data.train), texts_of(data, data.val_windows)
    assert len(held) == 16
    assert not set(train) & set(held)
    assert {**train, **held} == dict(enumerate(TEXTS))
    assert (data.probe_train, data.classes, data.num_classes) == (None, None, None)
    assert data.val is data.validation_set is data.val_windows


def test_the_split_has_its_own_seed_and_knows_documents_by_their_content(made):
    """A run that goes on from another is validated on what neither was trained on, also after the corpus grew."""
    held = [set(made(val_size=16, **seeds).val_windows.groups) for seeds in ({}, {"seed": 1}, {"split_seed": 1})]
    assert held[0] == held[1] != held[2]
    more = made(partial(documents, texts=[*(f"more {n}" for n in range(8)), *TEXTS]), val_size=0.2)
    kept = {document - 8 for document in more.val_windows.groups} & held[0]
    assert len(kept) >= 14
    probes = [set(made(probe=labeled, seed=seed).val.groups) for seed in (0, 1)]
    assert probes[0] == probes[1]


def test_batches(made):
    data = made(val_size=0.2)
    batch = next(iter(data.features_loader("train")))
    assert {key: (value.dtype, tuple(value.shape)) for key, value in batch.items()} == {
        "tokens": (torch.int64, (8, 16)),
        "document": (torch.int64, (8,)),
        "index": (torch.int64, (8,)),
    }
    assert torch.equal(data.modality.evaluation_view(batch)["tokens"], batch["tokens"])
    assert set(batch) | {"label"} == set(data.provides)
    assert sum(len(batch["index"]) for batch in data.val_dataloader()) == len(data.val_windows)
    parts = [next(iter(part)) for part in (made(num_workers=2).features_loader("train"), [batch])]
    assert parts[0]["tokens"].shape == parts[1]["tokens"].shape


def test_of_fewer_documents_than_the_fraction_needs_the_end_is_held_out(made):
    """Five files of which a tenth is wanted; rounded as nanoGPT does."""
    text = "".join(TEXTS)
    for texts in ([text], [text[:900], text[900:1800], text[1800:]]):
        data = made(partial(documents, texts=texts), char, val_size=0.1)
        first = int(0.9 * len(text.encode()))
        train, held = ("".join(texts_of(data, part).values()) for part in (data.train, data.val_windows))
        assert (train, held) == (text.encode()[:first].decode(), text.encode()[first:].decode())


def test_overlapping_windows_are_for_training_alone(made):
    data, apart = made(val_size=0.2, stride=4), made(val_size=0.2)
    assert len(data.train) > 3 * len(apart.train)
    assert len(data.val_windows) == len(apart.val_windows)
    starts = data.train.places(data.train.rows)[1]
    same = np.diff(data.train.groups) == 0
    assert (np.diff(starts)[same] == 4).all()


def test_fraction_takes_a_part_of_the_training_windows_only(made):
    whole, half, less = (made(val_size=0.2, fraction=fraction) for fraction in (1, 0.5, 0.25))
    assert len(half.train) == round(len(whole.train) / 2)
    assert set(less.train.rows) < set(half.train.rows) < set(whole.train.rows)
    assert half.val_windows.rows.tolist() == whole.val_windows.rows.tolist()


@pytest.mark.parametrize("tokenizer", [byte, partial(bpe, vocab_size=300)])
def test_facts(made, tokenizer):
    data = made(tokenizer=tokenizer, val_size=0.25)
    held = texts_of(data, data.val_windows).values()
    tokens = sum(len(data.modality.tokenizer.encode(text)) for text in held)
    bytes_per_token = sum(len(text.encode()) for text in held) / tokens
    assert data.modality.facts == {
        "vocab_size": data.modality.tokenizer.vocab_size,
        "pad_id": 0,
        "cls_id": 2,
        "sep_id": 3,
    }
    assert data.bytes_per_token == bytes_per_token
    whole = made(tokenizer=tokenizer)
    assert whole.validation_set is None
    tokens = sum(len(whole.modality.tokenizer.encode(text)) for text in TEXTS)
    assert whole.bytes_per_token == sum(len(text.encode()) for text in TEXTS) / tokens


def test_a_tokenizer_learns_from_the_training_documents_once(made):
    calls = []

    def learner(texts, odd="x"):
        calls.append(list(texts))
        return char([*calls[-1], odd])

    make = partial(learner, odd="y")
    data = made(tokenizer=make, val_size=0.2)
    assert sorted(calls[0]) == sorted(texts_of(data, data.train).values())
    again = made(tokenizer=make, val_size=0.2)
    assert len(calls) == 1
    assert again.modality.tokenizer.key == data.modality.tokenizer.key
    made(tokenizer=partial(learner, odd="z"), val_size=0.2)
    made(tokenizer=make, val_size=0.2, split_seed=1)
    assert len(calls) == 3


def test_a_transform_learns_the_tokenizer(made):
    transform = Tokens()
    made(transform=transform)
    assert transform.mask_id == 4


def test_the_tokenizer_of_a_run_is_taken_as_it_was_saved(made, tmp_path):
    char(["".join(TEXTS), "more"]).save(tmp_path / "tokenizer")
    data = TextDataModule(documents, "", nn.Identity(), char, length=16, batch_size=8, cache=str(tmp_path / "cache"))
    data.restore(tmp_path)
    data.prepare_data()
    data.setup()
    assert "m" in data.modality.tokenizer.decode(data.modality.tokenizer.encode("m"))
    assert data.modality.facts["vocab_size"] == char(["".join(TEXTS), "more"]).vocab_size
    other = made(tokenizer=partial(pretrained, name=str(tmp_path / "tokenizer")))
    assert other.modality.tokenizer.key == data.modality.tokenizer.key


def test_a_tokenizer_is_stored_once_and_whole(made, tmp_path):
    data, run = made(), tmp_path / "run"
    run.mkdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as a full disk
    try:
        with pytest.raises(Exception, match="File too large"):
            data.store(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(run.iterdir()) == []
    data.store(run)
    written = {file: file.stat().st_mtime_ns for file in (run / "tokenizer").iterdir()}
    data.store(run)
    assert {file: file.stat().st_mtime_ns for file in (run / "tokenizer").iterdir()} == written


def test_labels_of_the_corpus_itself(made):
    data = made(labeled, val_size=15)
    assert (len(data.probe_train), len(data.val), len(data.test)) == (45, 15, 60)
    assert np.bincount(data.val.labels).tolist() == [5, 5, 5]
    assert (data.classes, data.num_classes) == (["a", "b", "c"], 3)
    assert len(data.val_windows) > 15
    assert set(data.val_windows.groups) == set(data.val.groups)
    texts = texts_of(data, data.test)
    assert texts[7].startswith("test 7 good")
    batch = next(iter(data.features_loader("test")))
    assert batch["label"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert "label" in next(iter(data.val_dataloader()))


def test_labels_of_another_source(made):
    data = made(probe=labeled, val_size=0.2, probe_val_size=0.25)
    assert (len(data.probe_train), len(data.val), len(data.test)) == (45, 15, 60)
    assert np.bincount(data.probe_train.labels).tolist() == [15, 15, 15]
    assert data.num_classes == 3
    assert len(texts_of(data, data.val_windows)) == 16
    assert not set(data.probe_train.groups) & set(data.val.groups)
    for split, part in (("probe_train", data.probe_train), ("val", data.val), ("test", data.test)):
        labels = torch.cat([batch["label"] for batch in data.features_loader(split)])
        assert labels.tolist() == part.labels.tolist()
    assert made(probe=labeled, probe_val_size=0).val is None


def test_the_test_set_is_opened_only_when_asked_for(made):
    opened = []

    def source(root, split):
        opened.append(split)
        return labeled(root, split)

    data = made(probe=source)
    assert "test" not in opened
    assert len(data.test) == len(data.test) == 60
    assert opened.count("test") == 1


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"stride": 17}, r"data\.stride=17 skips text: give data\.length=16 or less"),
        ({"val_size": 80}, r"data\.val_size=80 leaves nothing of a set of 80"),
        ({"probe": lambda root, split: Corpus.from_texts(TEXTS)}, r"data\.probe has no labels: choose labeled_text"),
    ],
)
def test_wrong_input(made, settings, line):
    with pytest.raises(InputError, match=line) as caught:
        made(**settings)
    assert "\n" not in str(caught.value)


def test_there_is_no_bank_without_labels(made):
    data = made(val_size=0.2)
    with pytest.raises(InputError, match="no probe_train set: the data has no labels"):
        data.features_loader("probe_train")
    with pytest.raises(InputError, match="no test set: the data has no labels"):
        data.features_loader("test")


def test_files_from_the_first_byte_to_the_batch(made, tmp_path):
    (tmp_path / "corpus").mkdir()
    for number, text in enumerate(TEXTS):
        (tmp_path / "corpus" / f"{number:03}.txt").write_bytes(text.encode("latin-1"))
    (tmp_path / "s.pos").write_text("".join(f"good {number}\n" for number in range(20)))
    (tmp_path / "s.neg").write_text("".join(f"bad {number}\n" for number in range(20)))
    cache = str(tmp_path / "cache")
    data = made(
        partial(text_files, files="corpus", encoding="latin-1", cache=cache),
        partial(bpe, vocab_size=280),
        val_size=0.1,
        probe=partial(text_files, files="s.*", label="class", cache=cache),
    )
    assert {**texts_of(data, data.train), **texts_of(data, data.val_windows)} == dict(enumerate(TEXTS))
    assert sorted(texts_of(data, data.test).values())[0].startswith("bad ")
    assert (len(data.probe_train), len(data.val), len(data.test)) == (29, 3, 8)


REAL = os.environ.get("SSL_DATA", "")


@pytest.mark.skipif(not os.path.exists(f"{REAL}/text/tinyshakespeare.txt"), reason="no tinyshakespeare in $SSL_DATA")
def test_tinyshakespeare_is_split_as_in_nanogpt(made):
    """Its prepare.py: 65 characters, 1,003,854 tokens to train on and 111,540 to validate."""
    data = made(partial(text_files, files=f"{REAL}/text/tinyshakespeare.txt"), char, val_size=0.1)
    assert data.modality.tokenizer.vocab_size == 65 + 5
    tokens = [part.token_count for part in (data.train, data.val_windows)]
    assert tokens == [1_003_854, 111_540]


def test_what_evaluation_sees_has_no_empty_columns(made):
    data = made(val_size=0.2)
    tokens = torch.full((2, 16), data.modality.tokenizer.pad_id)
    tokens[0, :3] = tokens[1, :5] = 7
    assert torch.equal(data.modality.evaluation_view({"tokens": tokens, "label": 1})["tokens"], tokens[:, :5])
    assert data.modality.evaluation_view({"tokens": tokens, "label": 1})["label"] == 1


def test_texts_are_those_of_the_labeled_samples(made):
    data = made(val_size=0.2, probe=labeled, length=8)
    for split in ("probe_train", "val", "test"):
        texts, part = data.texts(split), getattr(data, split)
        assert len(texts) == len(part)
        assert all(text.endswith("good " * 20) == (label > 0) for text, label in zip(texts, part.labels, strict=True))
        read = part.__getitems__(range(len(part)))["tokens"]
        assert [data.modality.tokenizer.decode(row.tolist()) for row in read] == [text[:8] for text in texts]
