"""HuBERT: what is clustered, and what is embedded."""

import librosa
import pytest
import torch
from methods.recipe import make_batch, make_method
from torch.nn import functional as F

from ssl_lightning.errors import InputError
from ssl_lightning.methods.hubert import HuBERT, _differences
from ssl_lightning.modules.masking import span_mask
from ssl_lightning.randomness import seed_generators


def test_differences_are_those_of_librosa() -> None:
    x = torch.randn(2, 3, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    padded = torch.cat([x[..., :1].expand(-1, -1, 9), x, x[..., -1:].expand(-1, -1, 9)], dim=2)  # the ends are repeated
    expected = torch.from_numpy(librosa.feature.delta(padded.numpy(), width=9))[..., 9:-9]
    torch.testing.assert_close(_differences(x), expected)


def test_a_teacher_has_the_layer_that_is_clustered() -> None:
    backbone = make_method("data2vec_audio").backbone
    with pytest.raises(InputError, match=r"method.teacher_layer=3 is none of the 2 layers"):
        HuBERT(backbone, None, None, teacher=backbone, teacher_layer=3)


def test_the_embedding_may_be_the_mean_probability_of_each_cluster() -> None:
    torch.manual_seed(0)
    method, batch = make_method("hubert", embedding="clusters").eval(), make_batch("hubert", B=3)
    found = method.embed(batch, "waveform")
    assert found.shape == (3, method.clusters)
    for waveform, length, share in zip(batch["waveform"], batch["length"], found, strict=True):
        frames = method.backbone.hidden(waveform[None, :length])[0][0]
        cosines = torch.cosine_similarity(method.projector(frames)[:, None], method.embeddings[None], dim=2)
        torch.testing.assert_close(share, (cosines / method.temperature / 2).softmax(dim=1).mean(dim=0))


@pytest.mark.parametrize("alpha", [1.0, 0.25])
def test_the_loss_weighs_masked_frames_and_the_others(alpha: float) -> None:
    method, batch = make_method("hubert", alpha=alpha).eval(), make_batch("hubert", B=3)
    seed_generators(0, 0)
    found = method.loss(batch)
    seed_generators(0, 0)
    features, visible = method.backbone.features(batch["waveform"], batch["length"])
    masked = span_mask(visible, method.start_probability, method.span)
    h = method.backbone.context(features, visible, masked)
    error = F.cross_entropy(method.logits(h.flatten(0, 1)), method.targets(batch, visible).flatten(), reduction="none")
    weight = (torch.where(masked, alpha, 1 - alpha) * visible).flatten()
    torch.testing.assert_close(found["loss"], (weight * error).sum() / weight.sum())
    torch.testing.assert_close(found["weight"], weight.sum())


def test_what_is_clustered_of_a_teacher_has_lost_the_mean_of_its_clip() -> None:
    teacher = make_method("hubert").backbone.eval()
    method, batch = make_method("hubert", teacher=teacher, teacher_layer=1), make_batch("hubert", B=3)
    visible = teacher.visible(batch["length"], batch["waveform"].shape[1])
    found = method._clustered(batch, visible)
    frames = teacher.hidden(batch["waveform"], batch["length"], 1)[0]
    for clip, expected, inside in zip(found, frames, visible, strict=True):
        torch.testing.assert_close(clip[inside], expected[inside] - expected[inside].mean(dim=0))
