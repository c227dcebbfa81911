"""Conversion between sRGB and CIE Lab, with the constants of scikit-image's rgb2lab.

Images are (..., 3, H, W). Lab is for illuminant D65 and the 2 degree observer. The lightness L is in [0, 100]. For sRGB
colors, a (green to red) is in [-87, 99] and b (blue to yellow) in [-108, 95].
"""

import torch
from torch import Tensor

XYZ_OF_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.95047, 1.0, 1.08883)
EPSILON, SLOPE, OFFSET = 0.008856, 7.787, 16 / 116
"""Below EPSILON, Lab replaces its cube root by a line with this slope and offset."""


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """sRGB in [0, 1] to Lab, both (..., 3, H, W)."""
    linear = torch.where(rgb > 0.04045, ((rgb.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = _mix(linear, torch.tensor(XYZ_OF_RGB, dtype=torch.float64) / torch.tensor(WHITE)[:, None])
    x, y, z = torch.where(xyz > EPSILON, xyz.clamp_min(EPSILON) ** (1 / 3), SLOPE * xyz + OFFSET).unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-3)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Lab to sRGB, both (..., 3, H, W); colors outside the gamut are clamped to [0, 1]."""
    linear = lab_to_linear(lab).clamp(0, 1)
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055, 12.92 * linear)


def lab_to_linear(lab: Tensor) -> Tensor:
    """Lab to linear RGB, both (..., 3, H, W); outside [0, 1] for colors outside the gamut."""
    L, a, b = lab.unbind(-3)
    y = (L + 16) / 116
    root = torch.stack([y + a / 500, y, (y - b / 200).clamp_min(0)], dim=-3)
    xyz = torch.where(root > SLOPE * EPSILON + OFFSET, root**3, (root - OFFSET) / SLOPE)
    return _mix(xyz, torch.linalg.inv(torch.tensor(XYZ_OF_RGB, dtype=torch.float64)) * torch.tensor(WHITE))


def scaled_lightness(lab: Tensor) -> Tensor:
    """Lab (..., 3, H, W) -> its lightness (..., 1, H, W), scaled to [-1, 1]: the input of networks."""
    return lab[..., :1, :, :] / 50 - 1


def lightness(scaled: Tensor) -> Tensor:
    """The inverse of `scaled_lightness`: L in [0, 100]."""
    return 50 * (scaled + 1)


def _mix(x: Tensor, matrix: Tensor) -> Tensor:
    """Multiplies the channels of (..., 3, H, W) by matrix (3, 3), in the precision of `x` even under autocast."""
    return (matrix.to(x)[:, :, None, None] * x.unsqueeze(-4)).sum(dim=-3)
