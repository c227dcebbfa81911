"""The encoder of sound: that of transformers, and blind to padding."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.errors import InputError
from ssl_lightning.modules.backbones.audio import AudioEncoder, audio_encoder

SIZES: dict[str, Any] = {
    "width": 16,
    "layers": 3,
    "heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8, 8, 8],
    "conv_kernel": [10, 4, 2],
    "conv_stride": [5, 2, 2],
    "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
}
LENGTHS = torch.tensor([400, 397, 210, 40, 1])


def make(architecture: Any = "wav2vec2", **changes: Any) -> AudioEncoder:
    torch.manual_seed(0)
    return audio_encoder(architecture, **{"sample_rate": 8000, "dropout": 0.0, **SIZES, **changes}).eval()


def clips(S: int = 400) -> Tensor:
    """Padded with anything but silence: it is not to be heard."""
    return 0.3 * torch.randn(len(LENGTHS), S, generator=torch.Generator().manual_seed(0)) + 0.1


def through_transformers(encoder: AudioEncoder, waveform: Tensor, **more: Any) -> Any:
    """By transformers' own feature extractor, one clip at a time."""
    extractor = transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000, do_normalize=True)
    values = extractor(waveform.numpy(), sampling_rate=8000, return_tensors="pt").input_values
    return encoder.model.eval()(values, **more)


@pytest.mark.parametrize("stable", [True, False])
@pytest.mark.parametrize("architecture", ["wav2vec2", "hubert"])
def test_it_computes_what_transformers_computes(architecture: str, stable: bool) -> None:
    encoder = make(architecture, do_stable_layer_norm=stable)
    h, visible = encoder.hidden(clips(), LENGTHS)
    assert visible.sum(dim=1).tolist() == encoder.frames(LENGTHS).tolist() == [19, 19, 9, 1, 1]
    for row in range(3):  # those that have a whole window
        expected = through_transformers(encoder, clips()[row, : LENGTHS[row]]).last_hidden_state[0]
        torch.testing.assert_close(h[row, visible[row]], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(encoder(clips(), LENGTHS)[row], expected.mean(dim=0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"layer": 1}, {"layer": 2}, {"segments": 4}, {"mels": 20}])
def test_padding_changes_nothing(changes: dict[str, int]) -> None:
    encoder = make(**changes)
    wide = torch.cat([clips(), torch.full((len(LENGTHS), 300), 9.0)], dim=1)
    torch.testing.assert_close(encoder(wide, LENGTHS), encoder(clips(), LENGTHS), atol=1e-5, rtol=1e-5)
    alone = encoder(clips()[2:3, :210])
    torch.testing.assert_close(encoder(wide, LENGTHS)[2:3], alone, atol=1e-5, rtol=1e-5)
    assert encoder(wide, LENGTHS).isfinite().all()
    assert encoder(torch.zeros(2, 400)).isfinite().all()  # silence


def test_segments_tell_the_order_of_the_frames() -> None:
    encoder, whole = make(segments=3), make()
    found = encoder(clips(), LENGTHS).view(len(LENGTHS), encoder.out_dim, 2 + 3)
    h, visible = whole.hidden(clips(), LENGTHS)
    torch.testing.assert_close(found[..., 0], whole(clips(), LENGTHS))
    torch.testing.assert_close(found[2, :, 1:4], torch.stack([h[2, t : t + 3].mean(dim=0) for t in (0, 3, 6)], dim=1))
    assert visible[2].sum() == 9
    assert found.isfinite().all()  # also of a single frame
    assert audio_encoder(**encoder.arguments).segments == 3


def test_log_mel_frames_are_those_around_the_middle_of_the_windows(tmp_path: Path) -> None:
    encoder = make(mels=20, conv_dim=[8], conv_kernel=[320], conv_stride=[160])
    waveform = 0.1 * torch.randn(2, 1600)
    features, visible = encoder.features(waveform)
    assert features.shape == (2, 9, 8)
    assert visible.all()
    front = encoder.model.feature_extractor
    quiet = (waveform - waveform.mean(dim=1, keepdim=True)) / waveform.std(dim=1, correction=0, keepdim=True)
    spectrum = torch.fft.rfft(quiet[:, 352:608] * torch.hann_window(256)).abs().square()  # around sample 2 * 160 + 160
    bands = 10 * (spectrum[:, None] @ front.log_mel.filters.T).log10()[:, 0]
    expected = F.gelu(bands / 20 @ front.layer.weight[..., 0].T + front.layer.bias)
    torch.testing.assert_close(features[:, 2], expected, atol=1e-4, rtol=1e-4)
    assert audio_encoder(**encoder.arguments).mels == 20
    with pytest.raises(InputError, match="log-mel"):
        encoder.save_pretrained(tmp_path)


def test_layers_and_masks() -> None:
    encoder = make()
    features, visible = encoder.features(clips(), LENGTHS)
    masked = torch.zeros_like(visible)
    masked[0, 3:6] = True
    taken = through_transformers(encoder, clips()[0], mask_time_indices=masked[:1], output_hidden_states=True)
    h = encoder.context(features, visible, masked)
    torch.testing.assert_close(h[0], taken.last_hidden_state[0], atol=1e-5, rtol=1e-5)
    first = taken.hidden_states[1]
    expected = (first - first.mean(dim=2, keepdim=True)) / (
        first.var(dim=2, keepdim=True, unbiased=False) + 1e-5
    ).sqrt()
    found = encoder.context(features, visible, masked, layer=1)
    torch.testing.assert_close(found[0], expected[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(encoder.normalized(features)[0], taken.extract_features[0], atol=1e-5, rtol=1e-5)


def test_hop_and_window() -> None:
    encoder = make()
    assert (encoder.hop, encoder.window) == (20, 10 + 3 * 5 + 1 * 10)
    assert encoder.frames(torch.tensor([encoder.window, encoder.window + encoder.hop])).tolist() == [1, 2]


def test_the_same_network_again(tmp_path: Path) -> None:
    encoder = make(layer=2)
    again = audio_encoder(**encoder.arguments)
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again.eval()(clips(), LENGTHS), encoder(clips(), LENGTHS))
    encoder.model.save_pretrained(tmp_path)
    loaded = audio_encoder(pretrained=str(tmp_path), layer=2).eval()
    assert torch.equal(loaded(clips(), LENGTHS), encoder(clips(), LENGTHS))


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"backbone.conv_dims is not an option .*; did you mean conv_dim"):
        make(conv_dims=[8])
    with pytest.raises(InputError, match="transformers refuses this wav2vec2"):
        make(heads=3)
    with pytest.raises(InputError, match=r"backbone.layer=4 is none of the 3 layers"):
        make(layer=4)
    with pytest.raises(InputError, match=r"cannot be loaded"):
        audio_encoder(pretrained=str(tmp_path))
    transformers.BertConfig(hidden_size=8, num_attention_heads=1, num_hidden_layers=1, vocab_size=9).save_pretrained(
        tmp_path
    )
    transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(tmp_path)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="is a bert, not wav2vec2 or hubert"):
        audio_encoder(pretrained=str(tmp_path))
