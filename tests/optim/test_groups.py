import pytest
import torch
from torch import nn

from ssl_lightning.errors import InputError
from ssl_lightning.optim.groups import parameter_groups


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 4))
        self.embedding = nn.Embedding(5, 4)
        self.conv = nn.Conv2d(3, 4, 3)
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
        "conv.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "hidden.weight",
    ]
    assert names(module, other) == ["token", "embedding.weight"]
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
