import copy
from pathlib import Path

import pytest
import torch
from methods.recipe import fit, make_batch, make_method
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.fine_tuning import FineTuning, classes
from ssl_lightning.methods.moco import MoCo
from ssl_lightning.modules.backbones.image import timm_model
from ssl_lightning.modules.norm import SplitBatchNorm


def make(**changes) -> MoCo:
    method = make_method("moco", **{"queue_size": 48, "bn_splits": 4, **changes})
    method.setup("fit")
    return method


def views(B: int = 16, seed: int = 0) -> list[Tensor]:
    return make_batch("moco", B, seed)["views"]


def unlike_the_student(method: MoCo) -> MoCo:
    with torch.no_grad():
        for p in method.teacher.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return method


def dealt_groups(B: int, splits: int) -> list[list[int]]:
    """Images are dealt like cards: the first of each query group, the second of each ...; then cut into key groups."""
    m = B // splits
    order = [group * m + place for place in range(m) for group in range(splits)]
    return [order[start : start + m] for start in range(0, B, m)]


def naive_keys(method: MoCo, x: Tensor) -> Tensor:
    """Each key group passes the teacher alone, under ordinary batch normalization."""
    teacher = copy.deepcopy(method.teacher)
    for module in teacher.modules():
        if isinstance(module, SplitBatchNorm):
            module.splits = 1
    keys: dict[int, Tensor] = {}
    for group in dealt_groups(len(x), method.bn_splits):
        keys |= dict(zip(group, teacher(x[group]).detach(), strict=True))
    return torch.stack([keys[i] for i in range(len(x))])


def naive_queries(method: MoCo, x: Tensor) -> Tensor:
    copied = copy.deepcopy(method)
    for module in copied.modules():
        if isinstance(module, SplitBatchNorm):
            module.splits = 1
    return torch.cat([copied.projector(copied.backbone(group)) for group in x.chunk(method.bn_splits)])


def naive_loss(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Eq. 1, query by query."""
    q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
    losses = []
    for i in range(len(q)):
        logits = torch.stack([q[i] @ k[i], *(q[i] @ row for row in queue)]) / temperature
        losses.append(logits.logsumexp(0) - logits[0])
    return torch.stack(losses).mean()


@pytest.mark.parametrize("splits", [1, 4, 8])
def test_loss_from_the_state_before(splits: int) -> None:
    """Neither the loss nor the queue it sees depends on the keys of its own step."""
    method = unlike_the_student(make(bn_splits=splits))
    x1, x2 = views()
    before = copy.deepcopy(method)
    found = method.loss({"views": [x1, x2]})["loss"]
    expected = naive_loss(naive_queries(before, x1), naive_keys(before, x2), before.queue.rows, before.temperature)
    torch.testing.assert_close(found, expected)
    assert torch.equal(method.queue.rows, before.queue.rows)
    method.after_step(0.0)
    torch.testing.assert_close(method.queue.rows[:16], F.normalize(naive_keys(before, x2), dim=1))
    assert torch.equal(method.queue.rows[16:], before.queue.rows[16:])


def test_symmetric() -> None:
    method = unlike_the_student(make(symmetric=True))
    x1, x2 = views()
    before = copy.deepcopy(method)
    found = method.loss({"views": [x1, x2]})["loss"]
    both = [
        naive_loss(naive_queries(before, q), naive_keys(before, k), before.queue.rows, before.temperature)
        for q, k in ((x1, x2), (x2, x1))
    ]
    torch.testing.assert_close(found, sum(both) / 2)
    method.after_step(0.0)
    keys = torch.cat([naive_keys(before, x2), naive_keys(before, x1)])
    torch.testing.assert_close(method.queue.rows[:32], F.normalize(keys, dim=1))


@pytest.mark.parametrize(("B", "splits"), [(16, 8), (16, 4), (16, 2), (24, 4), (12, 3)])
def test_keys_come_back_in_order(B: int, splits: int) -> None:
    """With a teacher that takes every image alone, dealing out and back must be the identity."""
    method = unlike_the_student(make(bn_splits=splits))
    x = views(B)[0]
    method.teacher.eval()
    torch.testing.assert_close(method._encode_keys(x), method.teacher(x))
    assert method.training


@pytest.mark.parametrize(("B", "splits"), [(16, 8), (16, 4), (16, 2), (24, 4), (12, 3)])
def test_key_groups_are_not_query_groups(B: int, splits: int) -> None:
    """Which images the teacher normalizes together, seen from inside: no more than chance allows share a group."""
    method = make(bn_splits=splits)
    x = torch.arange(B).float().view(B, 1, 1, 1).expand(B, 1, 28, 28)
    seen: list[Tensor] = []
    method.teacher.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][:, 0, 0, 0].long()))
    method._encode_keys(x)
    groups = [group.tolist() for group in seen[0].chunk(splits)]
    assert groups == dealt_groups(B, splits)
    size = B // splits
    for group in groups:
        together = [sum(i // size == query_group for i in group) for query_group in range(splits)]
        assert max(together) <= -(-size // splits)


def test_grouping_changes_the_keys() -> None:
    """The point of shuffling: a key normalized among its query's neighbors would be another one."""
    method = make(bn_splits=4)
    x = views()[0]
    assert not torch.allclose(method._encode_keys(x), method.teacher(x), atol=1e-3)


def test_all_batch_norms_are_split() -> None:
    method = make(bn_splits=4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in method.modules())
    assert {m.splits for m in method.modules() if isinstance(m, SplitBatchNorm)} == {4}
    whole = make(bn_splits=1)
    assert not any(isinstance(module, SplitBatchNorm) for module in whole.modules())


def test_fine_tuning_takes_batches_of_any_size() -> None:
    """A loaded encoder has whole batch normalization; only pretraining splits it."""
    x, labels = views(30)[0], torch.arange(30) % 2
    recipe = FineTuning(rates=(1e-3,), min_steps=2, max_steps=2, batch_size=15)
    model = recipe.fit(make_method("moco"), x.__getitem__, labels, torch.arange(30), 2)
    assert classes(model, x.__getitem__, torch.arange(30)).shape == (30,)


def test_without_batch_norm_any_batch_will_do() -> None:
    backbone = timm_model("test_vit", 1, img_size=28, patch_size=7)
    method = MoCo(backbone, torch.optim.SGD, torch.optim.SGD, queue_size=16, bn_splits=8)
    assert method.loss({"views": views(5)})["loss"].isfinite()


def test_refuses_a_batch_that_does_not_divide() -> None:
    with pytest.raises(InputError, match=r"batch of 14 does not divide into 4 groups"):
        make().loss({"views": views(14)})


def test_only_the_query_learns() -> None:
    method = make()
    for p in method.teacher.parameters():
        p.requires_grad_()  # even then the loss must not reach it
    method.loss({"views": views()})["loss"].backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    assert not method.queue.rows.requires_grad


def test_hidden_dim_is_that_of_the_backbone_unless_given() -> None:
    method = make(hidden_dim=None)
    assert method.projector[0].out_features == method.backbone.out_dim


def test_keys_of_all_micro_batches(tmp_path: Path) -> None:
    """Both micro-batches of a step are in the queue, each as the teacher saw it before the step."""
    method = unlike_the_student(make(queue_size=40, momentum=0.5))
    batches = [make_batch("moco", 8, seed) for seed in range(4)]
    states = fit(method, batches, tmp_path, accumulate_grad_batches=2)
    before = make(queue_size=40, momentum=0.5)
    for first in (0, 2):
        before.load_state_dict(states[first])
        keys = torch.cat([naive_keys(before, batch["views"][1]) for batch in batches[first : first + 2]])
        rows = states[first + 2]["queue.rows"][first * 8 : first * 8 + 16]
        torch.testing.assert_close(rows, F.normalize(keys, dim=1), atol=1e-5, rtol=1e-4)
    assert torch.equal(states[4]["queue.rows"][32:], states[0]["queue.rows"][32:])
