import pytest
import torch

from ssl_lightning.errors import InputError
from ssl_lightning.modules.backbones.simvp import SimVPDecoder, SimVPEncoder


def make(channels: int = 1, frames: int = 3) -> SimVPEncoder:
    return SimVPEncoder(channels, frames, width=4, stages=2, hidden_dim=16, depth=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(channels: int) -> None:
    encoder, clips = make(channels), torch.randn(2, 3, channels, 16, 24)
    assert encoder(clips).shape == (2, encoder.out_dim) == (2, 16)
    state, last = encoder.states(clips)
    assert (state.shape, last.shape) == ((2, 16, 4, 6), (2, 4, 16, 24))
    decoder = SimVPDecoder(encoder, 5, channels)
    assert decoder(state, last).shape == (2, 5, channels, 16, 24)


def test_a_clip_does_not_depend_on_the_others_of_its_batch() -> None:
    encoder = make()
    decoder = SimVPDecoder(encoder, 2, 1)
    clips = torch.randn(4, 3, 1, 8, 8)
    whole, alone = decoder(*encoder.states(clips)), decoder(*encoder.states(clips[1:2]))
    torch.testing.assert_close(whole[1:2], alone)


def test_the_last_frame_alone_is_handed_on() -> None:
    encoder, clips = make(), torch.randn(2, 3, 1, 8, 8)
    torch.testing.assert_close(encoder.states(clips)[1], encoder.stem(clips[:, -1]))


def test_the_order_of_frames_matters() -> None:
    encoder, clips = make(), torch.randn(2, 3, 1, 8, 8)
    assert not torch.allclose(encoder(clips), encoder(clips.flip(1)), atol=1e-4)


def test_frames_are_painted_one_by_one() -> None:
    """The state of frame i is its own part of the channels: others do not reach it."""
    decoder, state, last = (
        SimVPDecoder(SimVPEncoder(width=4, stages=1, hidden_dim=16), 3, 1),
        torch.randn(2, 16, 4, 4),
        torch.randn(2, 4, 8, 8),
    )
    before = decoder(state, last)
    with torch.no_grad():
        decoder.spread.bias[:8] += 1  # of 3 frames with 8 channels each
    changed = (decoder(state, last) != before).flatten(2).any(dim=2)
    assert changed.tolist() == [[True, False, False]] * 2


@pytest.mark.parametrize("shape", [(2, 4, 1, 8, 8), (2, 3, 1, 10, 8)])
def test_clips_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"do not fit backbone.frames=3 and backbone.stages=2"):
        make()(torch.randn(shape))
