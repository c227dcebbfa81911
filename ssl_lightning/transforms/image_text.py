"""Views of images with captions."""

import torch

from ssl_lightning.transforms.views import Batch, MultiView


class ImageText(MultiView):
    """Adds `views` of every image, and where images have several captions, draws one of each as `tokens` (B, N)."""

    requires = ("image", "tokens")
    produces = ("views", "tokens")

    def forward(self, batch: Batch, generator: torch.Generator) -> Batch:
        if "captions" in batch:
            count = batch["caption_count"]
            unit = torch.rand(len(count), generator=generator, device=generator.device).to(count.device)
            rows = torch.arange(len(count), device=count.device)
            batch = {**batch, "tokens": batch["captions"][rows, (unit * count).long()]}
        return super().forward(batch, generator)
