"""Fine-tuning: all weights of an encoder and a linear classifier on its embedding, trained on labels."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lightning.evaluation.features import evaluating

Fetch = Callable[[Tensor], Any]
"""Positions (B,) in a set -> inputs of the encoder, on its device."""


@dataclass(frozen=True)
class Regime:
    """`epochs` passes over all labels, but at least `min_steps` and at most `max_steps` steps."""

    epochs: int = 5
    min_steps: int = 200
    max_steps: int = 5000
    batch_size: int = 32

    def steps(self, count: int) -> int:
        """With so many labels."""
        return min(self.max_steps, max(self.min_steps, self.epochs * max(1, count // self.batch_size)))

    def batches(self, rows: Tensor) -> Iterator[Tensor]:
        """Rows (B,) for each step, of `rows` (N,), shuffled in each pass, which leaves a narrower last batch out."""
        size = min(self.batch_size, len(rows))
        epoch_steps = len(rows) // size
        for step in range(self.steps(len(rows))):
            if step % epoch_steps == 0:
                order = rows[torch.randperm(len(rows))]
            begin = step % epoch_steps * size
            yield order[begin : begin + size]


@dataclass(frozen=True)
class FineTuning(Regime):
    """A recipe for fine-tuning a copy of an encoder, the same for pretrained and untrained encoders.

    AdamW, with warm-up over a tenth of the steps and then a cosine to zero. The learning rate is the best of `rates` on
    a held-out fifth of at most `choice_samples` labels; a tie goes to the smaller rate.
    """

    rates: tuple[float, ...] = (3e-4, 1e-3)
    weight_decay: float = 0.05
    choice_samples: int = 1000

    def fit(
        self, encoder: nn.Module, fetch: Fetch, labels: Tensor, rows: Tensor, num_classes: int, seed: int = 0
    ) -> nn.Module:
        """A copy of `encoder` and a classifier, trained on `rows` (N,) of labeled samples.

        Neither `encoder`, from what `fetch` returns to (B, D), nor the global random state changes.
        """

        def accuracy(rate: float) -> float:
            model = self._trained(encoder, fetch, labels, some[held:], num_classes, rate, seed)
            return float((classes(model, fetch, some[:held]) == labels[some[:held]]).float().mean())

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            some = rows[torch.randperm(len(rows))[: self.choice_samples]]
            held = max(1, round(0.2 * len(some)))
            rate = max(sorted(self.rates), key=accuracy)
            return self._trained(encoder, fetch, labels, rows, num_classes, rate, seed)

    def _trained(
        self, encoder: nn.Module, fetch: Fetch, labels: Tensor, rows: Tensor, num_classes: int, rate: float, seed: int
    ) -> nn.Module:
        torch.manual_seed(seed)
        steps = self.steps(len(rows))
        body = copy.deepcopy(encoder).requires_grad_().train()  # unfreezes teachers too
        with evaluating(body), torch.no_grad():
            h = body(fetch(rows[:1]))
        model = nn.Sequential(body, nn.Linear(h.shape[1], num_classes, device=h.device))
        weights = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _scale(step, steps))
        for chosen in self.batches(rows):
            loss = F.cross_entropy(model(fetch(chosen)).float(), labels[chosen].to(h.device))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
        return model


def _scale(step: int, steps: int) -> float:
    """Of the learning rate: rises over a tenth of the steps, then falls along a cosine to zero."""
    warmup = max(1, steps // 10)
    done = max(0, step - warmup) / max(1, steps - warmup)
    return min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * done))


@torch.no_grad()
def classes(model: nn.Module, fetch: Fetch, rows: Tensor) -> Tensor:
    """Predicted classes (N,) of the samples at `rows` (N,), on the CPU."""
    with evaluating(model):
        return torch.cat([model(fetch(part)).argmax(dim=1).cpu() for part in rows.split(256)])
