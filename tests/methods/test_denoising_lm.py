import pytest
import torch
from methods.recipe import make_batch, make_method


def test_loss_is_that_of_transformers() -> None:
    method, batch = make_method("denoising_lm"), make_batch("denoising_lm")
    labels = batch["targets"].masked_fill(batch["targets"] == 0, -100)
    visible = (batch["inputs"] != 0).long()
    expected = method.backbone.model(input_ids=batch["inputs"], attention_mask=visible, labels=labels).loss
    torch.testing.assert_close(method.loss(batch)["loss"], expected, atol=1e-5, rtol=1e-5)


def test_each_token_is_written_after_those_before_it() -> None:
    method, batch = make_method("denoising_lm"), make_batch("denoising_lm", B=4)
    losses, right = [], []
    for source, target in zip(batch["inputs"], batch["targets"], strict=True):
        source, target = source[source != 0][None], target[target != 0]
        for n in range(len(target)):
            written = target[None, : n + 1].clone()
            written[0, n] = 11  # what is to be written is not seen
            _, h = method.backbone.decoded(source, source != 0, written)
            logits = method.backbone.logits(h[0, -1:])[0]
            losses.append(-logits.log_softmax(0)[target[n]])
            right.append(float(logits.argmax() == target[n]))
    result = method.loss(batch)
    torch.testing.assert_close(result["loss"], torch.stack(losses).mean(), atol=1e-5, rtol=1e-5)
    assert result["token_accuracy"].item() == pytest.approx(sum(right) / len(right))


def test_the_encoder_learns_through_the_decoder() -> None:
    method = make_method("denoising_lm")
    method.loss(make_batch("denoising_lm"))["loss"].backward()
    assert all(
        p.grad is not None and p.grad.any() for p in method.backbone.body.encoder.layers.parameters() if p.ndim > 1
    )
