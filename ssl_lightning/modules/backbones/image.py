"""Image encoders: modules from (B, C, H, W) to (B, D) whose `out_dim` is D.

Each names its `kinds`, by which a config is checked: "image"; "feature map" if it pools a map of features, and so takes
images of any size; "vit".
"""

import difflib
import itertools
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Annotated, Any, Literal

import torchvision
from annotated_types import Interval
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.ops import Conv2dNormActivation

from ssl_lightning.errors import InputError, told
from ssl_lightning.modules.heads import mlp
from ssl_lightning.ranges import PositiveInt


def _residual(in_channels: int, out_channels: int, stride: int) -> BasicBlock:
    """Two 3x3 convolutions and a shortcut that pools before it projects (ResNet-D, He et al. 2019)."""
    block = BasicBlock(in_channels, out_channels, stride)
    if stride > 1:
        projection = Conv2dNormActivation(in_channels, out_channels, 1, activation_layer=None)
        block.downsample = nn.Sequential(nn.AvgPool2d(stride, ceil_mode=True), projection)
    return block


class ConvNet(nn.Sequential):
    """A small residual network for CPUs: a strided stem, then one block per stage, each twice as wide at half the side.

    Args:
        in_channels: 1 for gray, 3 for color images.
        width: channels of the first stage.
        stages: number of stages.
        stem_stride: stride of the stem; 2 is about four times as fast as 1.
        pool: side of the grid to which the last feature map is averaged; D = width * 2 ** (stages - 1) * pool ** 2.
        out_dim: D of a final linear layer (a bottleneck); None: no such layer.
    """

    kinds = ("image", "feature map")

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        width: PositiveInt = 16,
        stages: Annotated[int, Interval(ge=1, le=8)] = 4,
        stem_stride: PositiveInt = 2,
        pool: PositiveInt = 1,
        out_dim: PositiveInt | None = None,
    ) -> None:
        widths = [width * 2**stage for stage in range(stages)]
        blocks = [_residual(a, b, 2) for a, b in pairwise(widths)]
        super().__init__(
            Conv2dNormActivation(in_channels, width, 3, stem_stride),
            _residual(width, width, 1),
            *blocks,
            nn.AdaptiveAvgPool2d(pool),
            nn.Flatten(),
        )
        # channels of the last map; the name is timm's, and so are `forward_features` and `forward_head`
        self.num_features = widths[-1]
        self.out_dim = widths[-1] * pool**2
        if out_dim is not None:
            self.append(nn.Linear(self.out_dim, out_dim))
            self.out_dim = out_dim

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_features, h, w), the last feature map."""
        for layer in itertools.takewhile(lambda layer: not isinstance(layer, nn.AdaptiveAvgPool2d), self):
            x = layer(x)
        return x

    def forward_head(self, x: Tensor) -> Tensor:
        """(B, num_features, h, w) -> (B, D), the rest of `forward`."""
        for layer in itertools.dropwhile(lambda layer: not isinstance(layer, nn.AdaptiveAvgPool2d), self):
            x = layer(x)
        return x


class MLP(nn.Sequential):
    """Linear layers with ReLU between them, from the pixels of an image to a code (Hinton & Salakhutdinov 2006).

    Args:
        size: side of the square images.
        hidden_dims: widths of the hidden layers.
        out_dim: D, width of the code.
    """

    kinds = ("image",)

    def __init__(
        self, in_channels: int = 1, size: int = 28, hidden_dims: Sequence[PositiveInt] = (128,), out_dim: int = 32
    ) -> None:
        super().__init__(nn.Flatten(), *mlp(in_channels * size**2, *hidden_dims, out_dim, norm=False))
        self.out_dim = out_dim


_NOT_LOADED = "cannot be loaded; without a network, use backbone.pretrained=false, or pretrained=false of ssl-evaluate"


def resnet(
    name: str = "resnet18",
    in_channels: PositiveInt = 3,
    stem: Literal["cifar", "imagenet"] = "imagenet",
    pretrained: bool = False,
) -> nn.Module:
    """A torchvision ResNet without its classifier.

    The 'cifar' stem, for images of about 32 pixels, is a 3x3 convolution without max-pooling (SimCLR, App. B.9, Chen et
    al. 2020).

    Raises:
        InputError: torchvision has no such ResNet, or its pretrained weights do not fit stem or channels or cannot be
            loaded.
    """
    known = [n for n in torchvision.models.list_models(module=torchvision.models) if n.startswith("resnet")]
    if name not in known:
        raise InputError(f"backbone.name={name} is not a torchvision ResNet; known are {', '.join(known)}")
    if pretrained and (stem != "imagenet" or in_channels != 3):
        raise InputError("backbone.pretrained=true needs backbone.stem=imagenet and color images (3 channels)")
    with told(f"the weights of {name} {_NOT_LOADED}", OSError):
        net = torchvision.models.get_model(name, weights="DEFAULT" if pretrained else None)
    if stem == "cifar":
        net.conv1 = nn.Conv2d(in_channels, 64, 3, 1, 1, bias=False)
        net.maxpool = nn.Identity()
    elif in_channels != 3:
        net.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
    net.out_dim = net.fc.in_features
    net.fc = nn.Identity()
    return net


resnet.kinds = ("image", "feature map")  # type: ignore[attr-defined]


def timm_model(
    name: str,
    in_channels: PositiveInt = 3,
    image_size: PositiveInt | None = None,
    pretrained: bool = False,
    **options: Any,
) -> nn.Module:
    """Any image model of timm without its classifier.

    `image_size` is held against that of a model that takes one alone; None: it is not known. `options` are passed to
    `timm.create_model` (img_size, patch_size ...).

    Raises:
        InputError: timm has no such model, the model refuses an option or images of this size, or its weights cannot be
            loaded.
    """
    import timm

    if loading := {"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"} & set(options):
        raise InputError(
            f"backbone.{min(loading)} is not taken: a file could run code; give pretrained weights by name"
        )
    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=5)) or "see timm.list_models()"
        raise InputError(f"backbone.name={name} is not a timm model; near it: {near}")
    loaded = told(f"the weights of {name} {_NOT_LOADED}", OSError, RuntimeError) if pretrained else nullcontext()
    with loaded, told(f"timm's {name} refuses the options of backbone", TypeError):
        net = timm.create_model(name, pretrained=pretrained, in_chans=in_channels, num_classes=0, **options)
    embed: Any = getattr(net, "patch_embed", None)
    size = embed.img_size[0] if getattr(embed, "strict_img_size", False) else image_size
    if image_size not in (None, size):
        raise InputError(
            f"timm's {name} takes images of {size} pixels: data.image_size={size}, or +backbone.img_size={image_size}"
        )
    net.out_dim = getattr(net, "head_hidden_size", net.num_features)
    return net


timm_model.kinds = ("image", "feature map")  # type: ignore[attr-defined]


class TransformersEncoder(nn.Module):
    """An image model of transformers, (B, C, H, W) -> (B, D): its pooled map, or its class token."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._pools = not any(True for _ in getattr(model, "pooler", nn.Identity()).parameters())

    def forward(self, x: Tensor) -> Tensor:
        out = self.model(pixel_values=x)
        pooled = getattr(out, "pooler_output", None) if self._pools else None
        return out.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)


def transformers_model(name: str, in_channels: PositiveInt = 3, pretrained: bool = False) -> nn.Module:
    """Of a checkpoint of transformers, by its folder or its name on the hub, or an architecture: vit, resnet ...

    Raises:
        InputError: there is none, or it has no weights.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()
    with told(f"transformers cannot open {name}", name=name):
        if name in transformers.CONFIG_MAPPING and not pretrained:
            settings: Any = transformers.CONFIG_MAPPING[name]
            config = settings(num_channels=in_channels)
        else:
            config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        made = transformers.AutoModel
        make, where = (made.from_pretrained, name) if pretrained else (made.from_config, config)
        model = make(where, trust_remote_code=False)
    if model.main_input_name != "pixel_values":
        raise InputError(f"transformers:{name} reads {model.main_input_name}, not images")
    return TransformersEncoder(model)
