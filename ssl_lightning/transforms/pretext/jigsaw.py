"""The jigsaw puzzle of Noroozi and Favaro, 2016, https://arxiv.org/abs/1603.09246."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssl_lightning.errors import InputError
from ssl_lightning.ranges import NonNegativeInt
from ssl_lightning.transforms.functional import cut, random_integers
from ssl_lightning.transforms.views import Batch, Chain, MultiView

GRID = 3
TILE = 64 / 75
"""Side of a tile divided by the side of its cell (Sec. 3.2). Its random position breaks edges between tiles."""
SMALLEST = 4


class Puzzles(MultiView):
    """Adds `inputs` (B, 9, C, t, t), the shuffled tiles of each image, and `permutation` (B,), its index.

    Place i shows the tile that belongs to place permutations[index][i]; places are numbered row by row.

    Args:
        augment: applied to the image before it is cut; the paper makes 30 % gray, against color shortcuts.
        permutations: (K, 9); each image gets one of them.
        mean: per channel, of images in [0, 1].
        std: likewise.
        channel_shift: shifts the other color channels of a tile by up to this many pixels against the first, inside the
            cell, against chromatic aberration (Sec. 4.2: 2 pixels of 225).
    """

    produces = ("inputs", "permutation")

    def __init__(
        self,
        augment: Chain,
        permutations: Tensor,
        mean: Sequence[float],
        std: Sequence[float],
        channel_shift: NonNegativeInt = 1,
    ) -> None:
        super().__init__({"whole": augment}, mean, std)
        self.channel_shift = channel_shift
        self.permutations = nn.Buffer(permutations, persistent=False)

    def forward(self, batch: Batch, generator: torch.Generator) -> Batch:
        tiles = self._tiles(super().forward(batch, generator)["views"][0], generator)
        targets = random_integers(len(self.permutations), (len(tiles),), generator)
        sample = torch.arange(len(tiles), device=tiles.device)[:, None]
        return {**batch, "inputs": tiles[sample, self.permutations[targets]], "permutation": targets}

    def _tiles(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """(B, C, H, W) -> (B, 9, C, t, t), row by row."""
        B, C, H, W = images.shape
        cell = min(H, W) // GRID
        size = int(cell * TILE)
        if size < SMALLEST:
            raise InputError(f"images of {H} x {W} are too small for a jigsaw of {GRID} x {GRID}: 15 x 15 at least")
        place = random_integers(cell - size + 1, (2, B, GRID**2, 1), generator)
        shift = random_integers(2 * self.channel_shift + 1, (2, B, GRID**2, C), generator) - self.channel_shift
        shift[..., 0] = 0
        down, right = (place + shift).clamp_(0, cell - size)
        number = torch.arange(GRID**2, device=images.device)[:, None]
        top = number // GRID * cell + (H - GRID * cell) // 2
        left = number % GRID * cell + (W - GRID * cell) // 2
        return cut(images, top + down, left + right, size)
