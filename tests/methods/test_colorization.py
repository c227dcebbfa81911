import pytest
import torch
from methods.recipe import make_batch, make_method

from ssl_lightning.color import rgb_to_lab
from ssl_lightning.losses.color import rarity_weights
from ssl_lightning.methods.colorization import Colorization


def made() -> Colorization:
    method = make_method("colorization")
    assert isinstance(method, Colorization)
    return method


def test_loss_place_by_place() -> None:
    method, batch = made(), make_batch("colorization", B=2)
    method.prior.uniform_().div_(method.prior.sum())
    method.eval()
    logits = method.decoder(method.backbone(batch["inputs"])[1])
    Q, h, w = logits.shape[1:]
    assert len(method.bins) == Q
    weights = rarity_weights(method.prior, 0.5)
    losses, right = [], []
    for b in range(2):
        for i in range(h):
            for j in range(w):
                rows, columns = slice(i * 32 // h, (i + 1) * 32 // h), slice(j * 32 // w, (j + 1) * 32 // w)
                ab = batch["ab"][b, :, rows, columns].mean(dim=(1, 2))
                bins, shares = method.bins.encode(ab[None])
                log_p = logits[b, :, i, j].log_softmax(dim=0)
                losses.append(-weights[bins[0, 0]] * (shares[0] * log_p[bins[0]]).sum())
                right.append(float(log_p.argmax() == bins[0, 0]))
    result = method.loss(batch)
    torch.testing.assert_close(result["loss"], torch.stack(losses).mean())
    assert result["accuracy"].item() == pytest.approx(sum(right) / len(right))


def test_a_gray_image_adds_nothing() -> None:
    """It halves the mean over both images, as in the authors' code."""
    method, batch = made().eval(), make_batch("colorization", B=2)
    batch["ab"][1] = torch.tensor([5.0, -5.0])[:, None, None]
    both = method.loss(batch)["loss"]
    colored = method.loss({key: value[:1] for key, value in batch.items()})["loss"]
    torch.testing.assert_close(both, colored / 2)


def test_the_prior_is_that_of_all_batches_seen() -> None:
    method = made()
    counts = []
    for seed in range(3):
        batch = make_batch("colorization", B=4, seed=seed)
        method.loss(batch)
        ab = torch.nn.functional.adaptive_avg_pool2d(batch["ab"], 32)
        bins, shares = method.bins.encode(ab.movedim(1, 3).flatten(0, 2))
        counts.append(
            torch.zeros(len(method.bins), 1).index_add(0, bins.flatten(), shares.view(-1, 1))[:, 0] / len(bins)
        )
    assert method.batches == 3
    torch.testing.assert_close(method.prior, torch.stack(counts).mean(dim=0))
    assert method.prior.sum().item() == pytest.approx(1, abs=1e-5)
    assert {"prior", "batches"} <= set(method.state_dict()), "a run that is gone on with knows them"


def test_lightness_alone_is_embedded() -> None:
    method = made().eval()
    rgb = torch.rand(4, 3, 32, 32)
    normalized = (rgb - method.center) / method.scale
    expected = method.backbone(rgb_to_lab(rgb)[:, :1] / 50 - 1)[0]
    torch.testing.assert_close(method(normalized), expected)
    batch = make_batch("colorization")
    torch.testing.assert_close(method.loss(batch)["embedding"], method.backbone(batch["inputs"])[0])


def test_show() -> None:
    method, batch = made().eval(), make_batch("colorization")
    shown = {name: column * method.scale + method.center for name, column in method.show(batch).items()}
    assert list(shown) == ["gray", "colorized", "original"]
    assert all(column.shape == (16, 3, 32, 32) for column in shown.values())
    torch.testing.assert_close(rgb_to_lab(shown["original"])[:, 1:], batch["ab"], atol=0.05, rtol=0)
    assert rgb_to_lab(shown["gray"])[:, 1:].abs().max() < 0.05
    for column in shown.values():
        assert column.min() >= -1e-5
        assert column.max() <= 1 + 1e-5


def test_show_paints_what_the_decoder_says() -> None:
    method, batch = made().eval(), make_batch("colorization")
    number = 100
    with torch.no_grad():
        method.decoder[-1].bias[number] = 1e4
    gray = torch.zeros_like(batch["inputs"])  # L = 50
    shown = method.show({"inputs": gray, "ab": batch["ab"]})["colorized"] * method.scale + method.center
    expected = method._rgb(gray, method.bins.centers[number].view(1, 2, 1, 1).expand(16, 2, 32, 32))
    torch.testing.assert_close(shown, expected, atol=1e-4, rtol=0)
