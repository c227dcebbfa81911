"""Linear probe by SGD on augmented samples: what papers report, where it is not solved on features of fixed samples."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lightning.evaluation.fine_tuning import Regime


@dataclass(frozen=True)
class SGDProbe(Regime):
    """A linear classifier of batch-normalized features by SGD with momentum, along a cosine, without weight decay.

    He et al. 2022, https://arxiv.org/abs/2111.06377, App. A.1. Deviation: plain SGD in the place of LARS, with the best
    of `rates` on held-out samples. All of these learn at once, so that a batch is encoded once.
    """

    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    epochs: int = 30
    batch_size: int = 256
    momentum: float = 0.9

    def fit(
        self, encode: Callable[[Tensor], Tensor], labels: Tensor, held: dict[str, Tensor], num_classes: int
    ) -> nn.Module:
        """From features (B, D) to logits (B, C); the global random state stays as it is.

        Args:
            encode: features (B, D), on their device, of other views of the samples at rows (B,) at each call.
            labels: (N,) of all rows.
            held: `features` and `labels` of held-out samples, by which the rate is chosen; a tie goes to the smaller.
        """
        with torch.random.fork_rng():
            torch.manual_seed(0)
            x = encode(torch.arange(min(2, len(labels))))
            norm = nn.BatchNorm1d(x.shape[1], affine=False, device=x.device)
            heads = nn.ModuleList(nn.Linear(x.shape[1], num_classes, device=x.device) for _ in self.rates)
            groups = [{"params": head.parameters(), "lr": r} for head, r in zip(heads, self.rates, strict=True)]
            optimizer = torch.optim.SGD(groups, momentum=self.momentum)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps(len(labels)))
            for rows in self.batches(torch.arange(len(labels))):
                h, y = norm(encode(rows)), labels[rows].to(x.device)
                optimizer.zero_grad()
                torch.stack([F.cross_entropy(head(h), y) for head in heads]).sum().backward()
                optimizer.step()
                schedule.step()
            h, y = norm.eval()(held["features"].to(x.device)), held["labels"].to(x.device)
            best = max(heads, key=lambda head: int((head(h).argmax(dim=1) == y).sum()))
        return nn.Sequential(norm, best).requires_grad_(False)
