import torch
from torch.nn import functional as F

from ssl_lightning.modules.segment_means import segment_means


def test_they_are_those_of_the_valid_frames_alone() -> None:
    frames, count = torch.randn(5, 3, 40, dtype=torch.float64), torch.tensor([40, 8, 1, 13, 5])
    found = segment_means(frames, count, segments=8).view(5, 3, 10)
    for values, clip, valid in zip(found, frames, count, strict=True):
        own = clip[:, :valid]
        torch.testing.assert_close(values[:, 0], own.mean(dim=1))
        torch.testing.assert_close(values[:, 1:9], F.adaptive_avg_pool1d(own, 8))
        torch.testing.assert_close(values[:, 9], own.std(dim=1, correction=0))
