"""A backbone's last feature map before pooling, for methods that predict something for every pixel."""

import itertools
import math
from typing import Any

from torch import Tensor, nn
from torchvision.models import ResNet

from ssl_lightning.errors import InputError


class FeatureMapBackbone(nn.Module):
    """Wraps a backbone: one pass returns its embedding (B, D) and its last feature map (B, `map_dim`, h, w).

    Supports torchvision's ResNets and networks with timm's `forward_features`, `forward_head` and `num_features`. The
    tokens of a vision transformer become a square map.

    Raises:
        InputError: the backbone has no feature map.
    """

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.out_dim: int = backbone.out_dim
        if not isinstance(backbone, ResNet) and not hasattr(backbone, "forward_features"):
            raise InputError(f"backbone {type(backbone).__name__} has no feature map: use convnet, resnet18 or timm")
        self.map_dim: int = getattr(backbone, "num_features", self.out_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        net = self.backbone
        if isinstance(net, ResNet):
            for stage in itertools.takewhile(lambda child: child is not net.avgpool, net.children()):
                x = stage(x)
            return net.fc(net.avgpool(x).flatten(1)), x
        features = net.forward_features(x)
        return net.forward_head(features), self._as_map(features)

    def _as_map(self, features: Tensor) -> Tensor:
        if features.ndim == 3:  # (B, N, D), class and register tokens first
            patches = features[:, getattr(self.backbone, "num_prefix_tokens", 0) :]
            return patches.transpose(1, 2).unflatten(2, (math.isqrt(patches.shape[1]), -1))
        channels_last = getattr(self.backbone, "output_fmt", "NCHW") == "NHWC"
        return features.permute(0, 3, 1, 2) if channels_last else features
