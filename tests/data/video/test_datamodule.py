from functools import partial

import pytest
import torch

from ssl_lightning.data.image.digits import digit_glyphs
from ssl_lightning.data.video.datamodule import VideoDataModule
from ssl_lightning.data.video.moving_digits import moving_digits
from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.protocol import PROTOCOLS
from ssl_lightning.transforms.pretext.next_frame import Frames
from ssl_lightning.transforms.views import EvaluationView

MEAN, STD = [0.1], [0.2]


def make(**changes) -> VideoDataModule:
    frames = changes.get("frames", 6)
    source = partial(moving_digits, glyphs=digit_glyphs, frames=frames, size=16, glyph_size=8, digits=1)
    options = {
        "frames": frames,
        "image_size": 16,
        "channels": 1,
        "mean": MEAN,
        "std": STD,
        "batch_size": 32,
        "val_size": 100,
    }
    return VideoDataModule(source, "", Frames(16, MEAN, STD), **{**options, **changes})


def test_batches_of_clips() -> None:
    data = make()
    data.setup()
    batch = next(iter(data.features_loader("probe_train")))
    assert batch["video"].shape == (32, 6, 1, 16, 16)
    assert batch["video"].dtype == torch.uint8
    assert {"index", "label"} <= set(batch)
    assert data.num_classes == 10
    assert set(VideoDataModule.provides) <= set(batch)


def test_no_digit_is_in_training_and_validation() -> None:
    data = make()
    data.setup()
    assert not set(data.train.groups) & set(data.val.groups)
    assert not set(data.test.groups) & {*data.train.groups, *data.val.groups}


def test_transform_and_plain_normalize_alike() -> None:
    data = make()
    data.setup()
    batch = data.train.__getitems__(range(5))
    expected = (batch["video"] / 255 - MEAN[0]) / STD[0]
    made = data.augment(batch, seed=0)
    torch.testing.assert_close(made["frames"], expected)
    plain = data.modality.evaluation_view({"video": batch["video"]})
    assert list(plain) == ["video"]
    torch.testing.assert_close(plain["video"], expected)


def test_color_frames_keep_their_channels() -> None:
    video = torch.randint(0, 256, (2, 3, 3, 8, 8), dtype=torch.uint8)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    made = Frames(8, mean, std)({"video": video})["frames"]
    expected = (video / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(made, expected)


def test_frames_are_resized_like_images() -> None:
    video = torch.randint(0, 256, (2, 3, 1, 12, 10), dtype=torch.uint8)
    made = Frames(8, MEAN, STD)({"video": video})["frames"]
    assert made.shape == (2, 3, 1, 8, 8)
    torch.testing.assert_close(made[:, 1], EvaluationView(8, MEAN, STD)({"image": video[:, 1]})["image"])


def test_raw_control_is_a_probe_of_mean_frames() -> None:
    """It costs what that of images costs, however long the clips are."""
    data, protocol = make(), PROTOCOLS["v1"]
    data.setup("test")
    name, figures = data.modality.raw_control(data, protocol, torch.device("cpu"))
    rows = torch.arange(300)
    parts = {}
    for split, part in (("train", data.probe_train.subset(rows.numpy())), ("test", data.test)):
        clips = part.__getitems__(range(len(part)))["video"].float() / 255
        features = ((clips - MEAN[0]) / STD[0]).mean(dim=1).flatten(1)
        parts[split] = {"features": features, "labels": torch.as_tensor(part.labels)}
    assert parts["test"]["features"].shape[1] == 16 * 16
    assert name == "raw input, mean frame"
    expected = protocol.run(parts["train"], parts["test"], 10, groups=data.groups("test"))
    assert figures(rows, 0) == pytest.approx(expected, abs=2e-3)


def test_refused() -> None:
    with pytest.raises(InputError, match=r"data.mean and data.std must have one number for each"):
        make(channels=3)
