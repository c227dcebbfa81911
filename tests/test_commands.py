"""What a user types: commands as processes of their own, and what they answer to mistakes."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from PIL import Image
from runs.harness import TINY, assert_same_weights, command, process, train
from runs.warm import Command

import ssl_lightning.cli.command
from ssl_lightning.runs.checkpoints import read_checkpoint


def one_line(result: subprocess.CompletedProcess) -> str:
    """The single line of a refused command, on standard error."""
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.strip().splitlines() if not re.search(r"^\w+ ━", line)]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("name", "argument", "answer"),
    [
        ("pretrain", "method=simclrr", "there is no method 'simclrr'; did you mean simclr?"),
        ("pretrain", "data=cifar", "there is no data 'cifar'; did you mean cifar10?"),
        ("pretrain", "methd=simclr", "there is no 'methd'; did you mean method?"),
        ("pretrain", "data.batchsize=3", "there is no 'data.batchsize'; did you mean data.batch_size?"),
        ("pretrain", "batch_size=3", "there is no 'batch_size'; did you mean data.batch_size?"),
        ("pretrain", "--confg-name=x", "there is no option --confg-name; did you mean --config-name?"),
        ("pretrain", "hydra/launcher=slrm", "there is no hydra/launcher 'slrm'; did you mean slurm?"),
        ("pretrain", "seed=abc", "seed=abc should be a whole number"),
        ("pretrain", "compile=no", "compile=no should be true or false"),
        ("pretrain", "method.out_dim=0", "method.out_dim=0 should be greater than 0"),
        ("pretrain", "hydra.run.dir=/dev/null/run", "/dev/null/run: Not a directory"),
        ("pretrain", "-m", "-m is for several runs: give a key several values, such as -m seed=1,2,3"),
        ("pretrain", "resume=", "resume= is empty: give the folder of a run"),
        ("pretrain", "resume=nowhere", "there is no run at nowhere"),
        ("evaluate", "run=", "run= is empty: give the folder of a run"),
        ("embed", "input=", "input= is empty: give a file or a folder"),
        ("generate", "among=", "among= is empty: give a file or a folder"),
        ("evaluate", "run=nowhere", "there is no run at nowhere"),
        ("evaluate", "protocol=v1", "run is missing: ssl-evaluate run=..."),
        ("evaluate", "rn=/nowhere", "there is no 'rn'; did you mean run?"),
        ("bench", "stps=3", "there is no 'stps'; did you mean steps?"),
        ("export", "run=nowhere", "there is no run at nowhere"),
        ("export", "format=transformers", "run is missing: ssl-export run=..."),
        ("export", "frmat=transformers", "there is no 'frmat'; did you mean format?"),
        ("generate", "run=nowhere", "there is no run at nowhere"),
        ("embed", "run=nowhere", "there is no run at nowhere"),
        ("embed", "format=csv", "run is missing: ssl-embed run=..."),
        ("report", "nowhere", "there is no run at nowhere"),
        ("report", "metrics=[val/loss]", "runs is missing: ssl-report runs=..."),
        ("report", "metrcs=1", "there is no 'metrcs'; did you mean metrics?"),
        ("generate", "temprature=1", "there is no 'temprature'; did you mean temperature?"),
        ("generate", "--mulitrun", "there is no option --mulitrun; did you mean --multirun?"),
    ],
)
def test_a_wrong_word_is_answered_with_the_nearest_right_one(tmp_path, name, argument, answer):
    assert answer in one_line(command(name, argument, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("lacking", "argument", "answer"),
    [
        ("plugin", "seed=1", "hydra/launcher=slurm needs more packages: pip install 'ssl-lightning[slurm]'"),
        ("srun", "seed=1", "there is no srun on this machine"),
        (
            "devices",
            "trainer=ddp",
            "SLURM must be told the number of devices on each node: trainer.devices=8, not auto",
        ),
        ("controller", "seed=1", "SLURM does not take the job: "),
    ],
)
def test_a_sweep_over_slurm_says_what_it_lacks(tmp_path, lacking, argument, answer):
    environment = {"SLURM_CONF": "/nowhere"}
    start = command
    if lacking == "plugin":
        start = process  # a package of that name hides the namespace that plugins are in, but for our own
        (tmp_path / "hydra_plugins").mkdir()
        ours = Path(ssl_lightning.__file__).parent / "plugins" / "hydra_plugins"
        (tmp_path / "hydra_plugins" / "__init__.py").write_text(f"__path__.append({str(ours)!r})")
        environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    if lacking == "srun":
        environment["PATH"] = "/nowhere"
    if lacking == "controller":
        (tmp_path / "bin").mkdir()
        for name in ("srun", "sbatch"):
            (tmp_path / "bin" / name).write_text(
                "#!/bin/sh\necho 'sbatch: error: invalid partition: gpus' >&2; exit 1\n"
            )
            (tmp_path / "bin" / name).chmod(0o755)
        environment["PATH"] = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        answer += "invalid partition: gpus"
    result = start("pretrain", "-m", "hydra/launcher=slurm", argument, cwd=tmp_path, **environment)
    assert answer in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert result.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["data.batch_size=100000"], "data.batch_size=100000 is larger than the set of"),
        (["data.val_size=0.999"], "is larger than the set of 1 samples that data.val_size and data.fraction leave"),
        (
            ["method.hidden_dim=999999999"],
            "there is too little memory: lower data.batch_size",
        ),
        (["trainer.val_check_interval=100000"], "must be less than or equal to the number of the training batches (7)"),
        (["trainer.accumulate_grad_batches=8"], "accumulate_grad_batches=8 is more than the 7 batches of an epoch"),
        (["optimizer.lr=-1"], "the optimizer refuses its settings (Invalid learning rate: -1"),
        (["+method.temprature=1"], "did you mean temperature?"),
        (["method._target_=os.system"], "method._target_=os.system is not from ssl_lightning"),
        (["data=mnist", "data.root=nowhere"], "put train-images-idx3-ubyte.gz"),
        (["data=image_folder", "data.root=nowhere"], "nowhere does not exist"),
        (["data=image_folder", "data.root=empty"], "empty"),
        (["data=image_folder", "data.root=flat", "data.val_size=2"], "set of 8 samples that data.val_size"),
        (
            ["data=image_folder", "data.root=broken", "data.source.on_corrupt=raise", "data.val_size=2"],
            "broken/a/text.png",
        ),
        (
            ["transform=unaugmented"],
            "method SimCLR takes 2 view(s) of an image, and the transform makes 1; transforms that fit: byol_cifar,",
        ),
        (
            ["method=rotation", "transform=jigsaw"],
            "reads inputs, quarters, which Puzzles does not make; transforms that fit: rotation",
        ),
        (["callbacks.probe.protocol=v0"], "callbacks.probe.protocol=v0 should be 'v1'"),
        (["method=moco", "data.batch_size=12"], "method.bn_splits"),
    ],
)
def test_a_wrong_input_gets_one_line(tmp_path, arguments, answer):
    (tmp_path / "empty").mkdir()
    for number in range(12):
        for folder in ("flat", "broken/a", "broken/b"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(tmp_path / folder / f"{number}.png")
    (tmp_path / "broken/a/text.png").write_text("not a picture")
    tiny = [o for o in TINY if o.partition("=")[0] not in {a.partition("=")[0] for a in arguments}]
    if any(a.startswith("data=") for a in arguments):
        tiny = [o for o in tiny if not o.startswith("data.")]
    result = command(
        "pretrain", *tiny, *arguments, "hydra.run.dir=run", cwd=tmp_path, SSL_CACHE=str(tmp_path / "cache")
    )
    assert answer in one_line(result)
    assert not (tmp_path / "run").exists() or "bn_splits" in answer  # which the first step finds


def test_a_corrupt_file_is_named_and_skipped(tmp_path):
    for number in range(24):
        folder = tmp_path / "images" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((12, 10 + number), 80).save(folder / f"{number}.jpg")
    whole = (tmp_path / "images/a/0.jpg").read_bytes()
    (tmp_path / "images/a/0.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "images/b/text.png").write_text("not a picture")
    result = command(
        "pretrain", "data=image_folder", "data.root=images", "data.image_size=16", "data.source.store_size=16",
        "data.batch_size=8", "data.val_size=4", "trainer.max_epochs=1", "backbone.width=8", "hydra.run.dir=run",
        "callbacks.pictures.points=8", cwd=tmp_path, SSL_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    said = result.stdout + result.stderr
    assert "images/a/0.jpg" in said
    assert "images/b/text.png" in said
    assert (tmp_path / "run/results.json").exists()


def test_ctrl_c_stops_after_the_step_and_the_run_goes_on_to_the_same_weights(tmp_path):
    options = [*TINY, "callbacks=minimal", "trainer.max_epochs=5"]
    train(tmp_path / "whole", *options)
    shown = ("hydra.run.dir=stopped", "callbacks.progress.every_n_seconds=0")
    running = Command("pretrain", *options, *shown, cwd=tmp_path)
    while not running.stdout.readline().startswith("step 9/"):
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "resume it with: ssl-pretrain resume=" in said
    assert "Traceback" not in said
    stopped = read_checkpoint(tmp_path / "stopped/checkpoints/last.ckpt")
    assert 9 <= stopped["global_step"] < 35
    time.sleep(0.1)
    result = command("pretrain", "resume=stopped", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert_same_weights(tmp_path / "whole", tmp_path / "stopped")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped", "whole"]


def test_ctrl_c_in_a_terminal_leaves_the_data_workers_to_the_last_step_and_none_behind(tmp_path):
    options = [*TINY, "callbacks=minimal", "callbacks.progress.every_n_seconds=0", "trainer.max_epochs=1000"]
    running = Command("pretrain", *options, "data.num_workers=2", "hydra.run.dir=run", cwd=tmp_path)
    while not running.stdout.readline().startswith("step 9/"):
        assert running.poll() is None
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)  # a terminal tells all processes
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert len(said.splitlines()) == 1, said
    with pytest.raises(ProcessLookupError):
        os.killpg(running.pid, 0)


def test_evaluate_measures_a_run_beside_its_controls(tmp_path):
    options = (
        "callbacks=minimal",
        "data.image_size=10",
        "data.source.copies=2",
        "data.val_size=0.5",
        "trainer.limit_val_batches=1",
        "trainer.max_epochs=6",
    )
    train(tmp_path / "run", *TINY, *options)
    result = process("evaluate", "run=run", "labels=[50]", "draws=2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "run/evaluate/results.json").read_text())
    assert results["protocol"]["name"] == "v1"
    for name in ("probe/knn_accuracy", "probe/linear_accuracy", "probe/linear_accuracy_50"):
        assert results["metrics"][f"{name}_low"] <= results["metrics"][name] <= results["metrics"][f"{name}_high"]
    assert results["metrics"]["probe/knn_accuracy"] > results["controls"]["probe/knn_accuracy"]
    assert 0 < results["raw"]["probe/knn_accuracy"] < 1
    assert (tmp_path / "run/evaluate/figures/evaluation.png").stat().st_size > 1000
    assert "there is no checkpoint" in one_line(command("evaluate", "run=run", "checkpoint=nowhere.ckpt", cwd=tmp_path))


def test_bench_measures_compute_data_and_both(tmp_path):
    result = command("bench", *TINY, "steps=2", "warmup=1", "hydra.run.dir=bench", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    measured = json.loads((tmp_path / "bench/bench.json").read_text())
    assert set(measured["samples_per_second"]) == {"compute", "data", "end_to_end"}
    assert all(rate > 0 for rate in measured["samples_per_second"].values())
    assert all(peak > 2**20 for peak in measured["peak_memory_bytes"].values())
    assert "is larger than the set" in one_line(command("bench", *TINY, "data.batch_size=20000", cwd=tmp_path))
    two = ("trainer=ddp", "trainer.devices=2", *TINY[1:])
    assert "one device is measured, give trainer.devices=1" in one_line(command("bench", *two, cwd=tmp_path))


def test_a_run_on_text_generates_and_is_exported_without_its_corpus(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"The {n}th cat sat on the mat, and the dog ran {n} times.\n\n" for n in range(300)))
    options = (
        "method=causal_lm", "data=text_files", "data.root=.", "data.source.files=corpus.txt", "tokenizer=byte",
        "data.length=32", "data.batch_size=8", "trainer=cpu", "trainer.max_steps=3", "backbone.width=16",
        "backbone.layers=2", "backbone.heads=2", "schedule.warmup_steps=0", "hydra.run.dir=run",
    )  # fmt: skip
    done = command("pretrain", *options, cwd=tmp_path, SSL_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "cache")
    corpus.unlink()
    text = "To be, or [not] ${to} be's"
    done = command("generate", "run=run", f"text={text}", "max_new_tokens=40", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (written,) = (tmp_path / "run/generate").iterdir()
    content = json.loads(written.read_text())
    assert content["text"] == text
    assert len(content["tokens"]) == 40
    assert done.stdout == f"{text}{content['continuation']}\n"
    done = command("export", "run=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files = {path.name for path in (tmp_path / "run/export").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files


def test_what_makes_no_text_says_which_runs_do(tmp_path):
    (tmp_path / "run/.hydra").mkdir(parents=True)
    (tmp_path / "run/.hydra/config.yaml").write_text(command("pretrain", "--cfg", "job", cwd=tmp_path).stdout)
    able = "methods that can: causal_lm, denoising_lm, distil_mlm, mlm, nsp"
    assert able in one_line(command("generate", "run=run", "text=a, b", cwd=tmp_path))
