"""A whole suite on a tiny run, and the encoders of others under the same protocol."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands.test_evaluate import evaluated
from commands.test_export import run_export
from commands.test_export_encoder import TINY
from hydra.errors import InstantiationException
from PIL import Image
from runs.harness import run_here, train
from safetensors.torch import load_file, save_file

from ssl_lightning.errors import InputError, mistake_behind
from ssl_lightning.runs.folder import RunFolder, output_folder

pytestmark = pytest.mark.usefixtures("one_penalty")

QUICK = ("labels=[]", "raw=false", "draws=2")
DIGITS = ("data=digits", "data.source.copies=1", "data.val_size=1200", "data.batch_size=16")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    small = ("backbone.width=8", "backbone.stages=2", "trainer.max_steps=60")
    return train(tmp_path_factory.mktemp("suite") / "run", *TINY, "method=simclr", *small)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    small = ("backbone.width=12", "backbone.layers=2", "method.decoder_width=8", "method.decoder_layers=1")
    return train(tmp_path_factory.mktemp("vit") / "run", *TINY, "method=mae", *small)


def of_encoder(encoder: str, out: Path, *overrides: str) -> dict[str, Any]:
    """`results.json` of `ssl-evaluate encoder=...` in this process."""
    run_here("evaluate", out, f"encoder={encoder}", *QUICK, *overrides)
    return json.loads((out / "results.json").read_text())


def test_every_figure_stands_beside_its_control(run: RunFolder) -> None:
    found = evaluated(run, "suite=v1", *QUICK, "finetune_steps=20")
    metrics, controls = found["metrics"], found["controls"]
    assert metrics.keys() == controls.keys()
    families = {name.rpartition("_low")[0] for name in metrics if name.endswith("_low")}
    few = {
        f"probe/{probe}_accuracy_{n}" for probe in ("knn", "linear") for n in ("10_percent", "1_a_class", "10_a_class")
    }
    kinds = {f"robustness/{kind}_accuracy" for kind in ("clean", "noise_1", "noise_5", "noise", "blur_3", "contrast")}
    others = {"probe/knn_200_accuracy", "cluster/nmi", "cluster/accuracy", "retrieval/map", "retrieval/recall_10"}
    assert few | kinds | others | {"finetune/accuracy", "layers/1_accuracy", "layers/2_accuracy"} <= families
    assert {"probe/effective_rank", "probe/uniformity", "probe/alignment"} <= metrics.keys()
    for name in families:
        assert 0 <= metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"] <= 1
    assert metrics["probe/linear_accuracy_1_a_class"] < metrics["probe/linear_accuracy_10_percent"]
    assert metrics["probe/linear_accuracy_10_percent"] < metrics["probe/linear_accuracy"]
    assert metrics["robustness/noise_5_accuracy"] < metrics["robustness/noise_1_accuracy"]
    assert metrics["retrieval/recall_1"] < metrics["retrieval/recall_5"] < metrics["retrieval/recall_10"]
    assert metrics["layers/2_accuracy"] == pytest.approx(
        metrics["probe/linear_accuracy"], abs=0.004
    )  # the last, pooled
    protocol = found["protocol"]
    assert protocol["suite"] == {"name": "v1", "hash": "08d406f38154"}
    assert protocol["data"].keys() == {"probe_train", "test"}
    kept = run.path / "evaluate"
    rows = (kept / "predictions.csv").read_text().splitlines()[1:]
    right = np.mean([label == guess for _, label, guess in (row.split(",") for row in rows)])
    assert right == pytest.approx(metrics["finetune/accuracy"])
    assert any(key.endswith("weight") for key in load_file(kept / "finetuned.safetensors"))
    assert all((kept / "figures" / f"{name}.png").stat().st_size > 1000 for name in ("evaluation", "confusion"))


def test_a_linear_probe_by_sgd_on_augmented_samples(run: RunFolder, vit: RunFolder) -> None:
    found = evaluated(run, *QUICK, "sgd_probe=true", "finetune_steps=60")
    linear = found["metrics"]["probe/linear_accuracy"]
    assert linear - 0.25 < found["metrics"]["probe/sgd_accuracy"] < linear + 0.05
    assert found["controls"]["probe/sgd_accuracy_low"] <= found["controls"]["probe/sgd_accuracy"]
    small = ("backbone.width=4", "backbone.hidden_dim=16", "backbone.depth=1", "data.batch_size=4", "data.val_size=8")
    clips = train(run.path.parent / "clips", "method=next_frame", *TINY[:5], *small)
    with pytest.raises(InputError, match="sgd_probe=true is for images with labels of which some are held out"):
        evaluated(clips, *QUICK, "sgd_probe=true")


def test_an_exported_encoder_is_what_the_run_was(run: RunFolder, vit: RunFolder, tmp_path: Path) -> None:
    for trained, made, named in ((run, "safetensors", ""), (vit, "timm", "transformers:")):
        expected = evaluated(trained, *QUICK)
        found = of_encoder(f"{named}{run_export(trained, f'format={made}')}", tmp_path, *DIGITS)
        assert found["protocol"]["data"] == expected["protocol"]["data"]
        for name in ("probe/knn_accuracy", "probe/linear_accuracy"):
            assert found["metrics"][name] == pytest.approx(expected["metrics"][name], abs=0.004)  # one of 297
            assert found["metrics"][name] != found["controls"][name]


def test_networks_of_libraries_without_weights(tmp_path: Path) -> None:
    for encoder in ("timm:test_resnet", "torchvision:resnet18"):
        found = of_encoder(encoder, tmp_path, "pretrained=false", *DIGITS)
        assert found["metrics"] == found["controls"]
        assert found["metrics"]["probe/linear_accuracy"] > 0.2  # twice chance


def test_other_data_is_seen_as_the_run_sees_its_own(run: RunFolder, tmp_path: Path) -> None:
    for split, name in ((split, name) for split in ("train", "test") for name in ("bright", "dark")):
        folder = tmp_path / "images" / split / name
        folder.mkdir(parents=True)
        draw = np.random.default_rng(0)
        for number in range(30):
            pixels = draw.integers(0, 128, (20, 20, 3)) + 127 * (name == "bright")
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    place = (f"data.root={tmp_path}/images", f"data.source.cache={tmp_path}/cache", "data.batch_size=8")
    found = evaluated(run, "data=image_folder", *place, *QUICK)
    assert found["metrics"]["probe/linear_accuracy"] == 1
    with pytest.raises(
        InputError, match="data=moving_digits is a VideoDataModule, but the run reads a ImageDataModule"
    ):
        evaluated(run, "data=moving_digits")


def test_mistakes_are_one_line(run: RunFolder, tmp_path: Path) -> None:
    for encoder, overrides, answer in (
        ("timm:resnet18", (), "encoder=timm:resnet18 needs data: data=digits"),
        ("timm:resnet18000", DIGITS, "backbone.name=resnet18000 is not a timm model; near it"),
        ("nothing", DIGITS, "encoder=nothing is no file; give one that ssl-export wrote, or timm:NAME"),
        (f"transformers:{tmp_path}/nothing", DIGITS, "transformers cannot open .*there is no such folder"),
        ("timm:resnet18", (f"run={run.path}", *DIGITS), "run= and encoder= are both given"),
    ):
        with pytest.raises((InputError, InstantiationException)) as refused:
            of_encoder(encoder, tmp_path, *overrides)
        assert re.search(answer, str(mistake_behind(refused.value)))


TARGET = '"_target_": "ssl_lightning.modules.backbones.image.ConvNet"'
NOT_BUILT = {
    "the shell": '{"_target_": "os.system"}',
    "a secret of the environment": '{"_target_": "${oc.env:HOME}"}',
    "an interpolation spelled otherwise": f'{{{TARGET}, "width": "\\u0024{{oc.create:{{_target_:os.system}}}}"}}',
    "what writes": '{"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": "outside"}',
    "a method": '{"_target_": "ssl_lightning.methods.simclr.SimCLR"}',
    "an argument that it does not take": f'{{{TARGET}, "depth": 3}}',
    "weights of another network": f'{{{TARGET}, "in_channels": 1, "width": 8, "stages": 1}}',
    "no JSON": "no JSON",
    "a list": "[1]",
    "levels without end": "[" * 10**5,
}
"""Configs of a network in a file that a stranger sent."""


@pytest.mark.parametrize("name", NOT_BUILT)
def test_a_stranger_s_file_builds_nothing_of_its_own(name: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"x": torch.zeros(1)}, file, {"ssl_lightning.backbone": NOT_BUILT[name]})
    told = "is not run|was not written by ssl-export|is not an argument of|holds no encoder that can be built"
    with pytest.raises(InputError, match=told):
        of_encoder(str(file), tmp_path, *DIGITS)


SMALL = {"model_type": "vit", "num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 1, "patch_size": 14}
MODELS = {
    "another size": (SMALL | {"image_size": 56, "num_channels": 1}, r"does not take inputs of \(1, 28, 28\)"),
    "texts": ({"model_type": "bert", "num_hidden_layers": 1, "vocab_size": 9}, "reads input_ids, not images"),
    "a width that is none": (SMALL | {"hidden_size": "x"}, "transformers cannot open"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_transformers_that_cannot_be_judged(name: str, tmp_path: Path) -> None:
    config, line = MODELS[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=line):
        of_encoder(f"transformers:{tmp_path}", tmp_path / "out", "pretrained=false", *DIGITS)


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL | {"image_size": 28, "num_channels": 1}))
    torch.save({"x": Path("x")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="its weights hold more than tensors"):
        of_encoder(f"transformers:{tmp_path}", tmp_path / "out", *DIGITS)


def test_code_beside_a_stranger_s_model_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # to the question whether it may
    code = {"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.Evil"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": code}))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match="transformers cannot open"):
        of_encoder(f"transformers:{tmp_path}", tmp_path / "out", *DIGITS)
    assert not (tmp_path / "ran").exists()


def test_where_an_evaluation_writes() -> None:
    assert output_folder("evaluate", "RUN", None, None) == "RUN/evaluate"
    assert output_folder("evaluate", "RUN", None, "mnist") == "RUN/evaluate_mnist"
    assert output_folder("evaluate", None, "timm:vit/x", "mnist") == "outputs/evaluate_timm_vit_x_mnist"
