from pathlib import Path
from typing import Any

import pytest
import torch
from methods.recipe import VOCABULARY, make_batch, make_method
from torch.nn import functional as F

from ssl_lightning.errors import InputError
from ssl_lightning.methods.distil_mlm import DistilBERT
from ssl_lightning.modules.backbones.text import language_model


def make(teacher: Path | None = None, **changes: Any) -> DistilBERT:
    given = teacher and language_model("", VOCABULARY, 0, "masked", pretrained=str(teacher))
    return make_method("distil_mlm", teacher=given, **changes)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    language_model("bert", VOCABULARY, 0, width=16, layers=4, heads=2, max_length=32).model.save_pretrained(tmp_path)
    return tmp_path


def test_loss_is_the_weighted_sum(teacher: Path) -> None:
    method, batch = make(teacher), make_batch("distil_mlm", padded=False)
    with torch.no_grad():
        for p in method.backbone.parameters():
            p.add_(0.05 * torch.randn_like(p))
    visible, masked = batch["inputs"] != 0, batch["masked"]
    h, guide = (net.hidden(batch["inputs"], visible) for net in (method.backbone, method.teacher))
    student, wanted = (net.logits(x[masked]) for net, x in ((method.backbone, h), (method.teacher, guide)))
    soft = F.softmax(wanted / 2, dim=1)
    divergence = (soft * (soft.log() - F.log_softmax(student / 2, dim=1))).sum(1).mean() * 4
    hard = F.cross_entropy(student, batch["targets"][masked])
    cosine = F.cosine_embedding_loss(h[visible], guide[visible], torch.ones(int(visible.sum())))
    result = method.loss(batch)
    torch.testing.assert_close(result["loss"], 5 * divergence + 2 * hard + cosine, atol=1e-5, rtol=1e-5)
    for name, value in {"soft_loss": divergence, "token_loss": hard, "cosine_loss": cosine}.items():
        torch.testing.assert_close(result[name], value, atol=1e-5, rtol=1e-5)


def test_a_given_teacher_does_not_learn(teacher: Path) -> None:
    method = make(teacher)
    method.loss(make_batch("distil_mlm"))["loss"].backward()
    assert all(not p.requires_grad and p.grad is None for p in method.teacher.parameters())
    assert all(p.grad is not None for p in method.backbone.parameters())
    assert "teacher_loss" not in method.loss(make_batch("distil_mlm"))


def test_a_given_teacher_decides_the_sizes(teacher: Path) -> None:
    method = make(teacher)
    assert method.teacher.model.config.num_hidden_layers == 4
    assert method.backbone.model.config.num_hidden_layers == 2
    assert method.backbone.max_length == 32


def test_without_a_teacher_one_learns_from_the_tokens_alone() -> None:
    """Its gradient is that of BERT, and nothing of the student's loss."""
    method, batch = make(), make_batch("distil_mlm")
    result = method.loss(batch)
    result["loss"].backward()
    found = [p.grad for p in method.teacher.parameters()]
    bert = make_method("mlm")
    bert.backbone.load_state_dict(method.teacher.state_dict())
    own = bert.loss(batch)
    own["loss"].backward()
    torch.testing.assert_close(result["teacher_loss"], own["loss"])
    for a, b in zip(found, bert.backbone.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad, atol=1e-6, rtol=1e-5)


def test_the_embedding_is_the_students(teacher: Path) -> None:
    method, batch = make(teacher), make_batch("distil_mlm")
    assert torch.equal(method(batch["tokens"]), method.backbone(batch["tokens"]))
    assert not torch.equal(method(batch["tokens"]), method.teacher(batch["tokens"]))


def test_a_teacher_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    language_model("bert", 9, 0, width=16, layers=2, heads=2).model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="has 9 tokens, but the tokenizer 40"):
        make(tmp_path)


def test_a_teacher_of_one_layer_is_refused() -> None:
    backbone = language_model("bert", VOCABULARY, 0, width=16, layers=1, heads=2)
    with pytest.raises(InputError, match="a teacher of 1 layer cannot be halved"):
        DistilBERT(backbone, None, None)


def test_a_given_teacher_drops_nothing_out() -> None:
    batch = make_batch("distil_mlm")
    kept = [language_model("bert", VOCABULARY, 0, width=16, layers=2, heads=2, dropout=0.5) for _ in range(2)]
    for given, same in ((kept[1], True), (None, False)):
        method = DistilBERT(kept[0], None, None, given).train()
        visible = batch["inputs"] != 0
        first, second = (method.teacher.hidden(batch["inputs"], visible) for _ in range(2))
        assert torch.equal(first, second) == same
        assert method.backbone.training
