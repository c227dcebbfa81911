import torch
from methods.recipe import make_batch, make_method

from ssl_lightning.losses.classification import cross_entropy
from ssl_lightning.methods.context_prediction import ContextPrediction


def made() -> ContextPrediction:
    method = make_method("context_prediction")
    assert isinstance(method, ContextPrediction)
    return method


def test_loss_patch_by_patch() -> None:
    method, batch = made().eval(), make_batch("context_prediction")
    first, second = (method(batch["inputs"][:, n]) for n in range(2))
    expected, accuracy = cross_entropy(method.head(torch.cat([first, second], dim=1)), batch["side"])
    result = method.loss(batch)
    torch.testing.assert_close(result["loss"], expected)
    torch.testing.assert_close(result["accuracy"], accuracy)
    torch.testing.assert_close(result["embedding"], first)


def test_show_lays_the_second_patch_beside_the_first() -> None:
    method = made()
    patches = torch.stack([torch.full((8, 1, 3, 3), 1.0), torch.full((8, 1, 3, 3), 2.0)], dim=1)
    targets = torch.arange(8)
    method._place = lambda patches: (torch.eye(8)[targets.flip(0)], patches)  # type: ignore[method-assign]
    shown = method.show({"inputs": patches, "side": targets})
    assert list(shown) == ["as it was", "as predicted"]
    for b, (down, right) in enumerate([(0, 0), (0, 4), (0, 8), (4, 0), (4, 8), (8, 0), (8, 4), (8, 8)]):
        expected = torch.zeros(11, 11)
        expected[4:7, 4:7] = 1
        expected[down : down + 3, right : right + 3] = 2
        assert torch.equal(shown["as it was"][b, 0], expected)
        assert torch.equal(shown["as predicted"][7 - b, 0], expected)
