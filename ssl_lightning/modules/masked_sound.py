"""What methods of sound share: clips that may be padded, of whose frames spans are hidden."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from ssl_lightning.modules.masking import span_mask


class MaskedSound:
    """Mixed into a method with a `start_probability` and a `span` of masks, whose `backbone` is an encoder of sound."""

    requires: ClassVar[tuple[str, ...]] = ("waveform", "length")
    backbone_kind: ClassVar[str] = "audio"
    min_batch_size: ClassVar[int] = 1

    def forward(self: Any, x: Tensor, length: Tensor | None = None) -> Tensor:
        """Clips (B, S), of which the first `length` (B,) samples count, by default all, to (B, D)."""
        return self.backbone(x, length)

    def embed(self: Any, batch: Mapping[str, Any], key: str) -> Tensor:
        return self(batch[key], batch.get("length"))

    def masked_frames(self: Any, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Frames (B, T, C) of the convolutions; which are `visible`, no padding, and which `masked`, (B, T) each."""
        features, visible = self.backbone.features(batch["waveform"], batch["length"])
        return features, visible, span_mask(visible, self.start_probability, self.span)
