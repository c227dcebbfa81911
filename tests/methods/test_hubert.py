"""HuBERT: what is clustered, and what is embedded."""

import librosa
import pytest
import torch
from methods.recipe import make_batch, make_method

from ssl_lightning.errors import InputError
from ssl_lightning.methods.hubert import HuBERT, _differences


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
        torch.testing.assert_close(share, (cosines / method.temperature).softmax(dim=1).mean(dim=0))
