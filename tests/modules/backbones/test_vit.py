import math

import pytest
import torch
from torch import nn

from ssl_lightning.errors import InputError
from ssl_lightning.modules.backbones.image import ConvNet
from ssl_lightning.modules.backbones.vit import ViT, require_vit, sincos


def tiny(**changes) -> ViT:
    return ViT(**{"image_size": 8, "in_channels": 1, "patch_size": 4, "width": 16, "layers": 2, "heads": 2, **changes})


@pytest.mark.parametrize(("size", "C", "patch", "N"), [(28, 1, 4, 49), (28, 1, 7, 16), (32, 3, 4, 64), (32, 3, 2, 256)])
@pytest.mark.parametrize("options", [{}, {"pool": "mean"}, {"pool": "mean", "class_token": False}])
def test_small_images(size: int, C: int, patch: int, N: int, options: dict) -> None:
    net = tiny(image_size=size, in_channels=C, patch_size=patch, **options)
    assert net.patches == N
    assert net(torch.randn(2, C, size, size)).shape == (2, net.out_dim) == (2, 16)


@pytest.mark.parametrize("class_token", [True, False])
def test_all_tokens_kept_is_none_left_out(class_token: bool) -> None:
    net, x = tiny(class_token=class_token, pool="mean"), torch.randn(3, 1, 8, 8)
    tokens = net.patch_tokens(x)
    whole, kept = net.encode(tokens), net.encode(tokens, torch.arange(4).expand(3, -1))
    assert whole.shape == (3, 4 + class_token, 16)
    assert torch.equal(whole, kept)
    assert torch.equal(net(x), net.of_patches(whole).mean(dim=1))


@pytest.mark.parametrize("positions", ["sincos", "learned"])
def test_images_of_other_sizes_have_interpolated_positions(positions: str) -> None:
    net = tiny(image_size=16, positions=positions)
    assert net(torch.randn(3, 1, 8, 8)).shape == net(torch.randn(3, 1, 24, 24)).shape == (3, 16)
    grid = net.position.detach().T.view(1, 16, 4, 4)
    expected = nn.functional.interpolate(grid, size=(2, 2), mode="bicubic", antialias=True)[0].flatten(1).T
    torch.testing.assert_close(net._positions(4).detach(), expected)
    assert net._positions(16) is net.position


def test_the_order_of_kept_tokens_changes_nothing_but_their_order() -> None:
    net = tiny(pool="mean")
    tokens = net.patch_tokens(torch.randn(2, 1, 8, 8))
    one, other = (net.of_patches(net.encode(tokens, torch.tensor([order] * 2))) for order in ([0, 1, 3], [3, 0, 1]))
    torch.testing.assert_close(one, other[:, [1, 2, 0]])


def test_what_is_left_out_cannot_be_seen() -> None:
    net, x = tiny(), torch.randn(2, 1, 8, 8)
    changed = x.clone()
    changed[:, :, 4:, 4:] += 1  # patch 3
    kept = torch.tensor([[0, 1, 2]] * 2)
    first, second = (net.encode(net.patch_tokens(images), kept) for images in (x, changed))
    assert torch.equal(first, second)
    assert not torch.equal(net(x), net(changed))


def test_places_matter() -> None:
    """The same pixels elsewhere are another image: without positions a mean would not know."""
    net = tiny(pool="mean")
    x = torch.randn(1, 1, 8, 8)
    assert not torch.allclose(net(x), net(x.roll(4, 3)), atol=1e-4)
    net.position.zero_()
    torch.testing.assert_close(net(x), net(x.roll(4, 3)))


def test_sincos_is_its_formula() -> None:
    found = sincos(3, 8)
    assert found.shape == (9, 8)
    for row in range(3):
        for column in range(3):
            waves = [f(at * 10000 ** (-k / 2)) for f in (math.sin, math.cos) for at in (row, column) for k in range(2)]
            torch.testing.assert_close(found[3 * row + column], torch.tensor(waves))


def test_only_learned_positions_are_trained() -> None:
    assert "position" not in dict(tiny().named_parameters())
    assert "position" not in tiny().state_dict()
    net = tiny(positions="learned")
    net(torch.randn(1, 1, 8, 8)).square().mul(torch.randn(16)).sum().backward()
    assert net.position.grad is not None
    assert net.position.grad.abs().sum() > 0


def test_weights_begin_as_maes() -> None:
    net = tiny(width=64, layers=1)
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Linear):
            bound = math.sqrt(6 / (layer.in_features + layer.out_features))
            assert 0.9 * bound < layer.weight.abs().max() <= bound, name
            assert not layer.bias.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 3}, r"backbone.patch_size=3 does not divide the image of 8 pixels; choose from 2, 4"),
        ({"heads": 3}, r"backbone.heads=3 does not divide backbone.width=16"),
        ({"width": 18}, r"divisible by 4, got 18"),
        ({"class_token": False}, r"backbone.pool=class needs backbone.class_token=true"),
    ],
)
def test_impossible_sizes(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny(**options)


def test_other_images_and_other_backbones() -> None:
    for shape in ((1, 10, 10), (3, 8, 8), (1, 8, 12)):
        with pytest.raises(InputError, match=r"square images of 1 channels and a side that is a multiple of \d pixels"):
            tiny()(torch.randn(1, *shape))
    with pytest.raises(InputError, match="method MAE works on the patches of backbone=vit, not on a ConvNet"):
        require_vit(ConvNet(1, 4, 1), "MAE")
