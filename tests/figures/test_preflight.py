"""What a run says before it begins."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator

from ssl_lightning.data.dataset import ImageDataset
from ssl_lightning.figures.preflight import peak, preflight
from ssl_lightning.methods.simclr import SimCLR
from ssl_lightning.modules.backbones.image import ConvNet
from ssl_lightning.optim.schedules import warmup_cosine


def looked_at(
    samples: int = 4096, batch: int = 256, warmup: int = 16, held_out: int = 100, parts: int = 1
) -> dict[str, str]:
    """SimCLR of 4 epochs."""
    method = SimCLR(ConvNet(in_channels=1, width=8, stages=2), torch.optim.AdamW, warmup_cosine, hidden_dim=32)
    method.total_steps, method.steps_per_epoch = 4 * (samples // batch), samples // batch
    optimizer = torch.optim.AdamW(method.parameters(), lr=0.1)
    schedule = warmup_cosine(optimizer, method.total_steps, method.steps_per_epoch, warmup_steps=warmup)
    part = ImageDataset(torch.zeros(samples, 1, 4, 4, dtype=torch.uint8))
    data = SimpleNamespace(train=part, validation_set=range(held_out) or None, batch_size=batch)
    known = {"lightning_module": method, "datamodule": data, "optimizers": [optimizer], "world_size": 1}
    known |= {"lr_scheduler_configs": [SimpleNamespace(scheduler=schedule)], "accumulate_grad_batches": parts}
    return preflight(SimpleNamespace(**known, accelerator=CPUAccelerator(), precision="32-true"))


def test_a_run_in_a_few_lines():
    found = looked_at()
    assert found["data"].startswith("4,096 samples (")
    assert found["batch"] == "256 over 1 x cpu, 32-true, 510 negatives each"
    assert found["steps"] == "64, 16 an epoch; learning rate 0.1 after 16 of warmup"
    assert found["memory"].endswith("GB before activations (ssl-bench measures them, and the speed)")
    assert found["note"] == ""


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"warmup": 40}, "the warmup takes 40 of 64 steps: train longer"),
        ({"batch": 16}, "few negatives: a data.batch_size of 32 would help"),
        ({"samples": 400, "warmup": 1}, "144 samples of an epoch fill no batch"),
        ({"held_out": 0}, "nothing is held out"),
        ({"parts": 2}, "accumulated batches add no negatives: raise data.batch_size"),
    ],
)
def test_what_is_amiss_is_told_with_what_to_change(changed, told):
    assert looked_at(**changed)["note"].startswith(told)
    assert ";" not in looked_at(**changed)["note"]


def test_the_peak_of_a_schedule():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    group = optimizer.param_groups[0]
    assert peak(group, None, 200) == (0.3, 0)
    assert peak(group, warmup_cosine(optimizer, 200, 10, warmup_epochs=2), 200) == (0.3, 20)
    assert group["lr"] < 0.3
    assert peak(group, warmup_cosine(optimizer, 200, 10), 200) == (0.3, 0)
