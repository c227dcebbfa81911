"""What a method may declare, shown by one that declares it, trained on digits and resumed."""

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn

from ssl_lightning.data.image.datamodule import ImageDataModule
from ssl_lightning.data.image.digits import digits
from ssl_lightning.launch.trainer import make_trainer
from ssl_lightning.methods.base import Method
from ssl_lightning.methods.simclr import SimCLR
from ssl_lightning.modules.backbones.image import ConvNet
from ssl_lightning.optim.groups import parameter_groups
from ssl_lightning.optim.schedules import constant, momentum_cosine
from ssl_lightning.runs.frozen_features import part_features

STEPS = 6


class Codes(Method):
    """Comes near to a mean image that it learned before the first step; notes what it knew in each."""

    requires = ("image",)
    codes: Tensor

    def __init__(self) -> None:
        super().__init__(partial(torch.optim.AdamW, lr=0.1, weight_decay=0.2), constant)
        self.backbone, self.head = nn.Linear(144, 4), nn.Linear(4, 144)
        self.register_buffer("codes", torch.zeros(144))
        self.known: list[tuple[int, float, float]] = []
        self.learned = 0

    def learn_from(self, data: Any) -> None:
        self.learned += 1
        self.codes.copy_(torch.from_numpy(data.train.images).flatten(1).float().mean(dim=0) / 255)

    def groups(self) -> list[dict[str, Any]]:
        first, *others = parameter_groups(self, outputs=[self.head])
        return [{**first, "lr": 0.01, "weight_decay_end": 0.4}, *others]

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x.flatten(1))

    def embed(self, batch: Mapping[str, Any], key: str) -> Tensor:
        return self(batch[key]) * batch["index"][:, None]

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        h = self(batch["image"].float() / 255)
        return {"loss": (self.head(h) - self.codes).square().mean(), "embedding": h.detach()}

    def after_step(self, progress: float) -> None:
        assert progress == self.progress
        self.known.append((self.step, self.progress, self.trainer.optimizers[0].param_groups[0]["weight_decay"]))


class Untransformed(nn.Module):
    requires = produces = ("image",)

    def forward(self, batch: dict[str, Any], generator: torch.Generator) -> dict[str, Any]:
        return batch


def make_data() -> ImageDataModule:
    data = ImageDataModule(
        partial(digits, copies=1, size=12), "", Untransformed(), image_size=12, channels=1, mean=[0.1], std=[0.25],
        batch_size=100, val_size=100,
    )  # fmt: skip
    data.setup()
    return data


class Stop(lightning.Callback):
    """Writes a checkpoint and breaks the training off after a step."""

    def __init__(self, at: int, checkpoint: Path) -> None:
        self.at, self.checkpoint = at, checkpoint

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.global_step == self.at:
            trainer.save_checkpoint(self.checkpoint)
            raise RuntimeError("stopped")


def trained(folder: Path, *callbacks: lightning.Callback, resume: Path | None = None) -> Codes:
    method = Codes()
    trainer = make_trainer(
        accelerator="cpu", callbacks=list(callbacks), logger=False, enable_progress_bar=False,
        default_root_dir=str(folder), max_steps=STEPS,
    )  # fmt: skip
    torch.manual_seed(0)
    with pytest.raises(RuntimeError, match="stopped") if callbacks else nullcontext():
        trainer.fit(method, make_data(), ckpt_path=resume)
    return method


def test_step_progress_and_codes_are_those_of_an_undisturbed_run_after_a_resume(tmp_path: Path) -> None:
    checkpoint = tmp_path / "codes.ckpt"
    whole, stopped = trained(tmp_path), trained(tmp_path, Stop(2, checkpoint))
    resumed = trained(tmp_path, resume=checkpoint)
    assert (whole.learned, stopped.learned, resumed.learned) == (1, 1, 0)
    assert [step for step, _, _ in whole.known] == list(range(STEPS))
    assert [progress for _, progress, _ in whole.known] == pytest.approx([step / STEPS for step in range(STEPS)])
    assert stopped.known + resumed.known == whole.known
    assert torch.equal(resumed.codes, whole.codes)
    assert whole.codes.std() > 0


def test_groups_have_rates_and_a_schedule_of_weight_decay_of_their_own(tmp_path: Path) -> None:
    method = trained(tmp_path)
    hidden, outputs, vectors = method.trainer.optimizers[0].param_groups
    assert [group["lr"] for group in (hidden, outputs, vectors)] == [0.01, 0.1, 0.1]
    assert [group["hidden"] for group in (hidden, outputs, vectors)] == [True, False, False]
    assert outputs["params"][0] is method.head.weight
    expected = [momentum_cosine(step / STEPS, 0.2, 0.4) for step in range(STEPS)]
    assert [decay for _, _, decay in method.known] == pytest.approx(expected)
    assert outputs["weight_decay"] == 0.2


def test_embed_may_use_the_whole_batch() -> None:
    data, method = make_data(), Codes()
    found = part_features(method, data, data.val)
    images = data.modality.evaluation_view(data.val.__getitems__(range(100)))
    expected = method(images["image"]) * images["index"][:, None]
    torch.testing.assert_close(found["features"], expected.detach()[images["index"].argsort()])


class WiderSimCLR(SimCLR):
    """With a setting of its own, and another default of its parent's."""

    hidden_dim: int = 24
    sharpness: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.temperature /= self.sharpness


def test_what_a_method_declares_with_a_type_is_a_setting() -> None:
    backbone = ConvNet(1, 4, 1)
    method = WiderSimCLR(backbone, torch.optim.SGD, constant, temperature=1.0)
    assert (method.projector[0].out_features, method.temperature) == (24, 0.5)
    assert method.backbone is backbone
    assert len({method, WiderSimCLR(backbone, torch.optim.SGD, constant)}) == 2
    assert "projector" in repr(method)
    assert isinstance(copy.deepcopy(method).backbone, ConvNet)
    with pytest.raises(TypeError, match="sharpnes"):
        WiderSimCLR(backbone, torch.optim.SGD, constant, sharpnes=1.0)  # type: ignore[call-arg]


def test_a_network_may_stay_in_evaluation_while_the_method_trains() -> None:
    method = Codes()
    method.in_evaluation = ("head",)
    for trained in (method, copy.deepcopy(method)):
        trained.eval().train()
        assert (trained.training, trained.backbone.training, trained.head.training) == (True, True, False)
    assert Codes().train().head.training


def test_hooks_that_are_declared_and_those_that_are_not() -> None:
    assert Codes.declares("embed")
    assert Codes.declares("learn_from")
    for hook in ("show", "reconstruct", "predictions", "controls", "token_loss"):
        assert not Codes.declares(hook)
    method = Codes()
    assert (method.step, method.progress) == (0, 0)
    assert method.show({}) is method.generate({}, {}) is None
