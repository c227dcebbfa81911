import pytest
import torch
from methods.recipe import make_batch, make_method

from ssl_lightning.losses.pixels import channel_errors
from ssl_lightning.methods.autoencoder import Autoencoder


def make(name: str = "autoencoder", **changes) -> Autoencoder:
    method = make_method(name, **changes)
    assert isinstance(method, Autoencoder)
    return method


def test_the_loss_is_the_error_of_the_painted_image() -> None:
    method, batch = make(), make_batch("autoencoder")
    (x,) = batch["views"]
    result = method.loss(batch)
    torch.testing.assert_close(result["loss"], (method.reconstruct(x) - x).square().mean())
    torch.testing.assert_close(result["embedding"], method(x))


def test_the_error_in_pixels_of_0_to_1() -> None:
    method, batch = make(), make_batch("autoencoder")
    (x,) = batch["views"]
    std = method.variance.sqrt().view(-1, 1, 1)
    expected = (method.reconstruct(x) * std - x * std).square().mean()
    torch.testing.assert_close(method.loss(batch)["pixel_error"], expected.detach())


def test_denoising_paints_the_clean_image_from_the_corrupted_one() -> None:
    method, batch = make("denoising_autoencoder").eval(), make_batch("denoising_autoencoder")
    corrupted, clean = batch["views"]
    assert not torch.equal(corrupted, clean)
    expected = channel_errors(method.reconstruct(corrupted), clean).mean()
    torch.testing.assert_close(method.loss(batch)["loss"], expected)


def test_all_it_knows_of_the_image_is_the_code() -> None:
    method, batch = make(), make_batch("autoencoder")
    assert method(batch["views"][0]).shape == (16, 32)
    assert method.decoder[0].in_features == 32


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("autoencoder", ["input", "reconstruction"]),
        ("denoising_autoencoder", ["input", "reconstruction", "original"]),
    ],
)
def test_what_it_shows(name: str, columns: list[str]) -> None:
    shown = make(name).eval().show(make_batch(name))
    assert list(shown) == columns
    assert all(column.shape == (16, 1, 28, 28) and not column.requires_grad for column in shown.values())


def test_an_image_is_learned_by_heart() -> None:
    method, batch = make(), make_batch("autoencoder", B=4)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = method.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
