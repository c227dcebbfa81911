import pytest
import torch
from torch import nn

from ssl_lightning.errors import InputError
from ssl_lightning.modules.backbones.image import MLP, ConvNet
from ssl_lightning.modules.image_decoders import conv_decoder, mlp_decoder


def linear_widths(module: nn.Module) -> list[tuple[int, int]]:
    return [(part.in_features, part.out_features) for part in module.modules() if isinstance(part, nn.Linear)]


@pytest.mark.parametrize("size", [8, 28, 32, 64, 96])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("make", [mlp_decoder, conv_decoder])
def test_images_of_the_asked_size(make: object, channels: int, size: int) -> None:
    decoder = make(5, channels, size)  # type: ignore[operator]
    assert decoder(torch.randn(2, 5)).shape == (2, channels, size, size)


def test_the_notebooks_autoencoder() -> None:
    assert linear_widths(MLP(in_channels=1, size=28, hidden_dims=[128], out_dim=32)) == [(784, 128), (128, 32)]
    assert linear_widths(mlp_decoder(32, 1, 28, [128])) == [(32, 128), (128, 784)]
    assert MLP().out_dim == 32
    assert MLP()(torch.randn(2, 1, 28, 28)).shape == (2, 32)


def test_no_hidden_layer_is_linear() -> None:
    """Then decoder and encoder are one matrix: what PCA is the best of."""
    encoder, decoder = MLP(1, 4, [], 3), mlp_decoder(3, 1, 4, [])
    a, b = torch.randn(2, 2, 1, 4, 4)
    torch.testing.assert_close(
        decoder(encoder(a + b)) + decoder(encoder(0 * a)), decoder(encoder(a)) + decoder(encoder(b))
    )


def test_every_pixel_is_reached_alike_often() -> None:
    """With all weights one, the pixels away from the border are the same: no checkerboard."""
    decoder = conv_decoder(1, 1, 28, width=4)
    for part in decoder.modules():
        if isinstance(part, nn.Linear | nn.ConvTranspose2d | nn.Conv2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
    inner = decoder(torch.ones(1, 1))[0, 0, 8:-8, 8:-8]
    torch.testing.assert_close(inner, torch.full_like(inner, inner[0, 0].item()))


def test_an_image_depends_on_its_embedding_alone() -> None:
    decoder, h = conv_decoder(5, 1, 28).train(), torch.randn(4, 5)
    torch.testing.assert_close(decoder(h)[:1], decoder(h[:1]))


def test_a_side_that_cannot_be_halved() -> None:
    with pytest.raises(InputError, match=r"data.image_size=30 cannot be halved"):
        conv_decoder(5, 1, 30)


def test_a_bottleneck_behind_a_convnet() -> None:
    net = ConvNet(in_channels=1, width=4, stages=2, pool=4, out_dim=7)
    assert net.out_dim == 7
    assert net(torch.randn(2, 1, 28, 28)).shape == (2, 7)
    assert isinstance(net[-1], nn.Linear)
