import math
from collections import Counter

import pytest
import torch

from ssl_lightning.transforms import ops
from ssl_lightning.transforms.ops import Op

MANY = (20_000, 3, 32, 24)
EVERY_OP = [
    ops.RandomResizedCrop(16),
    ops.ColorJitter(0.4, 0.4, 0.2, 0.1),
    ops.Grayscale(0.3),
    ops.GaussianBlur(0.5),
    ops.Solarize(0.3),
    ops.RandomAffine(20, translate=0.1, scale=(0.8, 1.2), shear=10, elastic_alpha=30, elastic_sigma=2),
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("op", EVERY_OP, ids=lambda op: type(op).__name__)
@pytest.mark.parametrize("C", [1, 3])
def test_the_generator_alone_decides(op: Op, C: int) -> None:
    images = torch.randint(0, 256, (32, C, 20, 24), generator=seeded(), dtype=torch.uint8)
    before, state = images.clone(), torch.get_rng_state()
    first, again, other = op(images, seeded(1)), op(images, seeded(1)), op(images, seeded(2))
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    assert torch.equal(images, before)
    assert torch.equal(first, again)
    assert (C == 1 and isinstance(op, ops.Grayscale)) or not torch.equal(first, other)
    assert first.shape == op.output_shape((32, C, 20, 24))
    assert first.dtype == torch.float32
    assert first.min() >= 0
    assert first.max() <= 1 + 1e-6


@pytest.mark.parametrize("op", EVERY_OP, ids=lambda op: type(op).__name__)
def test_a_sample_depends_on_its_parameters_only(op: Op) -> None:
    """Applying to a part with that part's parameters gives that part of the result."""
    images = torch.rand(12, 3, 20, 24, generator=seeded())
    params = op.draw((12, 3, 20, 24), seeded(1))
    part = {name: value[3:8] for name, value in params.items()}
    torch.testing.assert_close(op.transform(images[3:8], part), op.transform(images, params)[3:8])


def test_crop_boxes_follow_torchvisions_distribution() -> None:
    """Area uniform and aspect log-uniform where every box fits; corners uniform over the places left."""
    op = ops.RandomResizedCrop(8, scale=(0.1, 0.4), ratio=(3 / 4, 4 / 3), flip=0.3)
    _B, _, H, W = shape = (20_000, 3, 320, 320)
    params = {name: value.double() for name, value in op.draw(shape, seeded()).items()}
    area = params["height"] * params["width"] / (H * W)
    aspect = (params["width"] / params["height"]).log() / math.log(4 / 3)
    for values, low, high in [(area, 0.1, 0.4), (aspect, -1, 1)]:
        quantiles = torch.quantile(values, torch.linspace(0, 1, 5, dtype=torch.double))
        expected = torch.linspace(low, high, 5, dtype=torch.double)
        torch.testing.assert_close(quantiles, expected, atol=0.03 * (high - low), rtol=0)
    place = params["top"] / (H - params["height"])
    assert place.min() == 0
    assert place.max() == 1
    assert abs(place.mean() - 0.5) < 0.01
    assert abs(params["flip"].mean() - 0.3) < 0.01


def test_crop_boxes_lie_in_the_image() -> None:
    params = ops.RandomResizedCrop(8).draw(MANY, seeded())
    _, _, H, W = MANY
    assert (params["height"] >= 1).all()
    assert (params["width"] >= 1).all()
    assert (params["top"] >= 0).all()
    assert (params["top"] + params["height"] <= H).all()
    assert (params["left"] >= 0).all()
    assert (params["left"] + params["width"] <= W).all()


@pytest.mark.parametrize(("shape", "box"), [((5, 1, 10, 100), (0, 43, 10, 13)), ((5, 1, 90, 30), (25, 0, 40, 30))])
def test_crop_falls_back_to_the_center(shape: tuple[int, int, int, int], box: tuple[int, ...]) -> None:
    """Whole-image area never fits within the ratio; torchvision then takes the largest central box."""
    params = ops.RandomResizedCrop(8, scale=(1, 1)).draw(shape, seeded())
    boxes = torch.stack([params[name] for name in ("top", "left", "height", "width")], dim=1)
    assert [tuple(drawn) for drawn in boxes.tolist()] == [box] * 5


def test_in_evaluation_a_crop_is_the_central_square() -> None:
    images = torch.randint(0, 256, (4, 3, 20, 24), generator=seeded(), dtype=torch.uint8)
    crop, generator = ops.RandomResizedCrop(16), seeded()
    state = generator.get_state()
    assert torch.equal(crop.eval()(images, generator), ops.CentralSquare(16)(images, generator))
    assert torch.equal(generator.get_state(), state)
    assert not torch.equal(crop.train()(images, generator), ops.CentralSquare(16)(images, generator))


def test_jitter_draws() -> None:
    op = ops.ColorJitter(0.4, 1.5, 0.2, 0.1, p=0.8)
    params = op.draw(MANY, seeded())
    left_out = params["hue"] == 0
    assert abs(left_out.float().mean() - 0.2) < 0.01
    ends = {"brightness": (0.6, 1.4), "contrast": (0, 2.5), "saturation": (0.8, 1.2), "hue": (-0.1, 0.1)}
    for name, (low, high) in ends.items():
        assert (params[name][left_out] == (name != "hue")).all()
        drawn = params[name][~left_out]
        assert low <= drawn.min() < low + 0.01
        assert high - 0.01 < drawn.max() <= high
        assert abs(drawn.mean() - (low + high) / 2) < 0.02


def test_jitter_order_is_uniform() -> None:
    generator, op = seeded(), ops.ColorJitter(0.4, 0.4, 0.4, 0.1)
    counts = Counter(tuple(op.draw((1, 3, 4, 4), generator)) for _ in range(2400))
    assert len(counts) == 24
    assert max(counts.values()) < 150
    assert min(counts.values()) > 60


def test_jitter_left_out_is_the_identity() -> None:
    images = torch.rand(8, 3, 9, 9, generator=seeded())
    torch.testing.assert_close(ops.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0)(images, seeded()), images, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("op", "changed"), [(ops.Grayscale(0.2), 0.2), (ops.Solarize(0.3), 0.3), (ops.GaussianBlur(0.5), 0.5)]
)
def test_rates(op: Op, changed: float) -> None:
    images = torch.rand(4000, 3, 20, 20, generator=seeded())
    rate = (op(images, seeded()) != images).flatten(1).any(dim=1).float().mean()
    assert abs(rate - changed) < 0.03


def test_blur_draws() -> None:
    sigma = ops.GaussianBlur(0.5, sigma=(0.1, 2.0)).draw(MANY, seeded())["sigma"]
    drawn = sigma[sigma > 0]
    assert 0.1 <= drawn.min() < 0.11
    assert 1.99 < drawn.max() <= 2
    assert abs(drawn.mean() - 1.05) < 0.02


def test_affine_draws() -> None:
    op = ops.RandomAffine(15, translate=0.1, scale=(0.8, 1.25), shear=5)
    params = op.draw(MANY, seeded())
    assert set(params) == {"angle", "translate", "scale", "shear"}
    for values, low, high in [
        (params["angle"], -15, 15),
        (params["scale"], 0.8, 1.25),
        (params["shear"][:, 0], -5, 5),
        (params["translate"][:, 0], -2, 2),  # 0.1 * 24 pixels, rounded
        (params["translate"][:, 1], -3, 3),
    ]:
        assert low <= values.min() < low + 0.01
        assert high - 0.01 < values.max() <= high
    assert (params["shear"][:, 1] == 0).all()
    assert (params["translate"] == params["translate"].round()).all()


def test_elastic_displacement_has_the_size_that_the_docstring_gives() -> None:
    """Uniform noise has standard deviation 1 / sqrt(3); a Gaussian blur divides it by 2 sqrt(pi) sigma."""
    op = ops.RandomAffine(0, elastic_alpha=40, elastic_sigma=3)
    displacement = op.draw((200, 1, 64, 48), seeded())["displacement"] * torch.tensor([48, 64]) / 2  # pixels
    expected = 40 / 2 / math.sqrt(3) / (2 * math.sqrt(math.pi) * 3)
    inner = displacement[:, 16:-16, 16:-16]
    assert inner.std() == pytest.approx(expected, rel=0.1)
    assert abs(inner.mean()) < 0.1 * expected
