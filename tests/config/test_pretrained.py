"""`backbone.pretrained=RUN` and `method.teacher=RUN`: the language model of a run, with all checks of a run."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from composition import task
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ssl_lightning.config.build import build_backbone, build_method, store_networks, with_own_networks
from ssl_lightning.config.choices import load_choice
from ssl_lightning.config.validate import validate_config
from ssl_lightning.errors import InputError
from ssl_lightning.modules.backbones.language_model import LanguageModel
from ssl_lightning.modules.backbones.text import language_model

V = 40
METHOD = {"_target_": "ssl_lightning.methods.mlm.BERT"}
TARGET = "ssl_lightning.modules.backbones.text.language_model"
PARTS = {"transform": "next_token", "optimizer": "adamw", "schedule": "constant"}
SIZES: dict[str, Any] = {"max_length": 24, "width": 16, "layers": 2, "heads": 2}


def make(architecture: str = "bert") -> LanguageModel:
    torch.manual_seed(0)
    return language_model(architecture, V, 0, **SIZES)


def windows() -> Tensor:
    return torch.randint(5, V, (3, 20), generator=torch.Generator().manual_seed(0))


def write_run(folder: Path, model: LanguageModel, **backbone: Any) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    own = {"_target_": TARGET, "architecture": "bert", "vocab_size": None, "pad_id": None, "pretrained": None}
    own |= {**SIZES, "max_length": "${data.length}"}
    parts = {key: load_choice(key, name) for key, name in PARTS.items()}
    parts["data"] = {"_target_": "ssl_lightning.data.text.datamodule.TextDataModule", "length": 24}
    whole = {**parts, "method": METHOD, "backbone": {**own, **backbone}, "seed": 0}
    OmegaConf.save(OmegaConf.create(whole), folder / ".hydra" / "config.yaml")
    state = {f"backbone.{name}": value for name, value in model.state_dict().items()}
    torch.save(
        {"global_step": 0, "state_dict": {**state, "pair_head.0.bias": torch.zeros(2)}},
        folder / "checkpoints" / "last.ckpt",
    )
    return folder


def settings(run: Path | None, **changes: Any) -> DictConfig:
    """The backbone of a config that begins with the weights of `run`; its own sizes are others."""
    own = {"_target_": TARGET, "architecture": "bert", "vocab_size": V, "pad_id": 0, "max_length": 20, "width": 8}
    return OmegaConf.create({**own, "pretrained": run and str(run), **changes})


def test_the_network_of_a_run(tmp_path: Path) -> None:
    model = make()
    first = write_run(tmp_path / "first", model)
    assert torch.equal(build_backbone(settings(first), {})(windows()), model(windows()))
    second = write_run(tmp_path / "second", model, pretrained=str(first), width=8)  # itself begun from a run
    own = {"backbone.pretrained": {"_target_": TARGET, "vocab_size": None, "pad_id": None, **model.arguments}}
    OmegaConf.save(own, second / ".hydra" / "networks.yaml")
    assert torch.equal(build_backbone(settings(second), {})(windows()), model(windows()))
    unknown = settings(first, vocab_size=None, pad_id=None)
    assert torch.equal(build_backbone(unknown, {"vocab_size": V, "pad_id": 0})(windows()), model(windows()))


def test_a_run_that_does_not_fit(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", make())
    with pytest.raises(InputError, match="do not fit 41 tokens: use the tokenizer of that run"):
        build_backbone(settings(run, vocab_size=V + 1), {})
    image = write_run(tmp_path / "image", make())
    config = OmegaConf.load(image / ".hydra" / "config.yaml")
    config.backbone = {"_target_": "ssl_lightning.modules.backbones.image.ConvNet"}
    OmegaConf.save(config, image / ".hydra" / "config.yaml")
    with pytest.raises(InputError, match=r"trained .*image.ConvNet, not .*language_model"):
        build_backbone(settings(image), {})


def test_a_run_is_trusted_no_more_than_any_other(tmp_path: Path) -> None:
    evil = write_run(tmp_path / "evil", make(), config={"_target_": "os.system"})
    with pytest.raises(InputError, match=r"os\.system is not from"):
        build_backbone(settings(evil), {})
    run = write_run(tmp_path / "run", make())
    checkpoint = run / "checkpoints" / "last.ckpt"
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 255  # one flipped byte
    checkpoint.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        build_backbone(settings(run), {})
    checkpoint.unlink()
    with pytest.raises(InputError, match="there is no checkpoint at"):
        build_backbone(settings(run), {})


@pytest.mark.parametrize(("architecture", "longest"), [("modernbert", 48), ("bert", 24)])
def test_rotary_positions_take_longer_windows_than_the_run_had(tmp_path: Path, architecture: str, longest: int) -> None:
    model = make(architecture)
    run = write_run(tmp_path / "run", model, architecture=architecture)
    again = build_backbone(settings(run, max_length=48), {})
    assert again.max_length == longest
    assert torch.equal(model(windows()), again(windows()))


def test_a_teacher(tmp_path: Path) -> None:
    model = make()
    run = write_run(tmp_path / "run", model)
    config = OmegaConf.create(
        {
            "seed": 0,
            "channels_last": False,
            "method": {"_target_": "ssl_lightning.methods.distil_mlm.DistilBERT", "teacher": str(run)},
            "backbone": settings(None, heads=2),
            "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True},
            "schedule": {"_target_": "ssl_lightning.optim.schedules.constant", "_partial_": True},
        }
    )
    method = build_method(config)
    assert torch.equal(method.teacher(windows()), model(windows()))
    store_networks(method, tmp_path / "config.yaml")
    shutil.rmtree(run)
    alone = build_method(with_own_networks(config, tmp_path / "config.yaml"))
    alone.load_state_dict(method.state_dict())
    assert torch.equal(alone.teacher(windows()), model(windows()))
    assert not method.teacher_learns
    assert method.backbone.model.config.num_hidden_layers == 1


@pytest.mark.parametrize(
    ("architecture", "head", "options"),
    [
        ("bert", "masked", {}),
        ("modernbert", "masked", {"tied": False}),
        ("gpt2", "causal", {"mlp_width": 40}),
        ("qwen3", "causal", {"num_key_value_heads": 1}),
        ("bart", "seq2seq", {}),
    ],
)
def test_the_arguments_of_a_network_make_it_again(architecture: str, head: Any, options: dict[str, Any]) -> None:
    first = language_model(architecture, V, 0, head, **SIZES, **options)
    stored = OmegaConf.create({"_target_": TARGET, "vocab_size": V, "pad_id": 0, **first.arguments})
    again = build_backbone(stored, {})  # from the config in a run folder, whose lists are not those of Python
    again.load_state_dict(first.state_dict())
    assert (again.out_dim, again.max_length, again.causal) == (first.out_dim, first.max_length, first.causal)
    with torch.no_grad():
        assert torch.equal(again.eval()(windows()), first.eval()(windows()))


def test_a_run_that_names_itself_as_its_parent(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", make())
    config = OmegaConf.load(run / ".hydra" / "config.yaml")
    config.backbone.pretrained = str(run)
    OmegaConf.save(config, run / ".hydra" / "config.yaml")
    assert build_backbone(settings(run), {}).out_dim == 16


@pytest.mark.parametrize("method", ["distil_mlm", "hubert"])
def test_a_teacher_is_named_by_its_run(method: str) -> None:
    validate_config(task(f"method={method}", "method.teacher=outputs/run"))
    with pytest.raises(InputError, match=r"method.teacher=1 should be a text"):
        validate_config(task(f"method={method}", "method.teacher=1"))
