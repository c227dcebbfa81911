"""What transformers opens of an export computes what the method computes."""

import copy
from pathlib import Path

import pytest
import torch
import transformers
from commands.text_runs import LENGTH, TEXTS, write_text_run
from composition import task
from omegaconf import OmegaConf
from runs.harness import run_here

from ssl_lightning.errors import InputError
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.load import load_method

MODELS = {
    "masked": transformers.AutoModelForMaskedLM,
    "causal": transformers.AutoModelForCausalLM,
    "seq2seq": transformers.AutoModelForSeq2SeqLM,
}
CASES = [
    ("mlm", "bert_mini", "masked"),
    ("mlm", "modernbert_mini", "masked"),
    ("nsp", "bert_mini", "masked"),
    ("distil_mlm", "bert_mini", "masked"),
    ("causal_lm", "llama_mini", "causal"),
    ("causal_lm", "gpt2_mini", "causal"),
    ("causal_lm", "qwen3_mini", "causal"),
    ("denoising_lm", "bart_mini", "seq2seq"),
]


def run_export(run: RunFolder, *overrides: str) -> Path:
    """`ssl-export` in this process; the folder that it wrote."""
    folder = run.path / "export"
    run_here("export", folder, f"run='{run.path}'", *overrides)
    return folder


@pytest.mark.parametrize(("method", "backbone", "head"), CASES)
def test_logits_are_those_of_the_method(method: str, backbone: str, head: str, tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", method, f"backbone={backbone}")
    trained, data = load_method(run)
    model = MODELS[head].from_pretrained(run_export(run)).eval()
    length = LENGTH - (head == "causal")  # what was trained, and what the export says
    assert model.config.max_position_embeddings == trained.backbone.max_length == length
    inputs = torch.randint(
        5, data.modality.facts["vocab_size"], (3, length), generator=torch.Generator().manual_seed(0)
    )
    inputs[1, LENGTH // 2 :] = 0
    visible, taken = inputs != 0, {"input_ids": inputs, "attention_mask": (inputs != 0).long()}
    with torch.no_grad():
        if head == "seq2seq":
            _, h = trained.backbone.decoded(inputs, visible, inputs.flip(0))
            found = model(**taken, labels=inputs.flip(0)).logits
            visible = torch.ones_like(visible)
        else:
            segment = None
            if method == "nsp":
                segment = (torch.arange(length) > 5).long().expand_as(inputs)
                taken["token_type_ids"] = segment
            h = trained.backbone.hidden(inputs, visible, segment)
            found = model(**taken).logits
        expected = trained.backbone.logits(h[visible])
    assert float(expected.std()) > 0.1
    torch.testing.assert_close(found[visible], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spelled_by", ["byte", "char", "bpe", "wordpiece"])
@pytest.mark.parametrize("method", ["mlm", "causal_lm"])
def test_the_tokenizer_is_that_of_the_run(spelled_by: str, method: str, tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", method, spelled_by=spelled_by)
    tokenizer = transformers.AutoTokenizer.from_pretrained(run_export(run))
    ours = load_method(run)[1].modality.tokenizer
    assert tokenizer(TEXTS[0])["input_ids"] == ours.encode(TEXTS[0])
    assert tokenizer.decode(tokenizer(TEXTS[0])["input_ids"]) == ours.decode(ours.encode(TEXTS[0]))
    assert len(tokenizer) == ours.vocab_size
    assert tokenizer.model_max_length == LENGTH - (method == "causal_lm")


@pytest.mark.parametrize(("method", "frame"), [("nsp", (2, 3)), ("denoising_lm", (None, 3))])
def test_the_tokenizer_adds_what_stood_in_the_training(method: str, frame: tuple, tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", method)
    tokenizer = transformers.AutoTokenizer.from_pretrained(run_export(run))
    first, last = frame
    ids = load_method(run)[1].modality.tokenizer.encode("the cat")
    assert tokenizer("the cat")["input_ids"] == [*([first] if first else []), *ids, last]
    if method == "nsp":
        pair = tokenizer("the cat", "the cat")
        assert pair["input_ids"] == [2, *ids, 3, *ids, 3]
        assert pair["token_type_ids"] == [0] * (len(ids) + 2) + [1] * (len(ids) + 1)


@pytest.mark.parametrize(
    ("method", "backbone"), [("mlm", "bert_mini"), ("mlm", "modernbert_mini"), ("distil_mlm", "bert_mini")]
)
def test_fill_mask_works_on_it(method: str, backbone: str, tmp_path: Path) -> None:
    folder = run_export(write_text_run(tmp_path / "run", method, f"backbone={backbone}"))
    guesses = transformers.pipeline("fill-mask", str(folder))("the [MASK] sat")
    assert len(guesses) == 5
    assert 1 >= guesses[0]["score"] >= guesses[4]["score"] > 0


@pytest.mark.parametrize("backbone", ["llama_mini", "gpt2_mini"])
def test_text_generation_works_on_it(backbone: str, tmp_path: Path) -> None:
    folder = run_export(write_text_run(tmp_path / "run", "causal_lm", f"backbone={backbone}"))
    (made,) = transformers.pipeline("text-generation", str(folder))("the cat", max_new_tokens=6)
    assert made["generated_text"].startswith("the cat")


def test_the_corpus_and_the_cache_may_be_gone(tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", "mlm", "data=text_files", "data.root=/gone", "data.cache=/gone")
    assert (run_export(run) / "model.safetensors").is_file()


def test_what_cannot_be_exported_is_told(tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", "mlm")
    with pytest.raises(InputError, match=r"there is no checkpoint at .*best.ckpt"):
        run_export(run, "checkpoint=best")
    config = copy.deepcopy(OmegaConf.load(run.config))
    config.backbone.width = 32
    OmegaConf.save(config, run.config)
    with pytest.raises(InputError, match=r"last.ckpt does not fit the model of"):
        run_export(run)
    OmegaConf.save(task(), run.config)
    with pytest.raises(InputError, match=r"last.ckpt does not fit the model of"):
        run_export(run)


def test_a_run_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    run = write_text_run(tmp_path / "run", "mlm")
    run.tokenizer.rename(tmp_path / "away")
    with pytest.raises(InputError, match="the tokenizer of the run is not there"):
        run_export(run)
