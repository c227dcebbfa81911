import torch
from methods.recipe import make_batch, make_method
from torch import Tensor, nn

from ssl_lightning.losses.classification import cross_entropy
from ssl_lightning.methods.rotation import RotNet


class Oracle(nn.Module):
    """Tells the rotation of images whose brightest corner is the upper left one when they stand upright."""

    def forward(self, x: Tensor) -> Tensor:
        corners = torch.stack([x[:, 0, 0, 0], x[:, 0, -1, 0], x[:, 0, -1, -1], x[:, 0, 0, -1]], dim=1)
        return corners * 100


def marked() -> dict[str, Tensor]:
    upright = torch.rand(6, 1, 8, 8)
    upright[:, :, 0, 0] = 2
    turned = torch.stack([upright.rot90(k, (2, 3)) for k in range(4)], dim=1).flatten(0, 1)
    return {"inputs": turned, "quarters": torch.arange(4).repeat(6)}


def with_oracle() -> RotNet:
    method = make_method("rotation")
    assert isinstance(method, RotNet)
    method.backbone, method.head = Oracle(), nn.Identity()
    return method


def test_loss_is_that_of_all_rotations_and_the_embedding_that_of_upright_images() -> None:
    method, batch = make_method("rotation").eval(), make_batch("rotation")
    result = method.loss(batch)
    expected, accuracy = cross_entropy(method.head(method.backbone(batch["inputs"])), batch["quarters"])
    torch.testing.assert_close(result["loss"], expected)
    torch.testing.assert_close(result["accuracy"], accuracy)
    torch.testing.assert_close(result["embedding"], method(batch["inputs"][::4]))


def test_who_knows_is_right() -> None:
    result = with_oracle().loss(marked())
    assert result["accuracy"] == 1
    assert result["loss"] < 1e-6


def test_show_turns_back() -> None:
    batch = marked()
    shown = with_oracle().show(batch)
    assert list(shown) == ["rotated", "turned back"]
    assert torch.equal(shown["rotated"], batch["inputs"][torch.arange(6) * 4 + torch.arange(6) % 4])
    assert torch.equal(shown["turned back"], batch["inputs"][::4])
