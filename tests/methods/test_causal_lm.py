import pytest
import torch
from methods.recipe import LENGTH, VOCABULARY, make_batch, make_method

from ssl_lightning.methods.causal_lm import GPT
from ssl_lightning.modules.backbones.text import language_model


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize("padded", [True, False])
def test_loss_is_that_of_transformers(architecture: str, padded: bool) -> None:
    backbone = language_model(architecture, VOCABULARY, 0, "causal", LENGTH + 1, width=16, layers=2, heads=2)
    method, tokens = GPT(backbone, None, None), make_batch("causal_lm", padded=padded)["tokens"]
    labels, visible = tokens.masked_fill(tokens == 0, -100), (tokens != 0).long()
    expected = backbone.model(input_ids=tokens, attention_mask=visible, labels=labels).loss
    torch.testing.assert_close(method.loss({"tokens": tokens})["loss"], expected, atol=1e-5, rtol=1e-5)


def test_each_token_is_guessed_from_those_before_it() -> None:
    method, tokens = make_method("causal_lm"), make_batch("causal_lm", B=4)["tokens"]
    losses, right = [], []
    for row in tokens:
        row = row[row != 0]
        for n in range(1, len(row)):
            before = row[None, :n]
            logits = method.backbone.logits(method.backbone.hidden(before, before != 0)[0, -1:])[0]
            losses.append(-logits.log_softmax(0)[row[n]])
            right.append(float(logits.argmax() == row[n]))
    result = method.loss({"tokens": tokens})
    torch.testing.assert_close(result["loss"], torch.stack(losses).mean(), atol=1e-5, rtol=1e-5)
    assert result["token_accuracy"].item() == pytest.approx(sum(right) / len(right))
