import pytest
import torch

from ssl_lightning.color import lab_to_linear, lab_to_rgb, lightness, rgb_to_lab, scaled_lightness

KNOWN = {
    (1, 1, 1): (100.0, 0.0, 0.0),
    (0, 0, 0): (0.0, 0.0, 0.0),
    (1, 0, 0): (53.2408, 80.0925, 67.2032),
    (0, 1, 0): (87.7347, -86.1827, 83.1793),
    (0, 0, 1): (32.2970, 79.1875, -107.8602),
    (1, 1, 0): (97.1393, -21.5537, 94.4780),
    (0, 1, 1): (91.1132, -48.0875, -14.1312),
    (1, 0, 1): (60.3242, 98.2343, -60.8249),
    (0.5, 0.5, 0.5): (53.3890, 0.0, 0.0),
}
"""sRGB and Lab (D65, 2 degrees) of colors that tables list; scikit-image's rounded matrix moves them by up to 0.02."""


def pixel(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).view(3, 1, 1)


@pytest.mark.parametrize(("rgb", "lab"), KNOWN.items())
def test_known_colors(rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    torch.testing.assert_close(rgb_to_lab(pixel(*rgb)), pixel(*lab), atol=0.02, rtol=0)
    torch.testing.assert_close(lab_to_rgb(pixel(*lab)), pixel(*rgb), atol=5e-4, rtol=0)


def naive_lab(rgb: list[float]) -> list[float]:
    """The formulas of CIE 1976 for one pixel."""
    r, g, b = (((c + 0.055) / 1.055) ** 2.4 if c > 0.04045 else c / 12.92 for c in rgb)
    x = (0.412453 * r + 0.357580 * g + 0.180423 * b) / 0.95047
    y = 0.212671 * r + 0.715160 * g + 0.072169 * b
    z = (0.019334 * r + 0.119193 * g + 0.950227 * b) / 1.08883
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


def test_equals_the_formulas_pixel_by_pixel() -> None:
    rgb = torch.rand(2, 3, 5, 4, dtype=torch.float64) ** 3  # many dark ones
    lab = rgb_to_lab(rgb)
    for b in range(2):
        for h in range(5):
            for w in range(4):
                assert lab[b, :, h, w].tolist() == pytest.approx(naive_lab(rgb[b, :, h, w].tolist()), abs=1e-5)


def test_there_and_back() -> None:
    rgb = torch.rand(4, 3, 16, 16, dtype=torch.float64)
    rgb[0] *= 0.05
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(rgb)), rgb, atol=1e-5, rtol=0)
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(rgb.float())), rgb.float(), atol=1e-4, rtol=0)


def test_what_no_screen_shows() -> None:
    impossible = pixel(50, 120, 0)
    assert ((lab_to_linear(impossible) < 0) | (lab_to_linear(impossible) > 1)).any()
    assert lab_to_rgb(impossible).min() >= 0
    assert lab_to_rgb(impossible).max() <= 1


def test_lightness_is_scaled() -> None:
    lab = rgb_to_lab(torch.rand(2, 3, 4, 4))
    scaled = scaled_lightness(lab)
    assert scaled.shape == (2, 1, 4, 4)
    assert scaled.abs().max() <= 1
    torch.testing.assert_close(lightness(scaled), lab[:, :1])
    assert scaled_lightness(rgb_to_lab(torch.ones(3, 1, 1))).item() == pytest.approx(1, abs=1e-5)


def test_autocast_and_gradients() -> None:
    rgb = torch.rand(3, 4, 4).requires_grad_()
    with torch.no_grad():
        rgb[:, 0, 0] = 0
    with torch.autocast("cpu", torch.bfloat16):
        lab = rgb_to_lab(rgb)
    torch.testing.assert_close(lab, rgb_to_lab(rgb))
    (lab.sum() + lab_to_rgb(lab).sum()).backward()
    assert rgb.grad is not None
    assert rgb.grad.isfinite().all()
