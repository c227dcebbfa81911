"""Discrete codes of vectors that a network learns by gradient descent."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_lightning.ranges import PositiveInt


class ProductQuantizer(nn.Module):
    """Chooses one of V codes in each of G groups, (..., C) -> (..., D), by a Gumbel softmax (wav2vec 2.0, Sec. 2).

    Jégou et al. 2011, https://doi.org/10.1109/TPAMI.2010.57; Jang et al. 2016, https://arxiv.org/abs/1611.01144. The
    forward pass takes the code alone, and the gradient is that of the softmax (straight-through). Initial weights are
    those of the authors' code.

    Args:
        in_dim: C.
        groups: G.
        codes: V.
        out_dim: D; each group gives D / G of it.
    """

    def __init__(self, in_dim: int, groups: PositiveInt, codes: PositiveInt, out_dim: int) -> None:
        super().__init__()
        self.scores = nn.Linear(in_dim, groups * codes)
        nn.init.normal_(self.scores.weight)
        nn.init.zeros_(self.scores.bias)
        self.codebook = nn.Parameter(torch.rand(groups, codes, out_dim // groups))

    def forward(
        self, x: Tensor, noise: Tensor | None = None, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The codewords (..., D), the number of each code (..., G), and the probabilities (..., G, V) before noise.

        `noise`: (..., G * V) of the standard Gumbel distribution; None: the most probable codes.
        """
        G, V = self.codebook.shape[:2]
        scores = self.scores(x)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        soft = ((scores if noise is None else scores + noise) / temperature).unflatten(-1, (G, V)).softmax(dim=-1)
        codes = soft.argmax(dim=-1)
        chosen = F.one_hot(codes, V).to(soft) + (soft - soft.detach())
        words = torch.einsum("...gv,gvd->...gd", chosen, self.codebook.to(chosen.dtype)).flatten(-2)
        return words, codes, scores.unflatten(-1, (G, V)).softmax(dim=-1)


def gumbel(uniform: Tensor) -> Tensor:
    """Gumbel noise of numbers drawn uniformly from [0, 1)."""
    return -(-uniform.log()).log()


def perplexity(probabilities: Tensor) -> Tensor:
    """(G, V) -> scalar: exp of the entropy of each group, summed: from G, one code a group, to G * V, all alike."""
    return torch.exp(-torch.xlogy(probabilities, probabilities).sum(dim=-1)).sum()
