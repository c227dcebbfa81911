"""Quantized ab colors: Zhang, Isola and Efros, 2016, https://arxiv.org/abs/1603.08511, Sec. 2.1 to 2.3."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lightning.color import rgb_to_lab

REACH = 130
"""Larger than |a| and |b| of any sRGB color."""
NEIGHBORS, SIGMA = 5, 5.0
"""Bins among which a color is distributed, and the standard deviation of the Gaussian that weighs their distances."""


@cache
def gamut_bins(grid: int = 10) -> Tensor:
    """(Q, 2) float32: the points of a grid over the ab plane that surround the colors of 8-bit sRGB.

    They are the corners of all grid squares that contain such a color, so every color is a mean of bins. At grid size
    10 there are 309. The authors' list has 313; the paper does not say how it was made.
    """
    # every pair (a, b) in the gamut also occurs on the surface of the RGB cube, so six faces are enough
    level = torch.arange(256, dtype=torch.float64) / 255
    u, v = torch.meshgrid(level, level, indexing="ij")
    ends = [torch.full_like(u, end) for end in (0, 1)]
    faces = [torch.stack(face) for end in ends for face in ((end, u, v), (u, end, v), (u, v, end))]
    ab = rgb_to_lab(torch.stack(faces))[:, 1:]  # (6, 2, 256, 256)
    start = -REACH // grid
    a, b = (ab / grid).floor().long().sub(start).unbind(1)
    held = torch.zeros(1, 1 - 2 * start, 1 - 2 * start)
    held[0, a, b] = 1
    corners = F.max_pool2d(held, 2, stride=1, padding=1)[0]  # a corner counts if one of its four squares does
    return (corners.nonzero() + start).float() * grid


class ColorBins(nn.Module):
    """Q bins of ab colors: encodes colors as soft targets over bins, decodes distributions over bins to colors."""

    def __init__(self) -> None:
        super().__init__()
        self.centers = nn.Buffer(gamut_bins().clone(), persistent=False)

    def __len__(self) -> int:
        return len(self.centers)

    def encode(self, ab: Tensor) -> tuple[Tensor, Tensor]:
        """(M, 2) colors -> soft targets: bins (M, 5) int64, nearest first, and their weights, which sum to 1."""
        apart = torch.cdist(ab, self.centers.to(ab), compute_mode="donot_use_mm_for_euclid_dist")
        distance, bins = apart.topk(NEIGHBORS, dim=1, largest=False)
        return bins, (-0.5 * (distance / SIGMA) ** 2).softmax(dim=1)

    def decode(self, logits: Tensor, temperature: float = 0.38) -> Tensor:
        """Annealed mean, Eq. 5: (B, Q, h, w) -> ab (B, 2, h, w); temperature 1 is the mean, toward 0 the mode."""
        p = (logits / temperature).softmax(dim=1)
        return torch.einsum("bqhw,qk->bkhw", p, self.centers.to(p))
