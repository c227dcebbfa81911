"""HuBERT: what is clustered."""

import librosa
import torch

from ssl_lightning.methods.hubert import _differences


def test_differences_are_those_of_librosa() -> None:
    x = torch.randn(2, 3, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    padded = torch.cat([x[..., :1].expand(-1, -1, 9), x, x[..., -1:].expand(-1, -1, 9)], dim=2)  # the ends are repeated
    expected = torch.from_numpy(librosa.feature.delta(padded.numpy(), width=9))[..., 9:-9]
    torch.testing.assert_close(_differences(x), expected)
