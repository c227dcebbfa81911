"""Random image transforms on whole batches, with one set of random parameters per sample.

Distributions are those of the classes of the same name in torchvision.transforms.v2. Drawing and applying are separate
steps: a caller can draw for a whole batch, then apply in pieces that fit a cache, or apply its own parameters.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor, nn

from ssl_lightning.ranges import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, PositiveSpan
from ssl_lightning.transforms import functional

Params = dict[str, Any]
Shape = tuple[int, int, int, int]


class Op(nn.Module):
    """One random transform: `draw` returns its parameters, a dict of (B, ...) tensors, by default none; `transform`
    applies them.

    Subclasses may be data classes; `Chain` is none, for OmegaConf takes one in a mapping of views for a config.
    """

    reads_uint8 = False

    def __post_init__(self) -> None:
        super().__init__()

    def forward(self, images: Tensor, generator: torch.Generator) -> Tensor:
        B, C, H, W = images.shape
        images = images if self.reads_uint8 else functional.to_float(images)
        return self.transform(images, self.draw((B, C, H, W), generator))

    def draw(self, shape: Shape, generator: torch.Generator) -> Any:
        return {}

    def transform(self, images: Tensor, params: Any) -> Tensor:
        raise NotImplementedError

    def output_shape(self, shape: Shape) -> Shape:
        return shape


@dataclass(eq=False, repr=False)
class CentralSquare(Op):
    """The largest central square, resized to `size`, as in evaluation. Not random."""

    reads_uint8 = True

    size: PositiveInt

    def transform(self, images: Tensor, params: Params) -> Tensor:
        return functional.central_square(images, self.size)

    def output_shape(self, shape: Shape) -> Shape:
        return (*shape[:2], self.size, self.size)


@dataclass(eq=False, repr=False)
class RandomResizedCrop(CentralSquare):
    """Inception crop (Szegedy et al., 2015): a box of random area and aspect ratio, resized, then flipped.

    Each sample takes the first of 10 random boxes that fits, or the largest central box within `ratio` if none fits.
    In evaluation mode (`eval()`) it is its base class.

    Args:
        size: side of the output.
        scale: range of the area as a fraction of the image.
        ratio: range of width / height, log-uniform.
        flip: probability of a horizontal flip.
    """

    scale: PositiveSpan = (0.08, 1.0)
    ratio: PositiveSpan = (3 / 4, 4 / 3)
    flip: Fraction = 0.5

    def draw(self, shape: Shape, generator: torch.Generator) -> Params:
        if not self.training:
            return super().draw(shape, generator)
        B, _, H, W = shape
        area, aspect = _uniform((2, 10, B), generator)
        area = H * W * _between(area, self.scale)
        aspect = _between(aspect, (math.log(self.ratio[0]), math.log(self.ratio[1]))).exp()
        width, height = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
        fits = (width >= 1) & (width <= W) & (height >= 1) & (height <= H)
        first = fits.int().argmax(dim=0, keepdim=True)
        found = fits.any(dim=0)
        central_width = min(W, round(H * self.ratio[1]))
        central_height = min(H, round(W / self.ratio[0]))
        width = torch.where(found, width.gather(0, first)[0], central_width)
        height = torch.where(found, height.gather(0, first)[0], central_height)
        down, right, mirror = _uniform((3, B), generator)
        top = torch.where(found, down * (H - height + 1), (H - height) / 2).floor()
        left = torch.where(found, right * (W - width + 1), (W - width) / 2).floor()
        return {"top": top, "left": left, "height": height, "width": width, "flip": mirror < self.flip}

    def transform(self, images: Tensor, params: Params) -> Tensor:
        if not self.training:
            return super().transform(images, params)
        return functional.resized_crop(images, **params, size=self.size)


@dataclass(eq=False, repr=False)
class ColorJitter(Op):
    """Random brightness, contrast, saturation and hue with probability `p`, in random order.

    Factors are uniform in 1 +- strength, but at least 0; the hue rotates by up to +-`hue` turns. Deviation: the order
    is drawn once per batch, where torchvision draws it per image. The order of the drawn dict is the order of
    application. Samples without jitter get the parameters of the identity.
    """

    brightness: NonNegativeFloat
    contrast: NonNegativeFloat
    saturation: NonNegativeFloat
    hue: Annotated[float, Interval(ge=0, le=0.5)]
    p: Fraction = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        strengths = {"brightness": self.brightness, "contrast": self.contrast, "saturation": self.saturation}
        factors = {name: (max(0.0, 1 - strength), 1 + strength) for name, strength in strengths.items()}
        self.ranges = {"hue": (-self.hue, self.hue), **factors}

    def draw(self, shape: Shape, generator: torch.Generator) -> Params:
        *draws, chance = _uniform((len(self.ranges) + 1, shape[0]), generator)
        params = [
            (name, torch.where(chance < self.p, _between(u, ends), 0.0 if name == "hue" else 1.0))
            for (name, ends), u in zip(self.ranges.items(), draws, strict=True)
        ]
        return dict(params[place] for place in permutation(len(params), generator))

    def transform(self, images: Tensor, params: Params) -> Tensor:
        for name, parameter in params.items():
            images = getattr(functional, name)(images, parameter)
        return images


@dataclass(eq=False, repr=False)
class Grayscale(Op):
    """Grayscale on all channels, with probability `p`."""

    p: Fraction = 0.2

    def draw(self, shape: Shape, generator: torch.Generator) -> Params:
        return {"chosen": _uniform((shape[0],), generator) < self.p}

    def transform(self, images: Tensor, params: Params) -> Tensor:
        return functional.grayscale(images, **params)


@dataclass(eq=False, repr=False)
class GaussianBlur(Op):
    """Gaussian blur with probability `p` and a standard deviation uniform in `sigma` pixels.

    The kernel size defaults to a tenth of the image's side, made odd: 23 for 224 pixels (SimCLR, Appendix A).
    """

    p: Fraction = 0.5
    sigma: PositiveSpan = (0.1, 2.0)
    kernel_size: PositiveInt | None = None

    def draw(self, shape: Shape, generator: torch.Generator) -> Params:
        sigma, chosen = _uniform((2, shape[0]), generator)
        return {"sigma": torch.where(chosen < self.p, _between(sigma, self.sigma), 0.0)}

    def transform(self, images: Tensor, params: Params) -> Tensor:
        sigma = params["sigma"]
        kernel_size = self.kernel_size or 2 * (min(images.shape[2:]) // 20) + 1
        if images.device.type != "cpu":
            return functional.gaussian_blur(images, sigma, kernel_size)
        blurred = sigma.nonzero()[:, 0]  # a CPU can look at values for free and skips the others
        return images.index_copy(0, blurred, functional.gaussian_blur(images[blurred], sigma[blurred], kernel_size))


@dataclass(eq=False, repr=False)
class Solarize(Op):
    """Inverts the pixels at or above `threshold`, with probability `p`."""

    p: Fraction = 0.2
    threshold: Fraction = 0.5

    def draw(self, shape: Shape, generator: torch.Generator) -> Params:
        return {"threshold": torch.where(_uniform((shape[0],), generator) < self.p, self.threshold, torch.inf)}

    def transform(self, images: Tensor, params: Params) -> Tensor:
        return functional.solarize(images, **params)


@dataclass(eq=False, repr=False)
class RandomAffine(Op):
    """Random rotation, translation, scale, shear and elastic distortion, in a single sampling.

    Args:
        degrees: largest rotation.
        translate: largest shift as a fraction of the side; shifts are whole pixels.
        scale: range of the scale.
        shear: largest shear along x, in degrees.
        elastic_alpha: scale of the elastic distortion (Simard et al., 2003), uniform noise in [-1, 1] after blurring,
            in half-pixels as in torchvision's ElasticTransform; 0: none.
        elastic_sigma: standard deviation of that blur in pixels.
        fill: what is behind the border, 0 for black and 1 for white.
    """

    degrees: NonNegativeFloat
    translate: Fraction = 0.0
    scale: PositiveSpan = (1.0, 1.0)
    shear: float = 0.0
    elastic_alpha: NonNegativeFloat = 0.0
    elastic_sigma: PositiveFloat = 4.0
    fill: Fraction = 0.0

    def draw(self, shape: Shape, generator: torch.Generator) -> Params:
        B, _, H, W = shape
        angle, scale, x, y, shear = _uniform((5, B), generator)
        right, down = ((self.translate * side * (2 * u - 1)).round() for side, u in ((W, x), (H, y)))
        params = {
            "angle": _between(angle, (-self.degrees, self.degrees)),
            "translate": torch.stack((right, down), dim=1),
            "scale": _between(scale, self.scale),
            "shear": torch.stack((_between(shear, (-self.shear, self.shear)), torch.zeros_like(shear)), dim=1),
        }
        if self.elastic_alpha > 0:
            params["displacement"] = self._displacement(B, H, W, generator)
        return params

    def _displacement(self, B: int, H: int, W: int, generator: torch.Generator) -> Tensor:
        noise = _uniform((B, 2, H, W), generator).mul_(2).sub_(1)
        kernel_size = min(int(8 * self.elastic_sigma) | 1, 2 * min(H, W) - 1)
        sigma = torch.full((B,), self.elastic_sigma, device=noise.device)
        x, y = functional.gaussian_blur(noise, sigma, kernel_size).mul_(self.elastic_alpha).unbind(1)
        return torch.stack((x / W, y / H), dim=3)

    def transform(self, images: Tensor, params: Params) -> Tensor:
        if not self.fill:
            return functional.affine(images, **params)
        return functional.affine(images - self.fill, **params).add_(self.fill)


def permutation(n: int, generator: torch.Generator) -> list[int]:
    """A random order of range(n) as Python integers, without waiting for a GPU.

    For a GPU's generator the order is derived from its state (seed and offset), which the host knows.
    """
    if generator.device.type == "cpu":
        return torch.randperm(n, generator=generator).tolist()
    state = bytes(generator.get_state().tolist())
    return random.Random(state).sample(range(n), n)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _between(u: Tensor, ends: Sequence[float]) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * u
