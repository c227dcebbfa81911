"""Views of images, and of their several captions one each."""

import torch

from ssl_lightning.transforms.image_text import ImageText
from ssl_lightning.transforms.ops import CentralSquare
from ssl_lightning.transforms.views import Chain


def test_each_caption_of_an_image_is_drawn_equally_often() -> None:
    B, counts = 6000, torch.tensor([1, 2, 3]).repeat(2000)
    captions = torch.arange(3).expand(B, 3)[..., None].contiguous()  # (B, M, 1): each holds its number
    batch = {
        "image": torch.zeros(B, 1, 2, 2, dtype=torch.uint8),
        "tokens": captions[:, 0],
        "captions": captions,
        "caption_count": counts,
    }
    transform = ImageText({"first": Chain(square=CentralSquare(2))}, [0.0], [1.0])
    made = transform(batch, torch.Generator().manual_seed(0))
    assert made["views"][0].shape == (B, 1, 2, 2)
    for count in (1, 2, 3):
        share = torch.bincount(made["tokens"][counts == count, 0], minlength=3) / 2000
        assert (share[count:] == 0).all()
        assert (share[:count] - 1 / count).abs().max() < 0.04
    again = transform(batch, torch.Generator().manual_seed(0))
    assert torch.equal(made["tokens"], again["tokens"])
    assert batch["tokens"] is not made["tokens"]
