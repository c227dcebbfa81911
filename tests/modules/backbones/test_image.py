import pytest
import torch
from torch import nn

from ssl_lightning.errors import InputError
from ssl_lightning.modules.backbones.image import ConvNet, resnet, timm_model


@pytest.mark.parametrize("stem_stride", [1, 2])
@pytest.mark.parametrize(("in_channels", "side"), [(1, 28), (3, 33)])
def test_convnet(in_channels: int, side: int, stem_stride: int) -> None:
    net = ConvNet(in_channels, width=4, stages=3, stem_stride=stem_stride)
    assert net.out_dim == 16
    assert net(torch.randn(2, in_channels, side, side)).shape == (2, 16)
    before_pooling = nn.Sequential(*list(net)[:-2])(torch.randn(2, in_channels, 32, 32))
    assert before_pooling.shape == (2, 16, 8 // stem_stride, 8 // stem_stride)


def test_convnet_of_one_stage() -> None:
    assert ConvNet(1, width=4, stages=1)(torch.randn(2, 1, 8, 8)).shape == (2, 4)


@pytest.mark.parametrize(
    ("stem", "in_channels", "kernel", "stride"), [("imagenet", 3, 7, 2), ("imagenet", 1, 7, 2), ("cifar", 3, 3, 1)]
)
def test_resnet_stems(stem: str, in_channels: int, kernel: int, stride: int) -> None:
    net = resnet("resnet18", in_channels, stem)
    assert net.out_dim == 512
    assert net.conv1.weight.shape == (64, in_channels, kernel, kernel)
    assert net.conv1.stride == (stride, stride)
    assert net.conv1.bias is None
    assert isinstance(net.maxpool, nn.Identity) == (stem == "cifar")
    with torch.no_grad():
        assert net(torch.randn(2, in_channels, 32, 32)).shape == (2, 512)


def test_resnet50_is_wider() -> None:
    assert resnet("resnet50").out_dim == 2048


def test_resnet_keeps_its_size_with_a_cifar_stem() -> None:
    net = resnet("resnet18", 3, "cifar")
    x = net.maxpool(net.relu(net.bn1(net.conv1(torch.randn(1, 3, 32, 32)))))
    assert x.shape == (1, 64, 32, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet17"}, "backbone.name=resnet17 is not a torchvision ResNet; known are resnet101"),
        ({"name": "vgg11"}, "backbone.name=vgg11 is not a torchvision ResNet"),
        ({"stem": "cifar", "pretrained": True}, "backbone.pretrained=true needs backbone.stem=imagenet"),
        ({"in_channels": 1, "pretrained": True}, "needs backbone.stem=imagenet and color images"),
    ],
)
def test_resnet_refuses(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resnet(**options)


def test_resnet_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"the weights of resnet18 cannot be loaded; .*backbone.pretrained=false"):
        resnet("resnet18", pretrained=True)


@pytest.mark.parametrize(("name", "side"), [("test_resnet", 32), ("test_efficientnet", 32), ("test_vit", 160)])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_timm_model(name: str, side: int, in_channels: int) -> None:
    net = timm_model(name, in_channels)
    with torch.no_grad():
        assert net(torch.randn(2, in_channels, side, side)).shape == (2, net.out_dim)


def test_timm_model_whose_head_has_a_layer_of_its_own() -> None:
    net = timm_model("mobilenetv3_small_050", 1).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 1, 32, 32)).shape == (1, net.out_dim)
    assert net.out_dim != net.num_features


def test_timm_options() -> None:
    net = timm_model("test_vit", 1, img_size=32, patch_size=8)
    assert net(torch.randn(1, 1, 32, 32)).shape == (1, net.out_dim)
    assert net.patch_embed.num_patches == 16


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet_18", {}, "backbone.name=resnet_18 is not a timm model; near it: resnet18, "),
        ("vit_tny_patch16_224", {}, "near it: vit_tiny_patch16_224"),
        ("????", {}, r"not a timm model; near it: see timm.list_models\(\)"),
        ("test_vit", {"sides": 3}, "timm's test_vit refuses the options of backbone \\(.*'sides'"),
        (
            "vit_tiny_patch16_224",
            {"image_size": 28},
            "takes images of 224 pixels: data.image_size=224, or .backbone.img",
        ),
        (
            "test_vit.no_such_weights",
            {"pretrained": True},
            r"the weights of .* cannot be loaded; .* \(Invalid pretrained tag",
        ),
    ],
)
def test_timm_refuses(name: str, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        timm_model(name, **options)
