import pytest
import torch

from ssl_lightning.color import lab_to_rgb, lightness
from ssl_lightning.errors import InputError
from ssl_lightning.transforms import ops
from ssl_lightning.transforms.pretext.colorization import SplitColors
from ssl_lightning.transforms.views import Chain


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def raw(C: int = 3) -> dict[str, torch.Tensor]:
    return {"image": torch.randint(0, 256, (5, C, 20, 24), generator=seeded(), dtype=torch.uint8)}


def test_both_parts_make_the_image() -> None:
    batch = raw()
    out = SplitColors(Chain())(batch, seeded())
    assert out["inputs"].shape == (5, 1, 20, 24)
    assert out["ab"].shape == (5, 2, 20, 24)
    rgb = lab_to_rgb(torch.cat([lightness(out["inputs"]), out["ab"]], dim=1))
    torch.testing.assert_close(rgb, batch["image"] / 255, atol=1e-3, rtol=0)
    assert set(batch) == {"image"}


def test_the_generator_alone_decides() -> None:
    transform = SplitColors(Chain(crop=ops.RandomResizedCrop(16)))
    first, again, other = (transform(raw(), seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first["ab"], again["ab"])
    assert not torch.equal(first["inputs"], other["inputs"])


def test_gray_images_are_refused() -> None:
    with pytest.raises(InputError, match=r"the images have 1 channels, but data.channels and mean 3"):
        SplitColors(Chain())(raw(C=1), seeded())
