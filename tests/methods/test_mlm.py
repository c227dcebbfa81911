import math

import pytest
import torch
from methods.recipe import LENGTH, VOCABULARY, make_batch, make_method
from torch import nn
from torch.nn import functional as F

from ssl_lightning.errors import InputError


def test_loss_is_that_of_transformers() -> None:
    method, batch = make_method("mlm"), make_batch("mlm")
    labels = batch["targets"].masked_fill(~batch["masked"], -100)
    visible = (batch["inputs"] != 0).long()
    expected = method.backbone.model(input_ids=batch["inputs"], attention_mask=visible, labels=labels).loss
    torch.testing.assert_close(method.loss(batch)["loss"], expected, atol=1e-5, rtol=1e-5)


def test_loss_with_the_next_sentence_is_that_of_transformers() -> None:
    from transformers import BertForPreTraining

    method, batch = make_method("nsp"), make_batch("nsp", padded=False)
    model = BertForPreTraining(method.backbone.model.config)
    model.bert.load_state_dict(method.backbone.body.state_dict(), strict=False)
    model.cls.predictions.load_state_dict(method.backbone.model.cls.predictions.state_dict())
    model.bert.pooler.dense.load_state_dict(method.pair_head[0].state_dict())
    model.cls.seq_relationship.load_state_dict(method.pair_head[2].state_dict())
    with torch.no_grad():  # to transformers 0 means that B follows A
        for p in (model.cls.seq_relationship.weight, model.cls.seq_relationship.bias):
            p.copy_(p.flip(0))
    batch["masked"] &= batch["masked"].cumsum(dim=1) == 1  # as many in each pair, which then weigh alike
    labels = batch["targets"].masked_fill(~batch["masked"], -100)
    visible = (batch["inputs"] != 0).long()
    expected = model(
        input_ids=batch["inputs"],
        attention_mask=visible,
        token_type_ids=batch["segment"],
        labels=labels,
        next_sentence_label=1 - batch["is_next"],
    ).loss
    torch.testing.assert_close(method.loss(batch)["loss"], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["mlm", "nsp"])
def test_only_hidden_tokens_count(name: str) -> None:
    method, batch = make_method(name), make_batch(name)
    visible = batch["inputs"] != 0
    h = method.backbone.hidden(batch["inputs"], visible, batch.get("segment"))
    losses, right = [], []
    for i in range(len(h)):
        for n in range(LENGTH):
            if batch["masked"][i, n]:
                logits = method.backbone.logits(h[i, n : n + 1])[0]
                losses.append(-logits.log_softmax(0)[batch["targets"][i, n]])
                right.append(float(logits.argmax() == batch["targets"][i, n]))
    result = method.loss(batch)
    follow = result.get("next_sentence_loss", torch.zeros(()))
    torch.testing.assert_close(result["loss"] - follow, torch.stack(losses).mean(), atol=1e-5, rtol=1e-5)
    assert result["masked_accuracy"].item() == pytest.approx(sum(right) / len(right))


def test_other_targets_do_not_matter() -> None:
    method, batch = make_method("mlm"), make_batch("mlm")
    other = {**batch, "targets": torch.where(batch["masked"], batch["targets"], 9)}
    assert torch.equal(method.loss(batch)["loss"], method.loss(other)["loss"])


def test_next_sentence_accuracy() -> None:
    method, batch = make_method("nsp"), make_batch("nsp")
    with torch.no_grad():
        for p in method.pair_head[2].parameters():
            p.zero_()
        method.pair_head[2].bias[1] = 1.0  # always "it follows"
    result = method.loss(batch)
    assert result["next_sentence_accuracy"] == batch["is_next"].float().mean()
    share = batch["masked"].sum(1) / batch["masked"].sum()
    chance = (share * torch.where(batch["is_next"] == 1, math.log(1 + math.exp(-1)), math.log(1 + math.e))).sum()
    torch.testing.assert_close(result["next_sentence_loss"], chance)


def test_the_next_sentence_is_seen_at_the_first_token() -> None:
    method, batch = make_method("nsp"), make_batch("nsp", padded=False)
    visible = batch["inputs"] != 0
    h = method.backbone.hidden(batch["inputs"], visible, batch["segment"])[:, 0]
    each = F.cross_entropy(method.pair_head(h), batch["is_next"], reduction="none")
    expected = (each * batch["masked"].sum(1)).sum() / batch["masked"].sum()
    torch.testing.assert_close(method.loss(batch)["next_sentence_loss"], expected)


def test_without_the_second_task_there_is_no_head() -> None:
    assert not hasattr(make_method("mlm"), "pair_head")
    assert isinstance(make_method("nsp").pair_head, nn.Module)


def test_pairs_are_needed_for_the_second_task() -> None:
    with pytest.raises(InputError, match="use transform=nsp"):
        make_method("nsp").loss(make_batch("mlm"))


def test_an_untrained_network_guesses() -> None:
    loss = make_method("mlm").loss(make_batch("mlm", B=64))["loss"].item()
    assert loss == pytest.approx(math.log(VOCABULARY), rel=0.05)
