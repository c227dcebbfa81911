import torch
from methods.recipe import make_batch, make_method
from torch import nn

from ssl_lightning.losses.classification import cross_entropy
from ssl_lightning.methods.jigsaw import Jigsaw
from ssl_lightning.modules.patches import mosaic


def made() -> Jigsaw:
    method = make_method("jigsaw")
    assert isinstance(method, Jigsaw)
    return method


def test_loss_tile_by_tile() -> None:
    """Context-free: each tile alone through the backbone, their features side by side into the head."""
    method, batch = made().eval(), make_batch("jigsaw")
    h = torch.stack([method(batch["inputs"][:, i]) for i in range(9)], dim=1)
    expected, accuracy = cross_entropy(method.head(h.reshape(16, -1)), batch["permutation"])
    result = method.loss(batch)
    torch.testing.assert_close(result["loss"], expected)
    torch.testing.assert_close(result["accuracy"], accuracy)
    torch.testing.assert_close(result["embedding"], h.mean(dim=1))


def test_brightness_and_contrast_of_a_tile_tell_nothing() -> None:
    method = made().eval()
    tiles = make_batch("jigsaw")["inputs"]
    other = tiles * torch.rand(16, 9, 1, 1, 1).add(5) + torch.randn(16, 9, 1, 1, 1)
    found, expected = (method._solve(x * 100)[0] for x in (other, tiles))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_an_empty_tile_is_zero() -> None:
    method = made()
    method.backbone = nn.Flatten()
    assert not method(torch.full((2, 1, 7, 7), -0.5)).any()


def test_one_permutation_for_transform_and_method() -> None:
    assert made().permutations.shape == (64, 9)
    assert "orders" in made().state_dict()


def test_show_puts_in_order_what_it_knows() -> None:
    method = made().eval()
    ordered = torch.randn(16, 9, 1, 7, 7)
    targets = torch.arange(16)
    shuffled = torch.stack([ordered[b, method.permutations[b]] for b in range(16)])
    method._solve = lambda tiles: (torch.eye(64)[targets], tiles)  # type: ignore[method-assign]
    shown = method.show({"inputs": shuffled})
    assert list(shown) == ["shuffled", "put in order"]
    assert torch.equal(shown["shuffled"], mosaic(shuffled))
    assert torch.equal(shown["put in order"], mosaic(ordered))
