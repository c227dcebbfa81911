import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from ssl_lightning.errors import InputError
from ssl_lightning.transforms import ops
from ssl_lightning.transforms.pretext.rotation import Rotations
from ssl_lightning.transforms.views import Chain

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def raw(B: int = 5, H: int = 12, W: int = 12) -> dict[str, torch.Tensor]:
    images = torch.randint(0, 256, (B, 3, H, W), generator=seeded(), dtype=torch.uint8)
    return {"image": images, "index": torch.arange(B)}


def test_is_torchvisions_rotation_image_by_image() -> None:
    batch = raw()
    out = Rotations(Chain(), MEAN, STD)(batch, seeded())
    assert out["inputs"].shape == (20, 3, 12, 12)
    assert out["quarters"].tolist() == [0, 1, 2, 3] * 5
    for row, target in enumerate(out["quarters"].tolist()):
        image = reference.normalize(batch["image"][row // 4].float() / 255, MEAN, STD)
        torch.testing.assert_close(out["inputs"][row], reference.rotate(image, 90.0 * target))
    assert set(batch) == {"image", "index"}


def test_the_copies_of_an_image_have_one_augmentation() -> None:
    transform = Rotations(Chain(crop=ops.RandomResizedCrop(8)), MEAN, STD)
    first, again, other = (transform(raw(), seeded(seed))["inputs"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    for quarters in range(4):
        assert torch.equal(first[quarters::4].rot90(-quarters, (2, 3)), first[::4])


def test_images_must_be_square() -> None:
    with pytest.raises(InputError, match="rotations need square images, got 12 x 10"):
        Rotations(Chain(), MEAN, STD)(raw(W=10), seeded())
