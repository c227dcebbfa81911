"""Losses of image-text pairs: an image attracts its caption, and repels the captions of the other images of the batch.

CLIP's softmax, Radford et al. 2021, https://arxiv.org/abs/2103.00020; SigLIP's sigmoid, Zhai et al. 2023,
https://arxiv.org/abs/2303.15343. Both are computed in float32 or better, even under autocast.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ssl_lightning import distributed
from ssl_lightning.losses.precision import in_float32


@in_float32(same=2, axes=2)
def clip_loss(image: Tensor, text: Tensor, scale: Tensor, same: Tensor | None = None) -> Tensor:
    """CLIP, Fig. 3: scalar, the mean of the cross-entropies of finding each image's text, and each text's image.

    The candidates are those of all ranks, the anchors those of this one: memory is linear in B. The mean over ranks is
    the loss of the global batch. Equal embeddings give log(B W). It is open_clip's `ClipLoss`.

    Args:
        image, text: (B, K) projections of the same pairs, normalized here.
        scale: by which cosine similarities are multiplied, 1 / temperature; it may have a gradient.
        same: (B, W * B) bool from `same_pairs`: candidates that are left out, but for the anchor's own.
    """
    image, text = F.normalize(image, dim=1), F.normalize(text, dim=1)
    own = torch.arange(len(image), device=image.device) + distributed.rank() * len(image)
    losses = []
    for anchors, candidates in ((image, text), (text, image)):
        logits = scale * (anchors @ distributed.gather(candidates).T)  # (B, W * B)
        if same is not None:
            logits = logits.masked_fill(same.scatter(1, own[:, None], False), float("-inf"))
        losses.append(F.cross_entropy(logits, own))
    return (losses[0] + losses[1]) / 2


@in_float32(same=2, axes=2)
def siglip_loss(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, same: Tensor | None = None) -> Tensor:
    """SigLIP, Sec. 3.2: scalar, a logistic regression of whether an image and a text are a pair, summed over texts.

    Each image of this rank meets the texts of one rank at a time (Sec. 3.3), whose B x B logits are computed again in
    the backward pass. The mean over ranks is the loss of the global batch. Logits of 0 give B W log(2). It is
    open_clip's `SigLipLoss`.

    Args:
        image, text: (B, K) projections of the same pairs, normalized here.
        scale, bias: of the logits `scale * cosine + bias`.
        same: (B, W * B) bool from `same_pairs`: pairs that do not count, but for the anchor's own.
    """
    image, text = F.normalize(image, dim=1), F.normalize(text, dim=1)
    texts = distributed.gather(text)
    B, own = len(image), torch.arange(len(image), device=image.device)
    total = image.new_zeros(())
    for rank, part in enumerate(texts.split(B)):
        sign = torch.full((B, B), -1.0, device=image.device, dtype=image.dtype)
        if same is not None:
            sign[same[:, rank * B : (rank + 1) * B]] = 0
        if rank == distributed.rank():
            sign[own, own] = 1
        total = total + checkpoint(_sigmoid_sum, image, part, sign, scale, bias, use_reentrant=False)
    return total / B


def _sigmoid_sum(image: Tensor, text: Tensor, sign: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """`sign` (B, B): 1 for a pair, -1 for none, 0 for what does not count."""
    return -(F.logsigmoid(sign * (scale * (image @ text.T) + bias)) * sign.abs()).sum()


@torch.no_grad()
def same_pairs(*columns: Tensor) -> Tensor:
    """Which samples of this rank (B) equal which of all ranks (W * B) in any of the columns (B, ...): (B, W * B) bool.

    Columns of any integers, such as tokens and pixels, are compared by hashes of 64 bits.
    """
    hashes = torch.stack([_hash(column) for column in columns], dim=1)
    return (hashes[:, None] == distributed.gather(hashes)).any(dim=2)


def _hash(rows: Tensor) -> Tensor:
    """(B, ...) integers -> (B,) int64: a random linear function modulo 2^64."""
    rows = rows.flatten(1)
    if rows.dtype == torch.uint8:  # eight pixels at a time
        rows = F.pad(rows, (0, -rows.shape[1] % 8)).view(torch.int64)
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, rows.shape[1:], generator=generator) * 2 + 1
    return (rows * factors.to(rows.device)).sum(dim=1)
