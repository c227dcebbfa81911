"""What `ssl-generate` makes of a text, of runs and of checkpoints of transformers, and what it refuses."""

import json
import math
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import transformers
from commands.text_runs import LENGTH, write_text_run
from composition import task
from omegaconf import OmegaConf
from runs.harness import run_here

from ssl_lightning.commands.export import save
from ssl_lightning.commands.text_model import text_model
from ssl_lightning.commands.text_tasks import _word, pieces
from ssl_lightning.errors import InputError
from ssl_lightning.runs.folder import RunFolder, quoted
from ssl_lightning.runs.load import load_method


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def run_generate(out: Path, *overrides: str, text: str | None = None) -> dict[str, Any]:
    """`ssl-generate` in this process; what it wrote to its newest file."""
    words = [*overrides, *([] if text is None else [f"text={quoted(text)}"])]
    run_here("generate", out, *words)
    newest = max(out.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return json.loads(newest.read_text())


@pytest.mark.parametrize("spelled_by", ["byte", "char", "bpe", "wordpiece"])
def test_a_text_goes_on_and_a_seed_repeats_it(spelled_by: str, tmp_path: Path, capsys: Any) -> None:
    run = write_text_run(tmp_path / "run", "causal_lm", spelled_by=spelled_by)
    options = (f"run='{run.path}'", "max_new_tokens=40")
    made, again, other = (
        run_generate(tmp_path / "out", *options, f"seed={seed}", text="the cat") for seed in (1, 1, 2)
    )
    assert made["tokens"] == again["tokens"] != other["tokens"]
    assert len(made["tokens"]) == 40  # longer than the window of 24
    assert not set(made["tokens"]) & set(range(5))  # special tokens
    assert len(list((tmp_path / "out").glob("*.json"))) == 3
    printed = capsys.readouterr().out
    assert printed.startswith("the cat" + made["continuation"] + "\n")
    assert made["checkpoint"] == str(run.last)
    assert made["options"]["seed"] == 1


def test_top_k_of_one_is_the_likeliest_text_whatever_the_seed(tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", "causal_lm")
    first, second = (
        run_generate(tmp_path / "out", f"run='{run.path}'", "top_k=1", f"seed={seed}", text="the") for seed in (1, 2)
    )
    assert first["tokens"] == second["tokens"]


def test_what_looks_like_a_special_token_is_text_to_a_causal_model(tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", "causal_lm", spelled_by="byte")
    made = run_generate(tmp_path / "out", f"run='{run.path}'", "max_new_tokens=1", text="[MASK] ${a}, it's")
    assert made["text"] == "[MASK] ${a}, it's"
    text = text_model(run, "last", "")
    assert len(text.tokenizer("[MASK]", split_special_tokens=True)["input_ids"]) == 6


def test_a_character_waits_for_its_bytes(tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", "causal_lm", spelled_by="byte")
    tokenizer = load_method(run)[1].modality.tokenizer
    before, after = tokenizer.encode("caf"), tokenizer.encode("é €!")
    found = list(pieces(tokenizer.inner, before, iter(after)))
    assert "".join(found) == "é €!"
    assert found[:3] == ["é", " ", "€"]


@pytest.mark.parametrize("method", ["mlm", "nsp", "distil_mlm"])
def test_masks_are_filled_with_the_best_words(method: str, tmp_path: Path, capsys: Any) -> None:
    run = write_text_run(tmp_path / "run", method)
    made = run_generate(tmp_path / "out", f"run='{run.path}'", "words=3", text="the [MASK] sat on the [MASK].")
    printed = capsys.readouterr().out
    assert [len(mask) for mask in made["masks"]] == [3, 3]
    for mask in made["masks"]:
        chances = [guess["probability"] for guess in mask]
        assert chances == sorted(chances, reverse=True)
        assert all(guess["word"] in printed and f"{guess['probability']:.2%}" in printed for guess in mask)
    text = text_model(run, "last", "")
    pipeline = transformers.FillMaskPipeline(model=text.model, tokenizer=text.tokenizer, top_k=8)
    special = set(text.tokenizer.all_special_ids)
    theirs = [
        [score for score in mask if score["token"] not in special][:3]
        for mask in pipeline("the [MASK] sat on the [MASK].")
    ]
    for ours, expected in zip(made["masks"], theirs, strict=True):
        assert [guess["token"] for guess in ours] == [guess["token"] for guess in expected]
        assert all(
            math.isclose(a["probability"], b["score"], rel_tol=1e-4) for a, b in zip(ours, expected, strict=True)
        )


def test_space_for_a_mask_is_seen(tmp_path: Path) -> None:
    tokenizer = text_model(write_text_run(tmp_path / "run", "mlm", spelled_by="bpe"), "last", "").tokenizer
    words = [_word(tokenizer, tokenizer.convert_tokens_to_ids(token)) for token in ("Ġ", "Ċ", "Ã", "[MASK]")]
    assert words == ["' '", "'\\n'", "Ã", "[MASK]"]


def test_a_mask_covers_the_space_before_its_word(tmp_path: Path) -> None:
    """A word of byte-level BPE begins with its space; a [MASK] after a space of its own would be none."""
    text = text_model(write_text_run(tmp_path / "run", "mlm", spelled_by="bpe"), "last", "")
    ids = text.tokenizer("the [MASK] sat")["input_ids"]
    words = text.tokenizer("the cat sat")["input_ids"]
    assert [*words[:1], text.tokenizer.mask_token_id, *words[2:]] == ids


@pytest.mark.parametrize("beams", [1, 3])
def test_a_corrupted_text_is_restored(beams: int, tmp_path: Path, capsys: Any) -> None:
    run = write_text_run(tmp_path / "run", "denoising_lm")
    made = run_generate(tmp_path / "out", f"run='{run.path}'", f"beams={beams}", text="the [MASK] sat")
    assert 0 < len(made["tokens"]) <= LENGTH
    assert made["restored"] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("method", "text", "key"),
    [("causal_lm", "the cat", "tokens"), ("mlm", "the [MASK] sat", "masks"), ("denoising_lm", "the [MASK]", "tokens")],
)
def test_an_export_does_what_its_run_does(method: str, text: str, key: str, tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", method)
    opened = text_model(run, "last", "")
    save(opened.model, opened.tokenizer, tmp_path / "export")
    ours = run_generate(tmp_path / "out", f"run='{run.path}'", "top_k=1", "max_new_tokens=1", text=text)
    theirs = run_generate(
        tmp_path / "out", f"checkpoint='{tmp_path / 'export'}'", "top_k=1", "max_new_tokens=1", text=text
    )
    assert str(ours[key])[:60] == str(theirs[key])[:60]


@pytest.fixture(scope="module")
def masked_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_text_run(tmp_path_factory.mktemp("masked") / "run", "mlm")


@pytest.mark.parametrize(
    ("options", "text", "answer"),
    [
        ((), None, "text is missing"),
        ((), "  ", "text is missing"),
        ((), "no mask here", r"the text has no \[MASK\]"),
        ((), "[MASK] " + "the cat " * 40, "the text has .* tokens, but the model takes 24: shorten it"),
        (("words=1000000",), "a [MASK]", r"words=1000000 are more than the \d+ that the model knows"),
        (("checkpoint=best",), "a", "there is no checkpoint at .*best.ckpt"),
    ],
)
def test_what_is_wrong_is_said(
    options: tuple[str, ...], text: str | None, answer: str, masked_run: RunFolder, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=answer):
        run_generate(tmp_path, f"run='{masked_run.path}'", *options, text=text)


@pytest.mark.parametrize(
    ("checkpoint", "answer"),
    [
        ("last", "run is missing"),
        ("/nowhere/at/all", "there is no checkpoint at /nowhere/at/all"),
        ("nowhere", "checkpoint=nowhere cannot be opened by transformers"),
        ("RUN", "belongs to a run: give its folder as run="),
        ("RUN/checkpoints/last.ckpt", "belongs to a run: give its folder as run="),
        ("EMPTY", "cannot be opened by transformers"),
    ],
)
def test_a_checkpoint_that_is_not_there(checkpoint: str, answer: str, masked_run: RunFolder, tmp_path: Path) -> None:
    place = checkpoint.replace("RUN", str(masked_run.path)).replace("EMPTY", str(tmp_path))
    with pytest.raises(InputError, match=answer):
        run_generate(tmp_path, f"checkpoint='{place}'", text="a [MASK]")


def test_a_checkpoint_without_a_head_is_refused(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match="is BertModel, which has no head that makes text"):
        run_generate(tmp_path, f"checkpoint='{tmp_path / 'bert'}'", text="a")


def test_a_run_on_images_cannot(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.config.parent.mkdir(parents=True)
    OmegaConf.save(task(), run.config)
    able = "causal_lm, denoising_lm, distil_mlm, mlm, nsp"
    with pytest.raises(InputError, match=f"trained SimCLR, which cannot continue, fill or restore a text.*: {able}"):
        run_generate(tmp_path, f"run='{run.path}'", text="a")
