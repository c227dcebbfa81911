"""HuBERT: what is clustered, and to which frame of a changed clip a cluster belongs."""

import librosa
import pytest
import torch
from methods.recipe import make_batch, make_method

from ssl_lightning.methods.hubert import HuBERT, _differences
from ssl_lightning.transforms.audio import Perturbed


def test_differences_are_those_of_librosa() -> None:
    x = torch.randn(2, 3, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    padded = torch.cat([x[..., :1].expand(-1, -1, 9), x, x[..., -1:].expand(-1, -1, 9)], dim=2)  # the ends are repeated
    expected = torch.from_numpy(librosa.feature.delta(padded.numpy(), width=9))[..., 9:-9]
    torch.testing.assert_close(_differences(x), expected)


@pytest.mark.parametrize("reach", [0.0, 0.3])
def test_the_target_of_a_changed_clip_is_the_cluster_of_the_same_moment(reach: float) -> None:
    """A frame's middle is at `begin` + `pace` times its own sample; frames that no longer fit have the last cluster."""
    method, batch = make_method("hubert"), make_batch("hubert")
    assert isinstance(method, HuBERT)
    encoder = method.backbone
    clusters = method.targets(batch, encoder.visible(batch["length"], 800))
    changed = Perturbed(reach, longest=500)(batch, torch.Generator().manual_seed(1))
    assert changed["waveform"].shape == (16, 500)
    visible = encoder.visible(changed["length"], 500)
    found = method.targets(changed, visible)
    assert found.shape == visible.shape
    for row in range(16):
        frames = int(encoder.frames(batch["length"][row]))
        for t in range(int(visible[row].sum())):
            middle = float(changed["begin"][row] + changed["pace"][row] * (encoder.hop * t + encoder.window / 2))
            place = min(max(round((middle - encoder.window / 2) / encoder.hop), 0), frames - 1)
            assert found[row, t] == clusters[row, place]
    assert changed["begin"].max() > 0
