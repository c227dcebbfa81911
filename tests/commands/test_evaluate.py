import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands.text_runs import write_text_run
from PIL import Image
from runs.harness import TINY, command, run_here, train

from ssl_lightning.errors import InputError
from ssl_lightning.runs.folder import RunFolder


def evaluated(run: RunFolder, *overrides: str) -> dict[str, Any]:
    """`results.json` of `ssl-evaluate` in this process."""
    out = run.path / "evaluate"
    run_here("evaluate", out, f"run={run.path}", *overrides)
    return json.loads((out / "results.json").read_text())


@pytest.fixture(scope="module")
def labeled_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A masked model that nobody trained, and texts whose words tell their class."""
    folder, draw = tmp_path_factory.mktemp("text"), random.Random(0)
    for name, own in (("cats", "cat mat sat"), ("dogs", "dog log ran")):
        words = [" ".join(draw.choices([*own.split(), "the", "on", "and"], k=12)) for _ in range(80)]
        (folder / f"animals.{name}").write_text("\n".join(words))
    return write_text_run(
        folder / "run",
        "mlm",
        "data=labeled_text",
        f"data.root={folder}",
        "data.source.files=animals.*",
        "data.val_size=0.1",
        "data.batch_size=16",
        f"data.cache={folder}/cache",
    )


def test_text_beside_tf_idf_with_all_and_with_few_labels(
    labeled_run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluated(labeled_run, "labels=[10,5000]", "draws=3")
    assert "labels=[5000] left out: the training set has 1" in capsys.readouterr().out
    names = {"probe/knn_accuracy", "probe/linear_accuracy", "probe/knn_accuracy_10", "probe/linear_accuracy_10"}
    for part in ("metrics", "controls"):
        probed = {name for name in found[part] if not name.endswith(("_low", "_high"))}
        assert probed == {*names, "val/perplexity", "val/bits_per_byte"}
        for name in names:
            assert found[part][f"{name}_low"] <= found[part][name] <= found[part][f"{name}_high"]
    assert found["raw"]["probe/linear_accuracy"] == 1.0
    assert found["raw"]["probe/linear_accuracy_10"] > 0.7
    assert "probe/knn_accuracy" not in found["raw"]
    assert (labeled_run.path / "evaluate/figures/evaluation.png").stat().st_size > 1000


def test_fine_tuning_learns_what_words_tell(labeled_run: RunFolder) -> None:
    found = evaluated(labeled_run, "labels=[]", "raw=false", "finetune=true", "finetune_steps=40")
    for part in ("metrics", "controls"):
        assert found[part]["finetune/accuracy"] > 0.9
    assert found["raw"] is None


def test_stopped_fine_tuning_leaves_the_probes(labeled_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    (labeled_run.path / "evaluate/results.json").unlink(missing_ok=True)
    monkeypatch.setattr(torch.optim.AdamW, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        evaluated(labeled_run, "labels=[]", "raw=false", "finetune=true")
    found = json.loads((labeled_run.path / "evaluate/results.json").read_text())
    assert 0 < found["metrics"]["probe/knn_accuracy"] <= 1


def test_weights_that_are_not_finite(labeled_run: RunFolder, tmp_path: Path) -> None:
    checkpoint = torch.load(labeled_run.last, weights_only=True)
    next(iter(checkpoint["state_dict"].values()))[0] = torch.nan
    torch.save(checkpoint, tmp_path / "diverged.ckpt")
    with pytest.raises(InputError, match=r"weights in .*diverged.ckpt are not finite: their training diverged"):
        evaluated(labeled_run, f"checkpoint={tmp_path}/diverged.ckpt")


@pytest.mark.usefixtures("one_penalty")
def test_both_embeddings_of_a_vit(tmp_path: Path) -> None:
    small = ("backbone.width=12", "backbone.layers=1", "method.decoder_width=8", "method.decoder_layers=1")
    run = train(tmp_path / "run", *TINY[:1], *TINY[4:], "method=mae", *small, "callbacks=minimal", "data.val_size=0.5")
    found = evaluated(run, "labels=[]", "raw=false")
    assert found["pooled_otherwise"]["probe/knn_accuracy"] != found["metrics"]["probe/knn_accuracy"]
    assert found["metrics"].keys() == found["pooled_otherwise"].keys()
    alike = train(tmp_path / "mean", *TINY[:1], *TINY[4:], "method=mae", *small, "callbacks=minimal",
                  "data.val_size=0.5", "backbone.pool=mean")  # fmt: skip
    turned = evaluated(alike, "labels=[]", "raw=false")
    assert turned["metrics"] == found["pooled_otherwise"]


@pytest.mark.parametrize("method", ["causal_lm", "mlm", "nsp"])
def test_text_without_labels_is_judged_by_its_likelihood(method: str, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("".join(f"The {n}th cat sat. The dog ran {n} times.\n\n" for n in range(200)))
    run = train(
        tmp_path / "run", f"method={method}", "data=text_files", f"data.root={tmp_path}", "tokenizer=byte",
        "data.source.files=corpus.txt", "data.source.split_on=blank_line", "data.length=32", "data.batch_size=16",
        f"data.cache={tmp_path}/cache", "trainer=cpu", "trainer.max_steps=4", "trainer.val_check_interval=4",
        "backbone.width=16", "backbone.layers=2", "backbone.heads=2", "schedule.warmup_steps=0", "optimizer.lr=0.01",
    )  # fmt: skip
    in_training = json.loads(run.results.read_text())["metrics"]
    found = evaluated(run)
    assert list(found["metrics"]) == list(found["controls"]) == ["val/perplexity", "val/bits_per_byte"]
    for name, value in found["metrics"].items():
        assert value == pytest.approx(in_training[name], rel=1e-5)
        assert value < found["controls"][name]
    assert (found["raw"], found["painted"], found["pooled_otherwise"]) == (None, {}, None)


UNLABELED = (
    "trainer=cpu", "trainer.max_epochs=null", "trainer.max_steps=2", "data=image_folder", "data.image_size=16",
    "data.source.store_size=16", "data.batch_size=16", "data.val_size=20", "callbacks=minimal",
)  # fmt: skip


def test_images_without_labels_are_judged_by_what_is_painted(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(100):
        image = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    options = (*UNLABELED, f"data.root={tmp_path}/images", f"data.source.cache={tmp_path}/cache")
    found = evaluated(train(tmp_path / "run", "method=autoencoder", *options))
    assert list(found["metrics"]) == list(found["painted"]) == ["test/reconstruction_error"]
    assert next(iter(found["painted"]["test/reconstruction_error"])) == "this run"
    assert (found["raw"], found["controls"]) == (None, {})
    with pytest.raises(InputError, match="an evaluation needs labels and the data of this run has none"):
        evaluated(train(tmp_path / "other", "method=simclr", "transform=simclr_cifar", *options))


def test_the_control_of_a_student_begins_at_random(tmp_path: Path, labeled_run: RunFolder) -> None:
    overrides = ("data=labeled_text", f"data.root={labeled_run.path.parent}", "data.source.files=animals.*")
    overrides += ("data.val_size=0.1", "data.batch_size=16", f"data.cache={labeled_run.path.parent}/cache")
    shutil.copytree(labeled_run.path, tmp_path / "teacher")
    student = write_text_run(tmp_path / "student", "distil_mlm", *overrides, f"method.teacher={tmp_path}/teacher")
    alone = write_text_run(tmp_path / "alone", "distil_mlm", *overrides)
    controls = [evaluated(run, "labels=[]", "raw=false")["controls"] for run in (student, alone)]
    perplexities = [found["val/perplexity"] for found in controls]
    assert perplexities[0] == pytest.approx(perplexities[1], rel=0.02)  # that of a guess; the teacher's is 450


def test_a_probe_needs_no_corpus_and_a_run_no_parent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NSP that began with the weights of an MLM run, and opens when that run and both their corpora are gone."""
    draw = random.Random(0)
    (tmp_path / "corpus").mkdir()
    for number in range(40):
        lines = ["".join(draw.choices("abc ", k=60)) + ". the cat sat." for _ in range(6)]
        (tmp_path / "corpus" / f"{number}.txt").write_text("\n".join(lines))
    for name, own in (("cats", "cat mat sat"), ("dogs", "dog log ran")):
        words = [" ".join(draw.choices([*own.split(), "the", "on", "and"], k=12)) for _ in range(60)]
        (tmp_path / f"animals.{name}").write_text("\n".join(words))
    tiny = (
        *("data=text_files", f"data.root={tmp_path}", "data.source.files=corpus/*.txt", f"data.cache={tmp_path}/cache"),
        *("data.length=24", "data.batch_size=8", "data.val_size=0.2", "tokenizer=bpe", "data.tokenizer.vocab_size=300"),
        *("backbone.layers=2", "backbone.heads=2", "trainer=cpu", "trainer.max_steps=2", "callbacks.pictures=null"),
    )
    first = train(tmp_path / "first", "method=mlm", "backbone.width=16", *tiny)
    probe = (
        "+data.probe._target_=ssl_lightning.data.text.text_files.text_files",
        "+data.probe._partial_=true",
        "+data.probe.files=animals.*",
        "+data.probe.label=class",
    )
    begun = f"backbone.pretrained={first.path}"
    second = train(tmp_path / "second", "method=nsp", "backbone.width=32", begun, *tiny, *probe, "seed=1")
    assert (first.tokenizer / "tokenizer.json").read_text() == (second.tokenizer / "tokenizer.json").read_text()
    assert second.read_results()["controls"] == {}
    shutil.rmtree(first.path)
    shutil.rmtree(tmp_path / "cache")
    anew = ("trainer.max_steps=4", f"data.cache={tmp_path}/cache")
    ended = command("pretrain", f"resume={second.path}", *anew, cwd=tmp_path)
    assert (ended.returncode, second.read_results()["timing"]["steps"]) == (0, 4), ended.stderr
    shutil.rmtree(tmp_path / "corpus")
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    found = evaluated(second)
    assert "perplexity left out: the corpus is not at" in capsys.readouterr().out
    assert {"probe/knn_accuracy", "probe/linear_accuracy"} <= set(found["metrics"])
    assert "probe/linear_accuracy" in found["controls"]
