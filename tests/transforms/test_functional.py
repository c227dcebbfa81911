"""Every batched function against torchvision's, sample by sample, with the same parameters."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from ssl_lightning.errors import InputError
from ssl_lightning.transforms import functional

B = 6
SHAPES = [(1, 28, 28), (3, 32, 32), (3, 37, 23), (1, 20, 31)]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def uniform(low: float, high: float, generator: torch.Generator, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(*(shape or (B,)), generator=generator)


def one_by_one(function: Callable[..., Tensor], images: Tensor, *parameters: Tensor) -> Tensor:
    return torch.stack([function(images[i], *(p[i].tolist() for p in parameters)) for i in range(B)])


def assert_equal(result: Tensor, expected: Tensor, atol: float = 1e-6) -> None:
    torch.testing.assert_close(result, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [32, 11, (19, 45)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_resized_crop(
    shape: tuple[int, int, int], size: int | tuple[int, int], dtype: torch.dtype, generator: torch.Generator
) -> None:
    C, H, W = shape
    images = torch.randint(0, 256, (B, C, H, W), generator=generator, dtype=torch.uint8)
    height = torch.randint(1, H + 1, (B,), generator=generator)
    width = torch.randint(1, W + 1, (B,), generator=generator)
    height[0], width[0] = H, W
    top = (uniform(0, 1, generator) * (H - height + 1)).long()
    left = (uniform(0, 1, generator) * (W - width + 1)).long()
    flip = uniform(0, 1, generator) < 0.5

    def crop(image: Tensor, top: int, left: int, height: int, width: int, flip: bool) -> Tensor:
        box = reference.resized_crop(
            image, top, left, height, width, [size, size] if isinstance(size, int) else list(size), antialias=True
        )
        return reference.horizontal_flip(box) if flip else box

    expected = one_by_one(crop, images.double() / 255, top, left, height, width, flip)
    images = images if dtype == torch.uint8 else (images.double() / 255).to(dtype)
    result = functional.resized_crop(images, top, left, height, width, flip, size)
    assert result.dtype == (torch.float32 if dtype == torch.uint8 else dtype)
    assert_equal(result.double(), expected, atol=1e-12 if dtype == torch.float64 else 5e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_blends(name: str, shape: tuple[int, int, int], generator: torch.Generator) -> None:
    images = uniform(0, 1, generator, B, *shape)
    factor = uniform(0, 2, generator)
    factor[:2] = torch.tensor([0.0, 1.0])
    expected = one_by_one(getattr(reference, f"adjust_{name}"), images, factor)
    assert_equal(getattr(functional, name)(images, factor), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_hue(shape: tuple[int, int, int], generator: torch.Generator) -> None:
    images = uniform(0, 1, generator, B, *shape)
    shift = uniform(-0.5, 0.5, generator)
    shift[:3] = torch.tensor([0.0, -0.5, 0.5])
    assert_equal(functional.hue(images, shift), one_by_one(reference.adjust_hue, images, shift), atol=5e-6)


@pytest.mark.parametrize("shift", [-0.5, -0.25, -1 / 6, 0.0, 0.1, 1 / 3, 0.5])
def test_hue_where_channels_tie(shift: float) -> None:
    """All 125 colors of 5 levels: grays, primaries, and every pair of equal channels."""
    levels = torch.linspace(0, 1, 5)
    colors = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 5, 25)
    result = functional.hue(colors, torch.tensor([shift]))
    assert_equal(result[0], reference.adjust_hue(colors[0], shift), atol=5e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_grayscale(shape: tuple[int, int, int], generator: torch.Generator) -> None:
    images = uniform(0, 1, generator, B, *shape)
    chosen = torch.arange(B) % 2 == 0
    result = functional.grayscale(images, chosen)
    assert_equal(result[chosen], reference.rgb_to_grayscale(images[chosen], shape[0]))
    assert torch.equal(result[~chosen], images[~chosen])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kernel_size", [3, 9, 23])
def test_gaussian_blur(shape: tuple[int, int, int], kernel_size: int, generator: torch.Generator) -> None:
    images = uniform(0, 1, generator, B, *shape)
    sigma = uniform(0.1, 3, generator)
    expected = one_by_one(lambda image, s: reference.gaussian_blur(image, kernel_size, s), images, sigma)
    assert_equal(functional.gaussian_blur(images, sigma, kernel_size), expected, atol=2e-6)


def test_gaussian_blur_of_sigma_zero_is_the_identity(generator: torch.Generator) -> None:
    images = uniform(0, 1, generator, B, 3, 9, 9)
    assert torch.equal(functional.gaussian_blur(images, torch.zeros(B), 5), images)


@pytest.mark.parametrize("kernel_size", [4, 21])
def test_gaussian_blur_refuses_a_kernel_that_does_not_fit(kernel_size: int) -> None:
    with pytest.raises(InputError, match="must be odd, < 20"):
        functional.gaussian_blur(torch.zeros(1, 1, 10, 12), torch.ones(1), kernel_size)


@pytest.mark.parametrize("shape", SHAPES)
def test_solarize(shape: tuple[int, int, int], generator: torch.Generator) -> None:
    images = uniform(0, 1, generator, B, *shape)
    threshold = uniform(0, 1, generator)
    expected = one_by_one(reference.solarize, images, threshold)
    assert_equal(functional.solarize(images, threshold), expected)
    assert torch.equal(functional.solarize(images, torch.full((B,), torch.inf)), images)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_affine(shape: tuple[int, int, int], dtype: torch.dtype, generator: torch.Generator) -> None:
    images = uniform(0, 1, generator, B, *shape).to(dtype)
    angle, scale = uniform(-180, 180, generator), uniform(0.5, 1.5, generator)
    translate, shear = uniform(-9, 9, generator, B, 2), uniform(-30, 30, generator, B, 2)
    bilinear = InterpolationMode.BILINEAR
    expected = one_by_one(
        lambda image, *parameters: reference.affine(image, *parameters, bilinear),
        images, angle, translate, scale, shear,
    )  # fmt: skip
    result = functional.affine(images, angle, translate, scale, shear)
    assert_equal(result, expected, atol=3e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_elastic(shape: tuple[int, int, int], generator: torch.Generator) -> None:
    images = uniform(0, 1, generator, B, *shape)
    displacement = uniform(-0.2, 0.2, generator, B, *shape[1:], 2)
    expected = torch.stack([reference.elastic(images[i], displacement[i, None]) for i in range(B)])
    zeros = torch.zeros(B, 2)
    still = functional.affine(images, zeros[:, 0], zeros, zeros[:, 0] + 1, zeros, displacement)
    assert_equal(still, expected, atol=3e-5)


def test_affine_with_displacement_is_one_sampling_of_the_summed_grids(generator: torch.Generator) -> None:
    """A constant displacement is a translation, so that it must equal moving the image by as many pixels."""
    images = uniform(0, 1, generator, B, 3, 20, 30)
    ones, zeros = torch.ones(B), torch.zeros(B, 2)
    angle = uniform(-30, 30, generator)
    displacement = torch.tensor([2 / 30 * 3, 2 / 20 * 2]).expand(B, 20, 30, 2)  # look 3 right, 2 down
    moved = torch.zeros_like(images)
    moved[:, :, :-2, :-3] = images[:, :, 2:, 3:]
    result = functional.affine(images, angle, zeros, ones, zeros, displacement)
    expected = functional.affine(moved, angle, zeros, ones, zeros)
    assert_equal(result[:, :, 5:-5, 5:-5], expected[:, :, 5:-5, 5:-5], atol=3e-5)


def test_normalize_and_to_float(generator: torch.Generator) -> None:
    images = torch.randint(0, 256, (B, 3, 5, 7), generator=generator, dtype=torch.uint8)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.1])
    expected = reference.normalize(images.float() / 255, mean.tolist(), std.tolist())
    assert_equal(functional.normalize(functional.to_float(images), mean, std), expected)
    out = torch.empty(B, 3, 5, 7)
    functional.normalize(functional.to_float(images), mean, std, out=out)
    assert_equal(out, expected)
    assert functional.to_float(out) is out


def test_inputs_stay_as_they_are_and_layout_does_not_matter(generator: torch.Generator) -> None:
    images = uniform(0, 1, generator, B, 3, 8, 8)
    planes = images.transpose(0, 1).contiguous().transpose(0, 1)
    before, parameter = images.clone(), uniform(0.2, 0.5, generator)
    for name in ("brightness", "contrast", "saturation", "hue", "solarize"):
        function = getattr(functional, name)
        assert_equal(function(planes, parameter), function(images, parameter))
    assert_equal(functional.gaussian_blur(planes, parameter, 5), functional.gaussian_blur(images, parameter, 5))
    assert torch.equal(images, before)
    assert torch.equal(planes, before)


def test_other_numbers_of_channels_are_refused() -> None:
    with pytest.raises(InputError, match="C = 4"):
        functional.saturation(torch.zeros(1, 4, 2, 2), torch.ones(1))
