import torch
from torch import nn
from torch.nn import functional as F

from ssl_lightning.modules.heads import Prototypes, dino_head, mlp


def kinds(head: nn.Sequential) -> list[type]:
    return [type(layer) for layer in head]


def test_layers() -> None:
    assert kinds(mlp(4, 8, 2)) == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert kinds(mlp(4, 8, 2, norm=False)) == [nn.Linear, nn.ReLU, nn.Linear]
    assert kinds(mlp(4, 8, 2, out_norm=True)) == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]


def test_a_bias_stands_where_no_norm_takes_it_away() -> None:
    for norm in (False, True):
        for out_norm in (False, True):
            first, last = (
                layer for layer in mlp(4, 8, 2, norm=norm, out_norm=out_norm) if isinstance(layer, nn.Linear)
            )
            assert (first.bias is None) == norm
            assert (last.bias is None) == out_norm


def test_value() -> None:
    head = mlp(4, 8, 2, norm=False)
    x = torch.randn(5, 4)
    expected = F.relu(x @ head[0].weight.T + head[0].bias) @ head[2].weight.T + head[2].bias
    torch.testing.assert_close(head(x), expected)


def test_out_norm_is_not_learned() -> None:
    head = mlp(4, 8, 2, out_norm=True)
    z = head(torch.randn(16, 4))
    torch.testing.assert_close(z.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(z.var(0, unbiased=False), torch.ones(2), atol=1e-2, rtol=0)
    assert not list(head[-1].parameters())


def test_more_layers() -> None:
    head = mlp(4, 8, 6, 2, norm=False, activation=nn.GELU)
    assert kinds(head) == [nn.Linear, nn.GELU, nn.Linear, nn.GELU, nn.Linear]
    assert head(torch.randn(3, 4)).shape == (3, 2)


def test_prototypes_give_cosines() -> None:
    prototypes, z = Prototypes(4, 3), torch.randn(5, 4)
    expected = F.cosine_similarity(z[:, None], prototypes.weight[None], dim=2)
    torch.testing.assert_close(prototypes(3 * z), expected)


def test_dino_head() -> None:
    """Its initial biases are 0; batch normalization takes away what all samples share, which hides what they do not."""
    x = 10 + torch.randn(64, 4)
    for norm in (False, True):
        head = dino_head(4, 8, 6, 5, norm=norm)
        linear = [layer for layer in head[0] if isinstance(layer, nn.Linear)]
        assert [layer.bias is None for layer in linear] == [norm, norm, False]
        assert not any(layer.bias.any() for layer in linear if layer.bias is not None)
        z = F.normalize(head[0](x), dim=1)
        assert (z.mean(dim=0).norm() > 0.9) == (not norm)
        assert head(x).shape == (64, 5)
