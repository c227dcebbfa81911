import pytest
import torch
from methods.recipe import METHODS, TINY, make_method
from torch import nn

from ssl_lightning.errors import InputError
from ssl_lightning.optim.groups import _is_linear as is_linear
from ssl_lightning.optim.groups import parameter_groups


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 4))
        self.embedding = nn.Embedding(5, 4)
        self.conv = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.teacher = nn.Linear(4, 4).requires_grad_(False)
        self.hidden = nn.Linear(4, 4)
        self.head = nn.Linear(4, 5)
        self.head.weight = self.embedding.weight
        self.scale = nn.Parameter(torch.zeros(()))


def names(module: nn.Module, group: dict) -> list[str]:
    known = {id(p): name for name, p in module.named_parameters()}
    return [known[id(p)] for p in group["params"]]


def test_every_trained_parameter_is_in_one_group_in_the_order_of_the_module() -> None:
    module = Small()
    hidden, other, vectors = parameter_groups(module)
    assert names(module, hidden) == [
        "second.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "hidden.weight",
    ]
    assert names(module, other) == ["token", "embedding.weight", "conv.weight"]
    assert names(module, vectors) == [
        "scale",
        "conv.bias",
        "norm.weight",
        "norm.bias",
        "attention.in_proj_bias",
        "attention.out_proj.bias",
        "hidden.bias",
        "head.bias",
    ]


def test_only_vectors_are_exempt() -> None:
    hidden, other, vectors = parameter_groups(Small())
    assert vectors["weight_decay"] == 0
    assert vectors["always_adapt"] is False
    assert vectors["hidden"] is False
    assert hidden["hidden"] is True
    assert other["hidden"] is False
    assert all("weight_decay" not in group and "always_adapt" not in group for group in (hidden, other))


def test_empty_groups_are_left_out() -> None:
    assert len(parameter_groups(nn.Linear(2, 2, bias=False))) == 1
    assert len(parameter_groups(nn.LayerNorm(2))) == 1


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_any_optimizer_takes_them(optimizer: type[torch.optim.Optimizer]) -> None:
    built = optimizer(parameter_groups(Small()), lr=0.1, weight_decay=0.5)  # type: ignore[call-arg]
    assert [group["weight_decay"] for group in built.param_groups] == [0.5, 0.5, 0.0]


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(InputError, match="Linear has no trainable parameter"):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False))


def test_linear_layers_of_gpt2_are_hidden() -> None:
    from transformers.pytorch_utils import Conv1D

    layer = Conv1D(3, 2)
    (hidden, _) = parameter_groups(nn.Sequential(layer))
    assert hidden["hidden"]
    assert hidden["params"] == [layer.weight]


FIRST = ["backbone.0.0.weight"]
OUTPUTS = {
    "autoencoder": ["decoder.2.weight"],
    "barlow_twins": [*FIRST, "projector.6.weight"],
    "byol": [*FIRST, "projector.3.weight", "predictor.3.weight"],
    "causal_lm": ["backbone.model.lm_head.weight"],
    "clip": [*FIRST, "space.image.weight", "space.text.weight"],
    "colorization": ["backbone.backbone.0.0.weight", "decoder.4.weight"],
    "context_prediction": [*FIRST, "head.3.weight"],
    "data2vec": ["backbone.embed.proj.weight", "predictor.weight"],
    "data2vec_audio": ["backbone.model.feature_extractor.conv_layers.0.conv.weight", "predictor.weight"],
    "deepcluster_v2": [*FIRST, "projector.3.weight"],
    "denoising_autoencoder": [*FIRST, "decoder.7.weight"],
    "denoising_lm": ["backbone.model.lm_head.weight"],
    "dino": ["backbone.embed.proj.weight", "head.0.4.weight"],
    "dinov2": ["backbone.embed.proj.weight", "head.0.4.weight", "patch_head.0.4.weight"],
    "distil_mlm": ["teacher.model.cls.predictions.decoder.weight", "backbone.model.cls.predictions.decoder.weight"],
    "hubert": ["backbone.model.feature_extractor.conv_layers.0.conv.weight", "projector.weight"],
    "ijepa": ["backbone.embed.proj.weight", "predictor.leave.weight"],
    "jigsaw": [*FIRST, "head.3.weight"],
    "lejepa": [*FIRST, "projector.6.weight"],
    "mae": ["backbone.embed.proj.weight", "decoder.leave.weight"],
    "mlm": ["backbone.model.cls.predictions.decoder.weight"],
    "moco": [*FIRST, "projector.2.weight"],
    "moco_v3": ["projector.6.weight", "predictor.3.weight"],
    "next_frame": ["backbone.stem.0.weight", "decoder.paint.weight"],
    "nnclr": [*FIRST, "projector.6.weight", "predictor.3.weight"],
    "nsp": ["backbone.model.cls.predictions.decoder.weight", "pair_head.2.weight"],
    "rotation": [*FIRST, "head.3.weight"],
    "siglip": [*FIRST, "space.image.weight", "space.text.weight"],
    "simclr": [*FIRST, "projector.3.weight"],
    "simmim": ["backbone.embed.proj.weight", "head.weight"],
    "simsiam": [*FIRST, "projector.6.weight", "predictor.3.weight"],
    "supcon": [*FIRST, "projector.2.weight"],
    "swav": [*FIRST, "projector.3.weight"],
    "vae": [*FIRST, "posterior.weight", "decoder.7.weight"],
    "vicreg": [*FIRST, "projector.6.weight"],
    "wav2vec2": [
        "backbone.model.feature_extractor.conv_layers.0.conv.weight",
        "quantizer.scores.weight",
        "projector.weight",
        "target_projector.weight",
    ],
    "wmse": [*FIRST, "projector.3.weight"],
}


@pytest.mark.parametrize("name", METHODS)
def test_ends_of_a_network_are_not_orthogonalized(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every method: first convolutions and output layers, also that of the vocabulary where it is not tied."""
    monkeypatch.setitem(TINY["ssl_lightning.modules.backbones.text.language_model"], "tied", False)
    method = make_method(name)
    groups = {id(p): group["hidden"] for group in method.groups() for p in group["params"]}
    linear = {id(p) for layer in method.modules() if is_linear(layer) for p in layer.parameters(recurse=False)}
    found = [
        key for key, p in method.named_parameters() if p.ndim > 1 and id(p) in linear and groups.get(id(p)) is False
    ]
    assert sorted(found) == sorted(OUTPUTS[name])
    assert any(groups.values())
