import pytest
import torch

from ssl_lightning.modules.patches import gather_tokens, patchify, replace_tokens, scatter_tokens, unpatchify


@pytest.mark.parametrize(("C", "S", "size"), [(1, 28, 7), (3, 32, 4), (3, 6, 1), (2, 5, 5)])
def test_there_and_back(C: int, S: int, size: int) -> None:
    x = torch.randn(2, C, S, S)
    patches = patchify(x, size)
    assert patches.shape == (2, (S // size) ** 2, C * size**2)
    assert torch.equal(unpatchify(patches, C), x)


def test_patches_stand_in_reading_order() -> None:
    x = torch.randn(2, 3, 8, 8)
    for number, patch in enumerate(patchify(x, 2).unbind(1)):
        row, column = divmod(number, 4)
        assert torch.equal(patch, x[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten(1))


def test_what_is_picked_and_put() -> None:
    tokens, indices = torch.randn(2, 5, 3), torch.tensor([[4, 0], [1, 2]])
    picked = gather_tokens(tokens, indices)
    assert torch.equal(picked[0, 0], tokens[0, 4])
    assert torch.equal(picked[1, 1], tokens[1, 2])
    assert torch.equal(scatter_tokens(tokens, indices, picked), tokens)
    assert torch.equal(gather_tokens(scatter_tokens(tokens, indices, picked + 1), indices), picked + 1)
    assert int((scatter_tokens(tokens, indices, picked + 1) != tokens).any(dim=2).sum()) == 4


def test_replaced_tokens() -> None:
    tokens, masked, token = (
        torch.randn(2, 3, 4),
        torch.tensor([[True, False, True], [False, False, True]]),
        torch.ones(4),
    )
    replaced = replace_tokens(tokens, masked, token)
    assert torch.equal(replaced[masked], torch.ones(3, 4))
    assert torch.equal(replaced[~masked], tokens[~masked])
