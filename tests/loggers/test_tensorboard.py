"""TensorBoard as a real writer of real files."""

import pytest
from runs.harness import TINY, train

pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")


def test_tensorboard_has_the_curves_and_the_figures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = ("callbacks.probe.linear_samples=20", "callbacks.pictures.points=50", "logger=tensorboard")
    run = train(tmp_path / "run", *TINY, *options)
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    assert {"train/loss", "val/loss", "probe/knn_accuracy", "epoch"} <= set(events.Tags()["scalars"])
    assert set(events.Tags()["images"]) == {f"figures/{name}" for name in ("views", "curves", "embedding")}
    stored = events.Images("figures/embedding")[-1]
    assert stored.encoded_image_string.startswith(b"\x89PNG")
    assert stored.step == 14
