import pytest
import torch
from methods.recipe import make_batch, make_method
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.losses.pixels import gradient_difference
from ssl_lightning.methods.next_frame import NextFrame


def make(**changes) -> NextFrame:
    method = make_method("next_frame", **changes)
    assert isinstance(method, NextFrame)
    return method


def split(frames: Tensor) -> tuple[Tensor, Tensor]:
    return frames[:, :5], frames[:, 5:10]


def test_the_loss() -> None:
    method, batch = make(gradient_loss_weight=0.3), make_batch("next_frame")
    seen, true = split(batch["frames"])
    predicted = method.predict(seen)
    expected = (predicted - true).square().mean() + 0.3 * gradient_difference(predicted, true)
    torch.testing.assert_close(method.loss(batch)["loss"], expected)
    torch.testing.assert_close(
        make_method("next_frame", gradient_loss_weight=0.0).loss(batch)["loss"].shape, torch.Size([])
    )


def test_the_future_is_not_seen() -> None:
    method, batch = make(), make_batch("next_frame")
    other = {**batch, "frames": torch.cat([batch["frames"][:, :5], torch.randn(16, 5, 1, 32, 32)], dim=1)}
    assert torch.equal(method.loss(batch)["embedding"], method.loss(other)["embedding"])
    assert torch.equal(method(batch["frames"]), method(other["frames"]))
    assert torch.equal(method.show(batch)["predicted"], method.show(other)["predicted"])


def test_errors_and_controls_are_in_pixels_of_0_to_1() -> None:
    method, batch = make(), make_batch("next_frame")
    seen, true = split(batch["frames"] * method.variance.sqrt())
    found = method.loss(batch)
    still, mean = seen[:, -1:], seen.mean(dim=1, keepdim=True)
    torch.testing.assert_close(found["persistence_error"], (still - true).square().mean())
    torch.testing.assert_close(found["mean_frame_error"], (mean - true).square().mean())
    predicted = method.predict(batch["frames"][:, :5]) * method.variance.sqrt()
    torch.testing.assert_close(found["error"], (predicted - true).square().mean().detach())


def test_where_nothing_moves_persistence_is_right() -> None:
    method = make()
    frames = torch.randn(4, 1, 1, 32, 32).expand(-1, 10, -1, -1, -1)
    found = method.loss({"frames": frames})
    assert found["persistence_error"] == 0
    assert found["mean_frame_error"].item() == pytest.approx(0, abs=1e-12)
    true, _ = method.predictions(frames)
    controls = method.controls(frames)
    assert list(controls) == ["persistence", "mean frame"]
    assert torch.equal(controls["persistence"], true)


def test_sharpness() -> None:
    method, batch = make(), make_batch("next_frame")
    predicted, true = method.predict(batch["frames"][:, :5]), batch["frames"][:, 5:]
    slopes = [x.diff(dim=-1).abs().mean() + x.diff(dim=-2).abs().mean() for x in (predicted, true)]
    torch.testing.assert_close(method.loss(batch)["sharpness"], (slopes[0] / slopes[1]).detach())


def test_a_film_goes_on() -> None:
    method, frames = make().eval(), torch.randn(2, 7, 1, 32, 32)
    made = method.continued(frames, 8)
    assert made.shape == (2, 8, 1, 32, 32)
    assert torch.equal(made[:, :5], method.predict(frames[:, 2:]))
    assert torch.equal(made[:, 5:], method.predict(made[:, :5])[:, :3])
    assert not made.requires_grad
    with pytest.raises(InputError, match="there are 4 frames, but 5 must be seen"):
        method.continued(frames[:, :4], 1)


def test_what_it_shows() -> None:
    batch = make_batch("next_frame")
    shown = make().eval().show(batch)
    assert list(shown) == ["seen", "predicted", "true"]
    assert all(column.shape == (16, 5, 1, 32, 32) and not column.requires_grad for column in shown.values())
    assert torch.equal(torch.cat([shown["seen"], shown["true"]], dim=1), batch["frames"])


def test_refused() -> None:
    with pytest.raises(InputError, match=r"clips of data.frames=9 are shorter than the 5 frames seen"):
        make().loss({"frames": torch.randn(2, 9, 1, 32, 32)})
