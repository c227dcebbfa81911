"""A folder from a stranger: nothing in it runs, nothing outside it is read or written; each is refused in one line."""

import io
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from runs.harness import TINY, command, train

from ssl_lightning.cli.arguments import with_run_folder
from ssl_lightning.config.build import build_data, build_method, load_config
from ssl_lightning.data.folder import list_files
from ssl_lightning.data.text.tokenizers import load
from ssl_lightning.errors import InputError, mistake_behind
from ssl_lightning.launch.sweep_folder import resumed_arguments
from ssl_lightning.runs.checkpoints import newest_checkpoint
from ssl_lightning.runs.description import title
from ssl_lightning.runs.folder import RunFolder, find_run

MARKER = "ran"


class Evil:
    """Touches the marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("honest") / "run", *TINY, "callbacks=minimal", "trainer.max_epochs=1").path


@pytest.fixture
def run(honest: Path, tmp_path: Path) -> Path:
    """A copy of an honest run; `outside` beside it holds a file whose unpickling touches the marker."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "evil.pt").write_bytes(pickle.dumps(Evil(tmp_path / MARKER)))
    return Path(shutil.copytree(honest, tmp_path / "run"))


def open_run(folder: Path) -> None:
    """What every command does with a run, up to its weights."""
    run = find_run(folder)
    title(run, 0)
    config = load_config(run.config)
    data = build_data(config)
    method = build_method(config, data)
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None
    checkpoint.load_into(method)


def refused(act: Callable[[], Any], folder: Path, words: str) -> None:
    marker, before = folder.parent / MARKER, sorted((folder.parent / "outside").rglob("*"))
    with pytest.raises((InputError, InstantiationException)) as caught:
        act()
    line = str(mistake_behind(caught.value))
    assert re.search(words, line)
    assert "\n" not in line
    assert not marker.exists()
    assert sorted((folder.parent / "outside").rglob("*")) == before


def test_the_honest_run_is_opened(run: Path) -> None:
    open_run(run)


LOAD = "{_target_: torch.load, f: outside/evil.pt, weights_only: false}"
CONFIGS = {
    "a resolver with an interpolated name": ({"r": "create", "x": f"${{oc.${{r}}:{LOAD}}}"}, "calls a resolver"),
    "a resolver that is an interpolation": ({"r": "oc.create", "x": f"${{${{r}}:{LOAD}}}"}, "calls a resolver"),
    "a resolver that makes nodes": ({"x": f"${{oc.create:{LOAD}}}"}, "calls a resolver"),
    "a resolver that parses": ({"x": "${oc.decode:'{_target_: os.system}'}"}, "calls a resolver"),
    "a secret of the environment": ({"x": "${oc.env:HOME}"}, "calls a resolver"),
    "a secret as the default": ({"x": "${oc.env:SSL_DATA,${oc.env:HOME}}"}, "calls a resolver"),
    "Hydra's own values": ({"x": "${hydra:runtime.cwd}"}, "calls a resolver"),
    "a folder of its choice": ({"x": "${run_folder:/tmp}"}, "calls a resolver"),
    "a text put together": ({"a": "_target", "x": "${a}_"}, "calls a resolver"),
    "an escaped interpolation": ({"x": "\\${oc.env:HOME}"}, "calls a resolver"),
    "an interpolation to nowhere": ({"x": "${y}"}, "leads nowhere"),
    "an interpolation to itself": ({"x": "${x}"}, "leads nowhere"),
    "a circle": ({"x": {"y": "${z}"}, "z": {"y": "${x}"}}, "leads nowhere|more than"),
    "interpolations that double": (
        {"a0": ["x"] * 9, **{f"a{i}": [f"${{a{i - 1}}}"] * 9 for i in range(1, 12)}},
        "more than",
    ),
    "another library's function": ({"x": {"_target_": "torch.load", "f": "outside/evil.pt"}}, "is not run"),
    "the shell": ({"x": {"_target_": "os.system", "command": f"touch {MARKER}"}}, "is not run"),
    "a module that ours imports": (
        {"x": {"_target_": "ssl_lightning.runs.provenance.subprocess.run", "args": "true"}},
        "is not run",
    ),
    "a function of ours that writes": (
        {"x": {"_target_": "ssl_lightning.runs.folder.write_atomically", "path": "outside/x", "text": "x"}},
        "is none of the parts",
    ),
    "a function of ours that deletes": (
        {"x": {"_target_": "ssl_lightning.runs.checkpoints.AtomicCheckpointIO.remove_checkpoint", "path": "outside"}},
        "is none of the parts",
    ),
    "a command of ours": ({"x": {"_target_": "ssl_lightning.commands.pretrain.pretrain"}}, "is none of the parts"),
    "a target in a list": ({"x": [[{"_target_": "builtins.eval", "_args_": ["1"]}]]}, "is not run"),
    "a target by interpolation": ({"t": "os.system", "x": {"_target_": "${t}"}}, "is not run"),
    "what hangs on a trusted target": ({"x": {"_target_": "torch.optim.AdamW.__init__.__globals__"}}, "is not run"),
    "Hydra's section": ({"hydra": {"callbacks": {"x": {"_target_": "os.system"}}}}, "sets hydra or defaults"),
    "a list of defaults": ({"defaults": ["/outside/evil"]}, "sets hydra or defaults"),
    "a checkpoint for timm": (
        {
            "backbone": {
                "_target_": "ssl_lightning.modules.backbones.image.timm_model",
                "name": "resnet18",
                "checkpoint_path": "outside/evil.pt",
            }
        },
        "backbone.checkpoint_path is not taken",
    ),
    "an argument that nothing takes": ({"backbone": {"depth": 1}}, "backbone.depth is not an argument of"),
    "an argument of another type": ({"data": {"batch_size": "x"}}, "data.batch_size=x should be"),
    "a seed that is none": ({"seed": "x"}, "seed=x should be"),
    "a part that is none": ({"optimizer": 1}, "optimizer=1 should be settings"),
    "a part that is built too early": ({"optimizer": {"_partial_": False}}, "optimizer._partial_=False should be"),
    "pickled tables": (
        {
            "data": {
                "source": {
                    "_target_": "ssl_lightning.data.text.hf_text.hf_text",
                    "path": "pandas",
                    "root": ".",
                    "data_files": "outside/evil.pt",
                }
            }
        },
        "names no set",
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config(name: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, words = CONFIGS[name]
    monkeypatch.chdir(run.parent)
    stored = OmegaConf.load(run / ".hydra" / "config.yaml")
    OmegaConf.set_struct(stored, False)
    for key, value in changes.items():
        part = isinstance(value, dict) and key in stored and "_target_" not in value
        whole = {**stored[key], **value} if part else value
        OmegaConf.update(stored, key, OmegaConf.create(whole) if isinstance(whole, dict | list) else whole, merge=False)
    (run / ".hydra" / "config.yaml").write_text(OmegaConf.to_yaml(stored))
    refused(lambda: open_run(run), run, words)


FILES = {
    "aliases that double": ("a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(9)), "aliases"),
    "an object of Python": (f"x: !!python/object/apply:os.system ['touch {MARKER}']", "aliases, tags"),
    "levels without end": ("x: " + "[" * 5000 + "]" * 5000, "levels|cannot be read"),
    "a file without end": ("x: " + "a" * 2**21, "at most 1024 kB"),
    "a directive for Hydra": ("# @package hydra\nx: 1", "a directive for Hydra"),
    "a list": ("[1, 2]", "is not the config"),
    "a text": ("nothing", "is not the config|cannot be read"),
    "nothing": ("", "is not the config|_target_|missing|lacks"),
    "no YAML": ("a: [1", "cannot be read as YAML"),
    "a key twice": ("a: 1\na: 2", "cannot be read as YAML"),
    "no UTF-8": ("\udcff\udcfe", "cannot be read as YAML"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file(name: str, run: Path) -> None:
    text, words = FILES[name]
    (run / ".hydra" / "config.yaml").write_bytes(text.encode(errors="surrogateescape"))
    refused(lambda: load_config(find_run(run).config), run, words)


@pytest.mark.parametrize("name", ["hydra.yaml", "config.yaml"])
def test_a_file_that_is_read_besides(name: str, run: Path) -> None:
    (run / ".hydra" / name).write_text(FILES["aliases that double"][0])
    refused(lambda: open_run(run), run, "aliases")


def legacy(marker: Path) -> bytes:
    return pickle.dumps(Evil(marker))


def zipped(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": Evil(marker)}, buffer)
    return buffer.getvalue()


def bomb(marker: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", pickle.dumps({}))
        file.writestr("archive/data/0", bytes(2**26))
    return buffer.getvalue()


def script(marker: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/constants.pkl", pickle.dumps(Evil(marker)))
        file.writestr("archive/data.pkl", pickle.dumps(Evil(marker)))
        file.writestr("archive/code/__torch__.py", "raise SystemExit")
    return buffer.getvalue()


def slip(marker: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("../outside/written", b"x")
        file.writestr("../outside/data.pkl", pickle.dumps(Evil(marker)))
    return buffer.getvalue()


@pytest.mark.parametrize("make", [legacy, zipped, bomb, script, slip])
def test_a_checkpoint(make: Callable[[Path], bytes], run: Path) -> None:
    for name in ("last", "previous", "best"):
        (run / "checkpoints" / f"{name}.ckpt").write_bytes(make(run.parent / MARKER))
    refused(lambda: open_run(run), run, "damaged|holds more than tensors")


@pytest.mark.parametrize(
    "place", ["checkpoints", "figures", "evaluate", "tokenizer", "pretrain.log", "metrics.csv", ".hydra/config.yaml"]
)
def test_a_link_that_leads_out(place: str, run: Path) -> None:
    link, outside = run / place, run.parent / "outside" / "target"
    if link.is_dir():
        shutil.move(link, outside)
    elif link.exists():
        shutil.copy(link, outside)
        link.unlink()
    link.symlink_to(outside)
    refused(lambda: find_run(run), run, "leads out of the run's folder")


def test_a_pipe_that_never_ends(run: Path) -> None:
    os.mkfifo(run / "metrics.csv.new")
    refused(lambda: find_run(run), run, "neither a file nor a folder")


def test_a_link_within_is_none_of_it(run: Path) -> None:
    (run / "checkpoints" / "mine.ckpt").symlink_to("last.ckpt")
    assert find_run(run) == RunFolder(run)


def test_a_name_that_hydra_would_resolve(run: Path) -> None:
    renamed = run.rename(run.with_name("${z} [x]"))
    refused(lambda: find_run(renamed), renamed, "which Hydra takes for an interpolation; rename it")


def test_a_tokenizer_with_code(run: Path) -> None:
    folder = run / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.Evil", null]}}')
    (folder / "evil.py").write_text(f"open({str(run.parent / MARKER)!r}, 'w')\nclass Evil: pass\n")
    refused(lambda: load(folder), run, "tokenizer")


OVERRIDES = {
    "an experiment from elsewhere": "+experiment@_global_=../../../outside/evil",
    "a choice as a callback of Hydra": "+data@_global_.hydra.callbacks.x=evil",
    "a choice out of its group": "data=../../outside/evil",
    "a choice by its whole path": "experiment=/outside/evil",
    "parameters of the sweeper": "+hydra.sweeper.params={experiment:../outside/evil}",
    "one parameter of the sweeper": "+hydra.sweeper.params.experiment=../outside/evil",
    "a search path": "hydra.searchpath=[file:///outside]",
    "a callback": "+hydra.callbacks.x._target_=os.system",
    "a command for the cluster": "hydra.launcher.setup=['touch ran']",
    "a target": "+x={_target_: os.system}",
    "a target put together": "+x={${k}get_: os.system}",
    "a resolver": "+x=${oc.env:HOME}",
    "a package to trust": "+trust=evil",
    "where the cluster writes": "+hydra.launcher.additional_parameters.output=.bashrc",
    "a target of the launcher": "+hydra.launcher.x._target_=pandas.read_pickle",
    "a run to resume": "resume=run",
    "a cache": "data.cache=outside",
    "pickles of submitit": "hydra.launcher.submitit_folder=outside",
    "a logger that writes elsewhere": "logger.tensorboard.folder=/outside",
    "another's runs of W&B": "logger.wandb.entity=stranger",
    "an option": "--config-dir=/outside",
    "an option by its short name": "-cd=/outside",
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_a_sweep(name: str, run: Path) -> None:
    sweep = run.parent / "sweep"
    sweep.mkdir()
    hydra = {"job": {"config_name": "pretrain"}, "overrides": {"hydra": [], "task": ["seed=1,2", OVERRIDES[name]]}}
    OmegaConf.save(OmegaConf.create({"hydra": hydra}), sweep / "multirun.yaml")
    refused(lambda: resumed_arguments(str(sweep), []), sweep, "is not taken from a folder")


def test_a_pickled_result_for_the_next_job_of_a_sweep(run: Path) -> None:
    sweep = run.parent / "sweep"
    (sweep / ".submitit" / "77").mkdir(parents=True)
    (sweep / "multirun.yaml").write_text("hydra: {job: {config_name: pretrain}, overrides: {hydra: [], task: []}}")
    (sweep / ".submitit" / "77" / "77_0_result.pkl").write_bytes(legacy(run.parent / MARKER))
    resumed_arguments(str(sweep), [])
    assert not list(sweep.rglob("*.pkl"))


def test_a_sweep_whose_log_leads_out(run: Path) -> None:
    sweep = run.parent / "sweep"
    (sweep / "0").mkdir(parents=True)
    (sweep / "multirun.yaml").write_text("hydra: {job: {config_name: pretrain}, overrides: {hydra: [], task: []}}")
    (sweep / "0" / "output.log").symlink_to(run.parent / "outside" / "log")
    refused(lambda: resumed_arguments(str(sweep), []), sweep, "leads out")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("evaluate", ["run=run"]),
        ("pretrain", ["resume=run"]),
        ("generate", ["run=run", "text=x"]),
        ("export", ["run=run"]),
    ],
)
def test_the_commands_themselves(name: str, arguments: list[str], run: Path) -> None:
    config = run / ".hydra" / "config.yaml"
    config.write_text(f"r: create\nx: '${{oc.${{r}}:{LOAD}}}'\n" + config.read_text())
    before = config.read_bytes()
    ended = command(name, *arguments, cwd=run.parent)
    assert ended.returncode == 2
    assert [line for line in ended.stderr.splitlines() if "calls a resolver" in line] == ended.stderr.splitlines()
    assert not (run.parent / MARKER).exists()
    assert config.read_bytes() == before


HOW = {
    "arguments without names": ("backbone._args_", [1], "is not an argument of"),
    "parts that are not built": ("data._recursive_", False, "is not an argument of"),
    "a conversion that there is not": ("transform._convert_", "x", "should be 'none', 'partial', 'object' or 'all'"),
    "a view that is not built": ("transform.views.first._partial_", True, "should be left out"),
}


@pytest.mark.parametrize("name", HOW)
def test_how_a_part_is_built(name: str, run: Path) -> None:
    key, value, words = HOW[name]
    config = OmegaConf.load(run / ".hydra" / "config.yaml")
    OmegaConf.update(config, key, value, force_add=True)
    OmegaConf.save(config, run / ".hydra" / "config.yaml")
    refused(lambda: open_run(run), run, words)


@pytest.mark.parametrize(("name", "arguments"), [("evaluate", ["run=run"]), ("pretrain", ["resume=run"])])
def test_a_folder_to_download_to(name: str, arguments: list[str], run: Path) -> None:
    config = OmegaConf.load(run / ".hydra" / "config.yaml")
    config.data.root = str(run.parent / "outside")
    target = "ssl_lightning.data.image.torchvision_sets.torchvision_images"
    config.data.source = {"_target_": target, "_partial_": True, "name": "mnist"}
    OmegaConf.save(config, run / ".hydra" / "config.yaml")
    ended = command(name, *arguments, *(["trainer.max_epochs=2"] if name == "pretrain" else []), cwd=run.parent)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "not where to download it: give data.root= yourself" in line
    assert [path.name for path in (run.parent / "outside").iterdir()] == ["evil.pt"]


def test_a_logger_that_writes_elsewhere(run: Path) -> None:
    config = OmegaConf.load(run / ".hydra" / "config.yaml")
    target = "ssl_lightning.loggers.tensorboard.TensorBoardLogger"
    config.logger = {"tensorboard": {"_target_": target, "folder": str(run.parent / "outside")}}
    OmegaConf.save(config, run / ".hydra" / "config.yaml")
    refused(lambda: with_run_folder([f"resume={run}"]), run, "out of the run's folder")


NETWORKS = {
    "a target": ("schedule: {_target_: torch.load, f: outside/evil.pt, weights_only: false}", "no run begins"),
    "another target in its place": (f"backbone.pretrained: {LOAD}", "is not run"),
    "a resolver": (f"backbone.pretrained: '${{oc.create:{LOAD}}}'", "calls a resolver"),
    "a secret": ("method.temperature: '${oc.env:HOME}'", "calls a resolver"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_beside_a_config(name: str, run: Path) -> None:
    text, words = NETWORKS[name]
    (run / ".hydra" / "networks.yaml").write_text(text)
    refused(lambda: open_run(run), run, words)
    ended = command("pretrain", "resume=run", "trainer.max_epochs=2", cwd=run.parent)
    assert ended.returncode == 2
    assert re.search(words, ended.stderr)
    assert not (run.parent / MARKER).exists()


def test_choices_beside_a_resumed_config(run: Path) -> None:
    (run / ".hydra" / "logger").mkdir()
    (run / ".hydra" / "logger" / "tensorboard.yaml").write_text(
        f"# @package _global_\nhydra: {{callbacks: {{x: {LOAD}}}}}"
    )
    refused(lambda: with_run_folder([f"resume={run}", "logger=tensorboard"]), run, "Hydra would take choices")


WRITERS = {
    "a logger in a transform": ("transform.x", "ssl_lightning.loggers.wandb.WandbLogger", "folder", "outside"),
    "a logger among callbacks": ("callbacks.x", "ssl_lightning.loggers.wandb.WandbLogger", "folder", "outside"),
    "a profiler of elsewhere": ("trainer.profiler", "lightning.pytorch.profilers.SimpleProfiler", "dirpath", "outside"),
    "a logger's folder": ("logger.csv", "lightning.pytorch.loggers.CSVLogger", "save_dir", "outside"),
    "a logger's name": ("logger.csv", "lightning.pytorch.loggers.CSVLogger", "name", "../outside"),
    "another's runs of W&B": ("logger.wandb", "ssl_lightning.loggers.wandb.WandbLogger", "entity", "stranger"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_writes_elsewhere(name: str, run: Path) -> None:
    key, target, argument, value = WRITERS[name]
    config = OmegaConf.load(run / ".hydra" / "config.yaml")
    if key.startswith("logger"):
        config.logger = {}
    OmegaConf.update(config, key, {"_target_": target, argument: value}, force_add=True)
    OmegaConf.save(config, run / ".hydra" / "config.yaml")
    refused(lambda: with_run_folder([f"resume={run}"]), run, "out of its place|out of the run's folder")
    if not key.startswith(("logger", "trainer")):
        refused(lambda: open_run(run), run, "out of its place")


def test_a_cache_of_elsewhere(run: Path) -> None:
    config = OmegaConf.load(run / ".hydra" / "config.yaml")
    source = {"_target_": "ssl_lightning.data.image.image_folder.image_folder", "_partial_": True}
    config.data.source = {**source, "cache": str(run.parent / "outside")}
    OmegaConf.save(config, run / ".hydra" / "config.yaml")
    refused(lambda: with_run_folder([f"resume={run}"]), run, "out of the run's folder")
    assert load_config(run / ".hydra" / "config.yaml").data.source.cache is None


def test_a_run_folder_called_wandb_is_looked_at(run: Path) -> None:
    renamed = run.rename(run.with_name("wandb"))
    (renamed / "evaluate").symlink_to(run.parent / "outside")
    refused(lambda: find_run(renamed), renamed, "leads out of the run's folder")


@pytest.mark.parametrize("place", ["wandb", ".wandb", "x/wandb"])
def test_settings_of_wandb_where_the_user_may_stand(place: str, run: Path) -> None:
    (run / place).mkdir(parents=True)
    (run / place / "settings").write_text("[default]\nbase_url = http://localhost:1\n")
    refused(lambda: find_run(run), run, "tells W&B to whom to send runs")


def test_a_device_among_pictures(run: Path) -> None:
    os.mkfifo(run.parent / "outside" / "picture.png")
    refused(lambda: list_files(run.parent / "outside", {".png"}, "image"), run, "may never end")


STORED = {
    "choices that are none": ("hydra: {runtime: {choices: [x]}, overrides: {task: []}}", "does not tell of what"),
    "no section of Hydra": ("x: 1", "does not tell of what"),
    "overrides that are none": ("hydra: {runtime: {choices: {}}, overrides: {task: null}}", "does not tell of what"),
}


@pytest.mark.parametrize("name", STORED)
def test_a_description_that_is_none(name: str, run: Path) -> None:
    text, words = STORED[name]
    (run / ".hydra" / "hydra.yaml").write_text(text)
    refused(lambda: open_run(run), run, words)


@pytest.mark.parametrize("text", ["x: 1", "hydra: {overrides: {task: 3}}", "hydra: {overrides: {task: ['a=[']}}"])
def test_a_sweep_around_a_run_that_is_none(text: str, run: Path) -> None:
    (run.parent / "multirun.yaml").write_text(text)
    refused(lambda: open_run(run), run, "is not the config of a sweep")


@pytest.mark.parametrize(
    "text", ["[" * 10**5, '{"metrics": []}', '{"provenance": 3, "status": "finished"}', '{"metrics": {"x": "1"}}']
)
def test_results_that_are_none(text: str, run: Path) -> None:
    (run / "results.json").write_text(text)
    found = find_run(run).read_results()
    assert not found.get("metrics")
    assert found.get("status") != "finished"


def test_a_secret_of_the_environment_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a config calls while it is composed is stored as its result; where the data lies stays open."""
    monkeypatch.setenv("SIZE", "60")
    run = train(
        tmp_path / "run",
        *TINY,
        "callbacks=minimal",
        "trainer.max_epochs=1",
        r"data.val_size='${oc.decode:${oc.env:SIZE}}'",
    )
    stored = OmegaConf.to_container(OmegaConf.load(run.config), resolve=False)
    assert stored["data"]["val_size"] == 60
    assert stored["data"]["root"] == "${oc.env:SSL_DATA,data}"
