"""`optimizer=lars` as the paper has it: You et al. 2017, https://arxiv.org/abs/1708.03888, Eq. 6."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from ssl_lightning.optim.groups import parameter_groups

CONFIG = Path(__file__).parents[2] / "conf" / "optimizer" / "lars.yaml"


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_weights_are_adapted_and_biases_are_not(decay: float) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 4).double()
    optimizer = instantiate(OmegaConf.load(CONFIG), lr=0.5, weight_decay=decay)(parameter_groups(layer))
    weight, bias = (p.detach().clone() for p in (layer.weight, layer.bias))
    momentum = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for _ in range(4):
        g, g_bias = torch.randn_like(weight), torch.randn_like(bias)
        layer.weight.grad, layer.bias.grad = g.clone(), g_bias.clone()
        optimizer.step()
        local_rate = 0.001 * weight.norm() / (g.norm() + decay * weight.norm())
        momentum[0] = 0.9 * momentum[0] + local_rate * (g + decay * weight)
        momentum[1] = 0.9 * momentum[1] + g_bias
        weight, bias = weight - 0.5 * momentum[0], bias - 0.5 * momentum[1]
    torch.testing.assert_close(layer.weight.detach(), weight, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(layer.bias.detach(), bias, rtol=1e-12, atol=1e-12)
