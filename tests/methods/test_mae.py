import pytest
import torch
from hydra.errors import InstantiationException
from methods.recipe import make_batch, make_method, seeded_loss
from torch import nn
from torch.nn import functional as F

from ssl_lightning.modules.backbones.image import ConvNet
from ssl_lightning.modules.masking import random_split
from ssl_lightning.modules.patches import gather_tokens, patchify
from ssl_lightning.randomness import seed_generators


def shapes_into(module: nn.Module) -> list[tuple[int, ...]]:
    """What shapes enter the module from now on."""
    shapes: list[tuple[int, ...]] = []
    module.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    return shapes


@pytest.mark.parametrize(("ratio", "visible"), [(0.75, 12), (0.5, 24), (0.9, 4)])
def test_only_visible_tokens_reach_the_encoder(ratio: float, visible: int) -> None:
    method = make_method("mae", mask_ratio=ratio)
    encoder, decoder = shapes_into(method.backbone.blocks), shapes_into(method.decoder.blocks)
    method.loss(make_batch("mae"))
    assert encoder == [(16, 1 + visible, 16)]
    assert decoder == [(16, 1 + 49, 64)]


def test_hidden_pixels_have_no_say_in_what_is_painted() -> None:
    method, x = make_method("mae"), make_batch("mae")["views"][0]
    visible, masked = random_split(16, 49, 0.75)
    hidden = torch.zeros(16, 49, dtype=torch.bool).scatter_(1, masked, True).view(16, 1, 7, 7)
    other = torch.where(hidden.repeat_interleave(4, 2).repeat_interleave(4, 3), torch.randn_like(x), x)
    first, second = (method.paint(images, visible, masked)[1] for images in (x, other))
    assert torch.equal(first, second)
    assert not torch.equal(method.paint(x + 1, visible, masked)[1], first)


@pytest.mark.parametrize("normalize", [True, False])
def test_loss_is_that_of_hidden_patches(normalize: bool) -> None:
    method, x = make_method("mae", normalize_patches=normalize), make_batch("mae")["views"][0]
    loss = seeded_loss(method, {"views": [x]})["loss"]
    seed_generators(0, 0)
    visible, masked = random_split(16, 49, 0.75)
    h = method.backbone.encode(method.backbone.patch_tokens(x), visible)
    painted = method.decoder(h, visible)
    errors = []
    for b in range(16):
        for n in masked[b].tolist():
            row, column = divmod(n, 7)
            patch = x[b, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].flatten()
            target = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt() if normalize else patch
            errors.append(F.mse_loss(painted[b, n], target))
    torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_a_decoder_puts_tokens_where_they_were() -> None:
    """Of a decoder without blocks each visible place is a function of its token alone, all others are alike."""
    method = make_method("mae", decoder_layers=0)
    method.decoder.position.zero_()
    x, (visible, masked) = make_batch("mae")["views"][0], random_split(16, 49, 0.75)
    h = method.backbone.encode(method.backbone.patch_tokens(x), visible)
    painted = method.decoder(h, visible)
    torch.testing.assert_close(
        gather_tokens(painted, visible), method.decoder.leave(method.decoder.blocks(method.decoder.enter(h[:, 1:])))
    )
    assert len(gather_tokens(painted, masked).flatten(0, 1).unique(dim=0)) == 1


def test_masks_are_drawn_anew_each_time() -> None:
    method, batch = make_method("mae"), make_batch("mae")
    assert seeded_loss(method, batch, 0)["loss"] != seeded_loss(method, batch, 1)["loss"]


def test_the_embedding_is_of_the_visible_and_forward_of_all() -> None:
    method, batch = make_method("mae"), make_batch("mae")
    x = batch["views"][0]
    result = seeded_loss(method, batch)
    seed_generators(0, 0)
    visible, _ = random_split(16, 49, 0.75)
    tokens = method.backbone.patch_tokens(x)
    assert torch.equal(result["embedding"], method.backbone.encode(tokens, visible)[:, 0])
    assert torch.equal(method(x), method.backbone.encode(tokens)[:, 0])


@pytest.mark.parametrize("normalize", [True, False])
def test_what_is_shown(normalize: bool) -> None:
    method, x = make_method("mae", normalize_patches=normalize), make_batch("mae")["views"][0]
    seed_generators(0, 0)
    shown = method.show({"views": [x]})
    seed_generators(0, 0)
    visible, masked = random_split(16, 49, 0.75)
    assert list(shown) == ["image", "masked", "reconstruction"]
    image, hidden, painted = (patchify(column, 4) for column in shown.values())
    assert torch.equal(shown["image"], x)
    for column in (hidden, painted):
        assert torch.equal(gather_tokens(column, visible), gather_tokens(image, visible))
    assert not gather_tokens(hidden, masked).any()
    expected = method.paint(x, visible, masked)[1].detach()
    if normalize:
        target = gather_tokens(image, masked)
        expected = expected * (target.var(dim=2, keepdim=True) + 1e-6).sqrt() + target.mean(dim=2, keepdim=True)
    torch.testing.assert_close(gather_tokens(painted, masked), expected)


def test_it_learns_what_can_be_told() -> None:
    """Images of one color each: the visible patches say all of the hidden ones."""
    method = make_method("mae", normalize_patches=False)
    optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        x = torch.randn(16, 1, 1, 1, generator=torch.Generator().manual_seed(step)).expand(-1, 1, 28, 28)
        loss = seeded_loss(method, {"views": [x]}, step)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.2 * sum(losses[:5])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_ratio": 1.0}, "method.mask_ratio=1.0 masks 49 of 49"),
        ({"decoder_heads": 3}, "method.decoder_heads=3 does not divide method.decoder_width=64"),
    ],
)
def test_what_cannot_be(changes: dict, message: str) -> None:
    with pytest.raises(InstantiationException, match=message):
        make_method("mae", **changes)


@pytest.mark.parametrize("name", ["mae", "simmim", "ijepa"])
def test_a_network_without_patches_is_refused(name: str) -> None:
    cls = type(make_method(name))
    with pytest.raises(
        Exception, match=f"method {cls.__name__} works on the patches of backbone=vit, not on a ConvNet"
    ):
        cls(ConvNet(1, 4, 1), optimizer=torch.optim.SGD, schedule=torch.optim.lr_scheduler.LambdaLR)
