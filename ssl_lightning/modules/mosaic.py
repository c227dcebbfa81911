"""Nine tiles as one picture."""

import torch.nn.functional as F
from torch import Tensor


def mosaic(tiles: Tensor, line: int = 1) -> Tensor:
    """(B, 9, C, h, w), along the rows -> (B, C, 3h + 2 line, 3w + 2 line), with lines of zeros between them."""
    framed = F.pad(tiles, (0, line, 0, line)).unflatten(1, (3, 3))  # (B, 3, 3, C, h + line, w + line)
    picture = framed.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    return picture[:, :, : picture.shape[2] - line, : picture.shape[3] - line]
