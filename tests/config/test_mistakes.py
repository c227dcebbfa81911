"""A user's mistake is answered by one line that says what would be right: the list of them, from argument to answer.

Each is composed and checked as a command does it, in this process. What comes to light only when data or networks are
there is shown by real commands, in tests/test_commands.py.
"""

import copy
import json
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from composition import whole
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from ssl_lightning.cli.arguments import verbatim, with_one_length
from ssl_lightning.cli.mistakes import mistake
from ssl_lightning.config.options import OPTIONS
from ssl_lightning.config.paths import CONFIG_DIR
from ssl_lightning.config.validate import validate_config, validate_options

NUMBER, BOOL, POSITIVE = "should be a whole number", "should be true or false", "should be greater than 0"
NOT_NEGATIVE, AT_MOST_1, FINITE = "should be greater than or equal to 0", "should be less than or equal to 1", "finite"
BUILT = "should be settings with a _target_"

MISTAKES = {
    # of all runs
    "pretrain seed=abc": f"seed=abc {NUMBER}",
    "pretrain seed=nan": f"seed=NaN {NUMBER}",
    "pretrain seed=null": f"seed=null {NUMBER}",
    "pretrain seed=1.5": f"seed=1.5 {NUMBER}",
    "pretrain seed=-1": f"seed=-1 {NOT_NEGATIVE}",
    "pretrain seed=4294967296": "seed=4294967296 should be less than 4294967296",
    "pretrain compile=yes": f"compile=yes {BOOL}",
    "pretrain compile=no": f"compile=no {BOOL}",
    "pretrain compile=off": f"compile=off {BOOL}",
    "pretrain compile=\\'false\\'": f"compile=false {BOOL}",
    "pretrain compile=0": f"compile=0 {BOOL}",
    "pretrain channels_last=no": f"channels_last=no {BOOL}",
    "pretrain channels_last=off": f"channels_last=off {BOOL}",
    "pretrain deterministic=maybe": f"deterministic=maybe {BOOL}",
    "pretrain objective=foo": "objective=foo should be a metric that a run logs, such as probe/knn_accuracy",
    "pretrain precision=16-true": "precision=16-true should be 'auto', '32-true', 'bf16-mixed'",
    "pretrain precision=fp16": "precision=fp16 should be 'auto', '32-true', 'bf16-mixed'",
    "pretrain precision=8": "precision=8 should be 'auto', '32-true', 'bf16-mixed'",
    "pretrain max_requeues=-1": f"max_requeues=-1 {NOT_NEGATIVE}",
    # Hydra's own keys
    "pretrain +data._recursive_=false": "data._recursive_ is not an argument of",
    "pretrain +data.source._args_=[1]": "data.source._args_ is not an argument of",
    "pretrain +backbone._convert_=x": "backbone._convert_=x should be 'none', 'partial', 'object' or 'all'",
    "pretrain +transform.views.first._partial_=true": "transform.views.first._partial_=True should be left out",
    "pretrain +trainer._partial_=true": "trainer._partial_=True should be left out",
    "pretrain +callbacks.checkpoint._partial_=true": "callbacks.checkpoint._partial_=True should be left out",
    "pretrain data.source._partial_=x": f"data.source._partial_=x {BOOL}",
    # methods
    "pretrain method=deepcluster_v2 method.clusters=[]": "method.clusters=[] should be longer",
    # choices and keys
    "pretrain =5": "a choice is a name, such as method=simclr, no number and not null: =5",
    "pretrain method=5": "a choice is a name, such as method=simclr, no number and not null: method=5",
    "pretrain method=": "there is no method ''; known: autoencoder, barlow_twins,",
    "pretrain method=autoencoder decoder=null": "no number and not null: method=autoencoder decoder=null",
    "pretrain ''": "'' is not KEY=VALUE",
    "pretrain data.root=~/nowhere": "quote its value, and all of it for the shell, 'data.root=\"~/nowhere\"'",
    "pretrain data.root=bad/wëird\\ näme,\\ a=b": "'data.root=\"bad/wëird näme, a=b\"'",
    "pretrain +foo=1": "nothing reads the key foo",
    "pretrain +sed=1": "nothing reads the key sed; did you mean seed?",
    "pretrain +tokenizer.vocab_size=2048 method=mlm": "nothing reads the key tokenizer; did you mean data.tokenizer?",
    "pretrain tokenizer=bpe method=simclr": "ImageDataModule has no tokenizer: leave tokenizer= out",
    "pretrain decoder=conv": "SimCLR has no decoder: leave decoder= out",
    "pretrain +trainer.max_tim=1": "did you mean max_time?",
    "pretrain +trainer.foo=1": "trainer.foo is not an argument of",
    "pretrain callbacks.probe=foo": "callbacks.probe=foo should be null or settings with a _target_",
    "pretrain logger=tensorboard logger.tensorboard=foo": "logger.tensorboard=foo should be null or settings",
    "pretrain transform.views.first.crop=foo": f"transform.views.first.crop=foo {BUILT}",
    "pretrain data.source=foo": f"data.source=foo {BUILT}",
    "pretrain logger=wandb logger.wandb.mode=foo": "logger.wandb.mode=foo should be 'online' or 'offline'",
    # parts that do not fit
    "pretrain method=simclr backbone=bert_mini": "needs a backbone of the kind 'image', not masked; backbones that fit",
    "pretrain method=mlm backbone=convnet": "needs a backbone of the kind 'masked', not ConvNet; backbones that fit",
    "pretrain method=mlm backbone=gpt2_mini": "backbones that fit: bert_mini, caption_bert, modernbert_mini",
    "pretrain method=causal_lm backbone=bert_mini": "'causal', not masked; backbones that fit: gpt2_mini, llama_mini",
    "pretrain method=denoising_lm backbone=bert_mini": "'seq2seq', not masked; backbones that fit: bart_mini",
    "pretrain method=simmim backbone=vit": "'mean of patches', not ViT; backbones that fit: vit_mean, vit_patches",
    "pretrain method=ijepa backbone=vit": "'mean of patches', not ViT; backbones that fit: vit_mean, vit_patches",
    "pretrain method=simmim backbone.pool=class": "'mean of patches', not ViT; backbones that fit: vit_mean",
    "pretrain backbone.in_channels=3": "backbone.in_channels=3, but the data has 1 channel",
    "pretrain data.batch_size=1": "method SimCLR needs data.batch_size=2 or more",
    # sizes of networks
    "pretrain method.out_dim=0": f"method.out_dim=0 {POSITIVE}",
    "pretrain method.out_dim=-4": f"method.out_dim=-4 {POSITIVE}",
    "pretrain method.hidden_dim=null": f"method.hidden_dim=null {NUMBER}",
    "pretrain method.temperature=0": f"method.temperature=0 {POSITIVE}",
    "pretrain method.chunk_size=1": "method.chunk_size=1 should be greater than or equal to 2",
    "pretrain method=moco method.queue_size=-1": f"method.queue_size=-1 {POSITIVE}",
    "pretrain method=moco method.momentum=1.5": f"method.momentum=1.5 {AT_MOST_1}",
    "pretrain method=moco method.bn_splits=0": f"method.bn_splits=0 {POSITIVE}",
    "pretrain method=mae method.mask_ratio=2": f"method.mask_ratio=2 {AT_MOST_1}",
    "pretrain method=simmim method.mask_patch_size=0": f"method.mask_patch_size=0 {POSITIVE}",
    "pretrain method=ijepa method.target_scale=[0.2,0.1]": "method.target_scale=[0.2, 0.1] should be [low, high]",
    "pretrain method=next_frame method.num_future_frames=0": f"method.num_future_frames=0 {POSITIVE}",
    "pretrain method=colorization method.prior_mixing=-1": f"method.prior_mixing=-1 {NOT_NEGATIVE}",
    "pretrain method=distil_mlm method.temperature=0": f"method.temperature=0 {POSITIVE}",
    "pretrain method=vae method.latent_dim=0": f"method.latent_dim=0 {POSITIVE}",
    "pretrain backbone.width=0": f"backbone.width=0 {POSITIVE}",
    "pretrain backbone.width=1.5": f"backbone.width=1.5 {NUMBER}",
    "pretrain backbone.width=true": f"backbone.width=true {NUMBER}",
    "pretrain backbone.stages=0": "backbone.stages=0 should be greater than or equal to 1",
    "pretrain backbone.stages=40": "backbone.stages=40 should be less than or equal to 8",
    "pretrain backbone=mlp backbone.hidden_dims=[128,0]": f"backbone.hidden_dims=[128, 0] {POSITIVE}",
    "pretrain method=mae backbone.layers=0": f"backbone.layers=0 {POSITIVE}",
    "pretrain method=mae backbone.patch_size=0": f"backbone.patch_size=0 {POSITIVE}",
    "pretrain method=mlm backbone.layers=0": f"backbone.layers=0 {POSITIVE}",
    "pretrain method=mlm backbone.dropout=1.5": f"backbone.dropout=1.5 {AT_MOST_1}",
    "pretrain method=next_frame backbone.width=6": "backbone.width=6 should be a multiple of 4",
    # data and transforms
    "pretrain data.val_size=nan": "data.val_size=NaN should be a whole number or a finite number",
    "pretrain data.val_size=1.0": "data.val_size=1.0 should be a whole number or less than 1",
    "pretrain data.val_size=-3": f"data.val_size=-3 {NOT_NEGATIVE}",
    "pretrain data.image_size=0": f"data.image_size=0 {POSITIVE}",
    "pretrain data.image_size=-5": f"data.image_size=-5 {POSITIVE}",
    "pretrain data.batch_size=0": f"data.batch_size=0 {POSITIVE}",
    "pretrain data.batch_size=many": f"data.batch_size=many {NUMBER}",
    "pretrain data.fraction=0": f"data.fraction=0 {POSITIVE}",
    "pretrain data.fraction=2": f"data.fraction=2 {AT_MOST_1}",
    "pretrain data.num_workers=-1": f"data.num_workers=-1 {NOT_NEGATIVE}",
    "pretrain data=image_folder data.source.store_size=-1": f"data.source.store_size=-1 {POSITIVE}",
    "pretrain data=image_folder data.source.store_size=0": f"data.source.store_size=0 {POSITIVE}",
    "pretrain data=image_folder data.source.on_corrupt=x": "data.source.on_corrupt=x should be 'skip' or 'raise'",
    "pretrain data=image_folder data.channels=2": "data.channels=2 should be 1 or 3",
    "pretrain data=image_folder data.source.test_size=1.0": "test_size=1.0 should be a whole number or less than 1",
    "pretrain method=next_frame data.frames=1": "data.frames=1 should be greater than or equal to 2",
    "pretrain method=next_frame data.source.digits=0": f"data.source.digits=0 {POSITIVE}",
    "pretrain method=next_frame data.source.speed=[0.2,0.1]": "data.source.speed=[0.2, 0.1] should be [low, high]",
    "pretrain data=photo_patches data.image_size=62": "data.image_size=62 should be less than or equal to 61",
    "pretrain method=mlm data.length=1": "data.length=1 should be greater than or equal to 2",
    "pretrain method=mlm data.stride=0": f"data.stride=0 {POSITIVE}",
    "pretrain method=mlm optimizer=muon optimizer.steps=6": "optimizer.steps=6 should be",
    "pretrain method=mlm data.tokenizer.vocab_size=0": f"data.tokenizer.vocab_size=0 {POSITIVE}",
    "pretrain method=mlm transform.rate=0": f"transform.rate=0 {POSITIVE}",
    "pretrain method=mlm transform.replace=1.5": f"transform.replace=1.5 {AT_MOST_1}",
    "pretrain method=denoising_lm transform.rate=1": "transform.rate=1 should be less than 1",
    "pretrain method=denoising_lm transform.span=0": f"transform.span=0 {POSITIVE}",
    "pretrain method=context_prediction transform.patch=1": "transform.patch=1 should be greater than or equal to 2",
    "pretrain method=context_prediction transform.drop_colors=1.5": f"transform.drop_colors=1.5 {AT_MOST_1}",
    "pretrain method=jigsaw transform.channel_shift=-1": f"transform.channel_shift=-1 {NOT_NEGATIVE}",
    "pretrain transform.views.first.crop.flip=2": f"crop.flip=2 {AT_MOST_1}",
    "pretrain transform.views.first.crop.scale=[0.9,0.1]": "crop.scale=[0.9, 0.1] should be [low, high]",
    "pretrain transform.views.first.crop.scale=[0,1]": f"crop.scale=[0, 1] {POSITIVE}",
    "pretrain transform.views.first.affine.translate=-1": f"affine.translate=-1 {NOT_NEGATIVE}",
    "pretrain data=cifar10 transform.views.first.jitter.hue=0.6": "jitter.hue=0.6 should be less than or equal to 0.5",
    "pretrain transform=masking_noise method=denoising_autoencoder transform.views.corrupted.corruption.fraction=1.2": (
        f"corruption.fraction=1.2 {AT_MOST_1}"
    ),
    # optimizer and schedule
    "pretrain optimizer.lr=inf": f"optimizer.lr=Infinity should be a {FINITE} number",
    "pretrain optimizer.lr=nan": f"optimizer.lr=NaN should be a {FINITE} number",
    "pretrain optimizer.lr=big": "optimizer.lr=big should be a number",
    "pretrain optimizer.betas=0.9": "optimizer.betas=0.9 should be a list",
    "pretrain optimizer=muon optimizer.betas=[0.9,1.5]": f"optimizer.betas=[0.9, 1.5] {AT_MOST_1}",
    "pretrain schedule.warmup_epochs=-1": f"schedule.warmup_epochs=-1 {NOT_NEGATIVE}",
    "pretrain schedule.final_fraction=2": f"schedule.final_fraction=2 {AT_MOST_1}",
    # trainer and callbacks
    "pretrain trainer.accelerator=tpu": "trainer.accelerator=tpu should be 'auto', 'cpu', 'gpu'",
    "pretrain trainer=ddp trainer.devices=0": "trainer.devices=0 should be greater than 0 or 'auto' or -1 or a list",
    "pretrain trainer=ddp trainer.devices=-2": "trainer.devices=-2 should be greater than 0 or 'auto' or -1 or a list",
    "pretrain trainer.devices=many": f"trainer.devices=many {NUMBER} or 'auto' or -1 or a list",
    "pretrain trainer.num_nodes=0": f"trainer.num_nodes=0 {POSITIVE}",
    "pretrain trainer.strategy=dp": "trainer.strategy=dp should be 'auto', 'ddp' or 'fsdp'",
    "pretrain trainer.gradient_clip_val=nan": f"trainer.gradient_clip_val=NaN should be a {FINITE} number",
    "pretrain trainer.gradient_clip_val=-1": f"trainer.gradient_clip_val=-1 {NOT_NEGATIVE}",
    "pretrain trainer.accumulate_grad_batches=0": f"trainer.accumulate_grad_batches=0 {POSITIVE}",
    "pretrain trainer.log_every_n_steps=0": f"trainer.log_every_n_steps=0 {POSITIVE}",
    "pretrain trainer.log_every_n_steps=-1": f"trainer.log_every_n_steps=-1 {POSITIVE}",
    "pretrain trainer.check_val_every_n_epoch=0": f"trainer.check_val_every_n_epoch=0 {POSITIVE}",
    "pretrain trainer.val_check_interval=0": f"trainer.val_check_interval=0 {POSITIVE}",
    "pretrain trainer.val_check_interval=1.5": f"trainer.val_check_interval=1.5 {NUMBER} or less than or equal to 1",
    "pretrain trainer.max_epochs=0": f"trainer.max_epochs=0 {POSITIVE}",
    "pretrain trainer.max_steps=0": "trainer.max_steps=0 should be greater than 0 or -1",
    "pretrain trainer.max_epochs=null": "trainer.max_epochs=null and trainer.max_steps=-1 train without end",
    "pretrain trainer.max_epochs=null trainer.max_steps=-1": "train without end: set one of them",
    "pretrain trainer.max_epochs=2 trainer.max_steps=3": "trainer.max_steps=3 both say how long to train",
    "pretrain callbacks.health.every_n_steps=0": f"callbacks.health.every_n_steps=0 {POSITIVE}",
    "pretrain callbacks.checkpoint.every_n_epochs=0": f"callbacks.checkpoint.every_n_epochs=0 {POSITIVE}",
    "pretrain callbacks.checkpoint.every_n_steps=-1": f"callbacks.checkpoint.every_n_steps=-1 {POSITIVE}",
    "pretrain callbacks.checkpoint.mode=best": "callbacks.checkpoint.mode=best should be 'max' or 'min'",
    "pretrain callbacks.pictures.images=0": f"callbacks.pictures.images=0 {POSITIVE}",
    "pretrain callbacks.probe.times=0": f"callbacks.probe.times=0 {POSITIVE}",
    "pretrain callbacks.probe.times=5.5": f"callbacks.probe.times=5.5 {NUMBER}",
    # the other commands
    "bench steps=abc": f"steps=abc {NUMBER}",
    "bench steps=1.5": f"steps=1.5 {NUMBER}",
    "bench steps=0": f"steps=0 {POSITIVE}",
    "bench warmup=0": f"warmup=0 {POSITIVE}",
    "bench resume=run": "resume=run should be null",
    "bench method.out_dim=0": f"method.out_dim=0 {POSITIVE}",
    "evaluate run=run data.root=[1]": "data.root=[1] should be a text",
    "evaluate run=run data.batch_size=0": f"data.batch_size=0 {POSITIVE}",
    "evaluate run=run labels=100": "labels=100 should be a list",
    "evaluate run=run labels=[1]": "labels=[1] should be greater than or equal to 2",
    "evaluate run=run draws=0": f"draws=0 {POSITIVE}",
    "evaluate run=run raw=yes": f"raw=yes {BOOL}",
    "evaluate run=run finetune_steps=0": f"finetune_steps=0 {POSITIVE}",
    "evaluate run=run +foo=1": "nothing reads the key foo; known: run, encoder,",
    "export run=run format=gguf": "format=gguf should be 'safetensors', 'timm',",
    "generate run=run text=a temperature=0": f"temperature=0 {POSITIVE}",
    "generate run=run text=a temperature=hot": "temperature=hot should be a number",
    "generate run=run text=a temperature=nan": f"temperature=NaN should be a {FINITE} number",
    "generate run=run text=a top_p=0": f"top_p=0 {POSITIVE}",
    "generate run=run text=a top_p=1.1": f"top_p=1.1 {AT_MOST_1}",
    "generate run=run text=a top_k=0": f"top_k=0 {POSITIVE}",
    "generate run=run text=a max_new_tokens=0": f"max_new_tokens=0 {POSITIVE}",
    "generate run=run text=a words=null": f"words=null {NUMBER}",
    "generate run=run text=a beams=1.5": f"beams=1.5 {NUMBER}",
    "generate run=run input=a max_images=0": f"max_images=0 {POSITIVE}",
    "generate run=run text=a seed=100000000000000000000000": "seed=100000000000000000000000 should be less than",
    "generate run=run text=\udcff": "should be valid UTF-8",
}
"""What is typed, and words of the line that answers it."""


def answer(line: str) -> str | None:
    """The line by which a command is refused; None: it is accepted."""
    name, *arguments = shlex.split(line)
    try:
        config = composed(name, arguments)
        validate_options(config, name)
        if name in ("pretrain", "bench"):
            validate_config(config)
    except Exception as error:
        line = mistake(error, name, arguments)
        if line is None:
            raise
        return line
    return None


def composed(name: str, arguments: list[str]) -> DictConfig:
    """As Hydra composes them, but that a value is set in a copy of what the choices alone give, which is quick."""
    arguments = with_one_length(arguments) if name == "pretrain" else [*map(verbatim, arguments)]
    values = OverridesParser.create().parse_overrides([a for a in arguments if _is_plain(a)])
    config = copy.deepcopy(chosen(name, *(argument for argument in arguments if not _is_plain(argument))))
    for override in values:
        OmegaConf.update(config, override.key_or_group, override.value())
    return config


def _is_plain(argument: str) -> bool:
    key, equals, _ = argument.partition("=")
    return bool(equals and key and key[0].isalpha() and not (CONFIG_DIR / key).is_dir())


@cache
def chosen(name: str, *choices: str) -> DictConfig:
    config = copy.deepcopy(whole(*choices, name=name))
    with open_dict(config):
        config.hydra.runtime.output_dir = "run"
    HydraConfig.instance().set_config(config)
    return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_answered_by_one_line(typed: str) -> None:
    line = answer(typed)
    assert line is not None, "accepted"
    assert "\n" not in line
    assert MISTAKES[typed] in line


@pytest.mark.parametrize(
    "typed",
    [
        "pretrain",
        "pretrain compile=true channels_last=false objective=val/loss seed=0",
        "pretrain data.val_size=0.25 data.fraction=1 optimizer.lr=1",
        "pretrain trainer.devices=[0,2] trainer.val_check_interval=50 trainer.gradient_clip_val=1",
        "pretrain trainer.max_steps=5 callbacks.probe=null callbacks.checkpoint.every_n_steps=3",
        "pretrain method=simmim backbone.class_token=false",
        "pretrain method=mae backbone=vit",
        "bench steps=2 warmup=1",
        "evaluate run=run labels=[] data.root=there finetune=true",
        "generate run=run text=a temperature=0.5 top_k=3",
        "export run=run",
    ],
)
def test_what_is_right_is_accepted(typed: str) -> None:
    assert answer(typed) is None


@pytest.mark.parametrize("command", OPTIONS)
def test_a_command_declares_all_that_its_config_has(command: str) -> None:
    keys = set(OmegaConf.load(CONFIG_DIR / f"{command}.yaml")) - {"defaults", "hydra"}
    inherited = (
        set(OmegaConf.load(CONFIG_DIR / "pretrain.yaml")) - {"defaults", "hydra"} if command == "bench" else set()
    )
    assert keys | inherited == set(OPTIONS[command].__annotations__)


LIGHT = {
    "pretrain": ["--help", "--cfg job", "seed=abc", "compile=no", "objective=foo", "methd=x", "method=x", "+foo=1"],
    "bench": ["steps=abc"],
    "evaluate": ["rn=x", "protocl=v1"],
    "export": ["--help", "--cfg job", "frmat=x"],
    "generate": ["--help", "--cfg job", "temprature=1"],
}
"""Arguments of a command, to whose answer torch adds nothing but seconds."""


def test_what_needs_no_torch_is_answered_without_it(tmp_path: Path) -> None:
    script = f"""
import importlib, json, sys
found = {{}}
for name, arguments in {LIGHT!r}.items():
    for argument in arguments:
        sys.argv = [name, *argument.split()]
        try:
            importlib.import_module(f"ssl_lightning.{{name}}").main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        found[f"{{name}} {{argument}}"] = [status, "torch" in sys.modules]
print(json.dumps(found), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    found: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    wanted = {f"{name} {argument}": argument for name in LIGHT for argument in LIGHT[name]}
    assert found == {typed: [0 if argument.startswith("--") else 2, False] for typed, argument in wanted.items()}
