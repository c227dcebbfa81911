import pytest
import torch
from torch import nn

from ssl_lightning.errors import InputError
from ssl_lightning.modules.backbones.image import ConvNet, resnet, timm_model
from ssl_lightning.modules.feature_map import FeatureMapBackbone

BACKBONES = {
    "convnet": (lambda: ConvNet(1, width=4, stages=3, pool=2), 32, 4),
    "convnet with a bottleneck": (lambda: ConvNet(1, width=4, stages=3, pool=2, out_dim=7), 32, 4),
    "resnet, cifar": (lambda: resnet("resnet18", 1, "cifar"), 32, 4),
    "resnet, imagenet": (lambda: resnet("resnet18", 1), 64, 2),
    "timm's convolutions": (lambda: timm_model("test_resnet", 1), 64, 2),
    "timm's with a layer in the head": (lambda: timm_model("mobilenetv3_small_050", 1), 64, 2),
    "timm's transformer": (lambda: timm_model("test_vit", 1, img_size=32, patch_size=8), 32, 4),
    "timm's, channels last": (
        lambda: timm_model("swin_tiny_patch4_window7_224", 1, img_size=32, window_size=4, embed_dim=12, depths=(1, 1)),
        32,
        4,
    ),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_embeds_as_by_itself_and_gives_the_map(name: str) -> None:
    make, side, map_side = BACKBONES[name]
    backbone = make().eval()
    x = torch.randn(2, 1, side, side)
    with torch.no_grad():
        net = FeatureMapBackbone(backbone)
        h, features = net(x)
        torch.testing.assert_close(h, backbone(x))
    assert h.shape == (2, net.out_dim)
    assert features.shape == (2, net.map_dim, map_side, map_side)


def test_a_convolution_sees_where_things_are() -> None:
    """The map is not turned: what changes in the upper left corner of an image changes that of its map most."""
    for name in ("convnet", "timm's transformer"):
        make, side, _ = BACKBONES[name]
        net = FeatureMapBackbone(make()).eval()
        x = torch.randn(1, 1, side, side)
        other = x.clone()
        other[..., :8, -8:] += 3
        with torch.no_grad():
            change = (net(other)[1] - net(x)[1]).abs().sum(dim=1)[0]
        assert divmod(int(change.argmax()), change.shape[1]) == (0, change.shape[1] - 1), name


def test_what_has_no_map() -> None:
    backbone = nn.Linear(2, 2)
    backbone.out_dim = 2  # type: ignore[assignment]
    with pytest.raises(InputError, match="backbone Linear has no feature map: use convnet"):
        FeatureMapBackbone(backbone)
