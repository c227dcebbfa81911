"""Next frame prediction (the Future Predictor of Srivastava, Mansimov and Salakhutdinov 2015).

https://arxiv.org/abs/1502.04681. The network is SimVP's (Gao et al. 2022, https://arxiv.org/abs/2206.05099).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.errors import InputError
from ssl_lightning.losses.pixels import channel_errors, gradient_difference
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.simvp import SimVPDecoder, SimVPEncoder
from ssl_lightning.ranges import NonNegativeFloat, PositiveInt


class NextFrame(Method):
    """Predicts the frames that follow a few input frames, all at once.

    The mean squared error blurs what is uncertain, because its optimum is the mean over possible futures. The gradient
    difference loss (Mathieu et al. 2015, https://arxiv.org/abs/1511.05440) is added to keep edges. Deviation:
    Srivastava et al. use cross-entropy alone.

    Logs, for pixels in [0, 1]: `error`; `persistence_error`, of repeating the last input frame; `mean_frame_error`, of
    the mean of the input frames; and `sharpness`, the gradients of the predicted frames divided by those of the true
    frames, 1 without blur.

    Args:
        backbone: encodes the input frames and determines their number.
        num_future_frames: number of frames to predict.
        channels: C of the frames.
        std: (C,), by which the transform divided pixels.
        gradient_loss_weight: weight of the gradient difference loss.
    """

    requires = ("frames",)
    backbone_kind = "clip"
    min_batch_size = 1
    figures = {
        "val/error": ("squared error of frames to come", "{:.5f}"),
        "val/persistence_error": ("... of the last frame seen", "{:.5f}"),
        "val/mean_frame_error": ("... of the mean of the frames seen", "{:.5f}"),
    }

    backbone: SimVPEncoder
    num_future_frames: PositiveInt
    channels: PositiveInt
    std: Sequence[float]
    gradient_loss_weight: NonNegativeFloat = 0.1

    def __post_init__(self) -> None:
        self.decoder = SimVPDecoder(self.backbone, self.num_future_frames, self.channels)
        self.variance = nn.Buffer(torch.tensor(list(self.std)).square(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The embedding (B, D) of the first frames of clips (B, T, C, H, W), as many as in training."""
        return self.backbone(x[:, : self.backbone.frames])

    def predict(self, seen: Tensor) -> Tensor:
        """(B, seen, C, H, W) -> (B, num_future_frames, C, H, W)."""
        return self.decoder(*self.backbone.states(seen))

    def generate(self, batch: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """The frames given, and the next `options["frames"]`."""
        return {"seen": batch["frames"], "predicted": self.continued(batch["frames"], options["frames"])}

    @torch.no_grad()
    def continued(self, frames: Tensor, count: int) -> Tensor:
        """The `count` frames behind clips (B, T, C, H, W), T being at least as many as are seen: (B, count, C, H, W).

        Those beyond `num_future_frames` are painted from painted ones.
        """
        T = frames.shape[1]
        if self.backbone.frames > T:
            raise InputError(f"there are {T} frames, but {self.backbone.frames} must be seen to paint the next ones")
        while frames.shape[1] < T + count:
            frames = torch.cat([frames, self.predict(frames[:, -self.backbone.frames :])], dim=1)
        return frames[:, T : T + count]

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Mean squared error, plus the weighted gradient difference loss, of the predicted frames."""
        seen, true = self._parts(batch["frames"])
        state, last = self.backbone.states(seen)
        predicted = self.decoder(state, last)
        loss = channel_errors(predicted, true).mean()
        if self.gradient_loss_weight:
            loss = loss + self.gradient_loss_weight * gradient_difference(predicted, true)
        with torch.no_grad():
            expected = self.controls(batch["frames"])
            controls = {f"{name.replace(' ', '_')}_error": self._error(x, true) for name, x in expected.items()}
            sharpness = _slope(predicted) / _slope(true).clamp(min=1e-6)
        error = self._error(predicted.detach(), true)
        embedding = state.detach().mean(dim=(2, 3))
        return {"loss": loss, "embedding": embedding, "error": error, **controls, "sharpness": sharpness}

    def predictions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The frames that came in clips (B, T, C, H, W), and those predicted: (B, num_future_frames, C, H, W)."""
        seen, true = self._parts(x)
        return true, self.predict(seen)

    def controls(self, x: Tensor) -> dict[str, Tensor]:
        """The last frame seen, again and again ("nothing moves"), and the mean of the frames seen."""
        seen, true = self._parts(x)
        frames = {"persistence": seen[:, -1:], "mean frame": seen.mean(dim=1, keepdim=True)}
        return {name: frame.expand_as(true) for name, frame in frames.items()}

    @torch.no_grad()
    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Input frames, predicted frames and true frames: (B, T, C, H, W) each."""
        seen, true = self._parts(batch["frames"])
        return {"seen": seen, "predicted": self.predict(seen), "true": true}

    def _parts(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.backbone.frames
        if frames.shape[1] < seen + self.num_future_frames:
            raise InputError(
                f"clips of data.frames={frames.shape[1]} are shorter than the {seen} frames seen (backbone.frames) and"
                f" the {self.num_future_frames} to come (method.num_future_frames)"
            )
        return frames[:, :seen], frames[:, seen : seen + self.num_future_frames]

    def _error(self, predicted: Tensor, true: Tensor) -> Tensor:
        return (channel_errors(predicted, true) * self.variance).mean()


def _slope(frames: Tensor) -> Tensor:
    """Mean absolute difference between horizontal and vertical neighbors."""
    return (frames.diff(dim=-1).abs().mean() + frames.diff(dim=-2).abs().mean()) / 2
