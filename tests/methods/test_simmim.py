import pytest
import torch
from hydra.errors import InstantiationException
from methods.recipe import make_batch, make_method, seeded_loss

from ssl_lightning.modules.masking import unit_mask
from ssl_lightning.modules.patches import patchify
from ssl_lightning.randomness import seed_generators


def mask(**changes) -> torch.Tensor:
    seed_generators(0, 0)
    return unit_mask(16, 7, **{"unit": 2, "mask_ratio": 0.6, **changes})


def test_loss_is_that_of_hidden_pixels() -> None:
    method, x = make_method("simmim"), make_batch("simmim")["views"][0]
    loss, masked = seeded_loss(method, {"views": [x]})["loss"], mask()
    tokens = method.backbone.patch_tokens(x)
    tokens[masked] = method.mask_token
    painted = method.head(method.backbone.encode(tokens)[:, 1:])
    errors = [
        torch.stack(
            [
                (painted[b, n] - x[b, :, 4 * (n // 7) :, 4 * (n % 7) :][:, :4, :4].flatten()).abs().mean()
                for n in range(49)
                if masked[b, n]
            ]
        ).mean()
        for b in range(16)
    ]
    torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_hidden_pixels_have_no_say_in_what_is_painted() -> None:
    method, x = make_method("simmim"), make_batch("simmim")["views"][0]
    masked = mask()
    hidden = masked.view(16, 1, 7, 7).repeat_interleave(4, 2).repeat_interleave(4, 3)
    other = torch.where(hidden, torch.randn_like(x), x)
    first, second = (method.paint(images, masked)[1] for images in (x, other))
    assert torch.equal(first, second)
    assert not torch.equal(method.paint(other, ~masked)[1], first)


def test_the_head_is_one_linear_layer() -> None:
    method = make_method("simmim")
    assert {name.split(".")[0] for name, _ in method.named_parameters()} == {"backbone", "mask_token", "head"}
    assert method.head.weight.shape == (16, 16)  # 4 x 4 gray pixels of a token of 16


def test_what_is_shown() -> None:
    method, x = make_method("simmim"), make_batch("simmim")["views"][0]
    seed_generators(0, 0)
    shown = method.show({"views": [x]})
    masked = mask()
    image, hidden, painted = (patchify(column, 4) for column in shown.values())
    assert list(shown) == ["image", "masked", "reconstruction"]
    assert torch.equal(shown["image"], x)
    assert not hidden[masked].any()
    assert torch.equal(hidden[~masked], image[~masked])
    assert torch.equal(painted[~masked], image[~masked])
    torch.testing.assert_close(painted[masked], method.paint(x, masked)[1].detach()[masked])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"mask_patch_size": 28},
            "method.mask_patch_size=28 is not a multiple of backbone.patch_size=4 below the image's side of 28",
        ),
        ({"mask_patch_size": 0}, "method.mask_patch_size=0 is not a multiple"),
        ({"mask_patch_size": 6}, "method.mask_patch_size=6 is not a multiple"),
        ({"mask_ratio": 0.99}, "method.mask_ratio=0.99 masks 16 of 16"),
    ],
)
def test_what_cannot_be(changes: dict, message: str) -> None:
    with pytest.raises(InstantiationException, match=message):
        make_method("simmim", **changes)
