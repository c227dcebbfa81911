import torch

from ssl_lightning.modules.multi_crop import count_global, encode_by_size


def test_views_of_one_size_are_one_batch() -> None:
    views = [torch.randn(3, 1, size, size) for size in (8, 8, 4, 4, 4)]
    batches: list[tuple[int, ...]] = []

    def encode(x: torch.Tensor) -> torch.Tensor:
        batches.append(tuple(x.shape))
        return x.mean(dim=(2, 3))

    encoded = encode_by_size(encode, views)
    assert batches == [(6, 1, 8, 8), (9, 1, 4, 4)]
    assert all(torch.equal(h, x.mean(dim=(2, 3))) for h, x in zip(encoded, views, strict=True))
    assert count_global(views) == 2
