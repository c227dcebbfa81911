"""The alarm rings for a collapsed embedding and for no other."""

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from ssl_lightning.callbacks.health import Health
from ssl_lightning.errors import InputError
from ssl_lightning.runs.metrics import Metrics


class Embeds(lightning.LightningModule):
    """Gives embeddings of `rank` directions around a common point, `spread` wide."""

    collapse_below: dict[str, float] = {}

    def __init__(self, rank: int, spread: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.rank, self.spread = rank, spread

    def training_step(self, batch, batch_idx):
        directions = torch.randn(len(batch), self.rank) @ torch.eye(32)[: self.rank]
        return {"loss": self.weight.square(), "embedding": torch.ones(32) + self.spread * directions}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def run(tmp_path, health: Health, rank: int, spread: float) -> Metrics:
    metrics = Metrics(tmp_path / "metrics.csv")
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=8, logger=metrics, callbacks=[health], enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    torch.manual_seed(0)
    trainer.fit(Embeds(rank, spread), DataLoader(torch.zeros(512, 1), batch_size=64))
    return metrics


def test_a_healthy_embedding_is_left_in_peace(tmp_path, capsys):
    metrics = run(tmp_path, Health(every_n_steps=2), rank=32, spread=1.0)
    assert "WARNING" not in capsys.readouterr().out
    assert metrics.latest["health/effective_rank"] > 10
    assert metrics.curve("health/embedding_std")[0] == [2, 4, 6, 8]


@pytest.mark.parametrize(("rank", "spread", "rule"), [(32, 1e-4, "embedding_std"), (1, 1.0, "effective_rank")])
def test_a_collapse_is_told_once_with_the_rule_that_fired(tmp_path, capsys, rank, spread, rule):
    run(tmp_path, Health(every_n_steps=2, min_rank=3.0), rank=rank, spread=spread)
    said = capsys.readouterr().out
    assert said.count("WARNING: the embedding has collapsed") == 1
    assert f"health/{rule} = " in said


def test_a_collapse_stops_the_run_if_asked_to(tmp_path):
    with pytest.raises(InputError, match=r"collapsed: health/embedding_std = .* < 0.02 .* twice in a row; stopped"):
        run(tmp_path, Health(every_n_steps=1, stop=True), rank=32, spread=1e-4)
