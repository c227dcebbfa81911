"""Batched image functions with one parameter per sample, each equivalent to torchvision.transforms.v2.functional.

Images are (B, C, H, W), float in [0, 1], gray (C = 1) or RGB (C = 3). Parameters are (B,) unless stated otherwise.
Nothing here draws random numbers, loops over samples or modifies its input. Any memory layout is accepted.
`resized_crop` and `to_float` store channels outermost, as a transposed (C, B, H, W): every color plane of the batch is
then contiguous, and elementwise functions keep this layout.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.errors import InputError

LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, rounded as torchvision does


def to_float(images: Tensor) -> Tensor:
    """uint8 (B, C, H, W) to float32 in [0, 1]; returns float images unchanged."""
    if images.is_floating_point():
        return images
    B, C, H, W = images.shape
    planes = torch.empty(C, B, H, W, device=images.device)
    return planes.copy_(images.transpose(0, 1)).div_(255).transpose(0, 1)


def normalize(images: Tensor, mean: Tensor, std: Tensor, out: Tensor | None = None) -> Tensor:
    """(images - mean) / std with mean and std (C,); written to `out` if given."""
    return torch.sub(images, mean.view(-1, 1, 1), out=out).div_(std.view(-1, 1, 1))


def luma(images: Tensor) -> Tensor:
    """Brightness of each pixel, (B, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    if images.shape[1] != 3:
        raise InputError(f"color transforms need gray (C = 1) or RGB (C = 3) images, got C = {images.shape[1]}")
    red, green, blue = images.split(1, dim=1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """factor * images, clamped to [0, 1]; factor >= 0."""
    return (images * _per_sample(factor)).clamp_max_(1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blends each image with its mean luma by factor >= 0: 1 is the identity, 0 a uniform gray."""
    factor = _per_sample(factor)
    mean = luma(images.mean(dim=(2, 3), keepdim=True))
    return (images * factor).add_(mean * (1 - factor)).clamp_(0, 1)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blends each image with its gray version by factor >= 0: 1 is the identity, 0 the gray image."""
    if images.shape[1] == 1:
        return images
    return torch.lerp(luma(images), images, _per_sample(factor)).clamp_(0, 1)


def grayscale(images: Tensor, chosen: Tensor) -> Tensor:
    """Replaces images by their luma on every channel where `chosen` (B,) bool."""
    if images.shape[1] == 1:
        return images
    return torch.lerp(images, luma(images), _per_sample(chosen.to(images.dtype)))


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Rotates the hue in HSV space by `shift` in [-0.5, 0.5] turns.

    RGB to hue: for green >= blue the hue is (1 + (green + blue - red - low) / chroma) / 6 turns in all three sextants;
    for green < blue it is the mirror image, minus this value. Hue to RGB: each channel is a trapezoid of the hue, high
    within 1/6 turn of its peak and low beyond 1/3. Red peaks at 0, where the turn wraps around, so it is computed from
    its valley at 1/2.
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    # to hue: all of the following are (B, H, W)
    low = torch.minimum(green, blue).clamp_max_(red)
    high = torch.maximum(green, blue).clamp_min_(red)
    chroma = high.sub_(low)
    slope = chroma * 6  # a trapezoid changes by chroma within 1/6 turn
    turn = (green + blue).sub_(red).sub_(low)
    turn.div_(slope.clamp_min(torch.finfo(images.dtype).tiny)).add_(1 / 6).copysign_(green - blue)  # negative half
    turn.add_((shift + 1).view(-1, 1, 1)).frac_()  # shifted, into [0, 1)
    # and back to RGB
    valley = low - chroma  # red = valley + slope * clamp(distance to 1/2, 1/6, 1/3)
    peak = low.add_(chroma, alpha=2)  # green, blue = peak - slope * clamp(distance to their peak, 1/6, 1/3)
    result = torch.empty_like(images)
    torch.addcmul(valley, slope, _distance(turn, 1 / 2), out=result[:, 0])
    torch.addcmul(peak, slope, _distance(turn, 1 / 3), value=-1, out=result[:, 1])
    torch.addcmul(peak, slope, _distance(turn, 2 / 3), value=-1, out=result[:, 2])
    return result


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Inverts the pixels at or above `threshold`; a threshold above 1 is the identity."""
    return torch.where(images >= _per_sample(threshold), 1 - images, images)


def resized_crop(
    images: Tensor,
    top: Tensor,
    left: Tensor,
    height: Tensor,
    width: Tensor,
    flip: Tensor,
    size: int | Sequence[int],
) -> Tensor:
    """Crops a box of whole pixels from each image, resizes it (bilinear, antialiased) and mirrors it where `flip`.

    One matrix product per axis does all three: (B, C, H, W) uint8 or float -> (B, C, h, w) float. `flip`: (B,) bool;
    `size`: h and w.
    """
    H, W = images.shape[2:]
    h, w = (size, size) if isinstance(size, int) else size
    dtype = images.dtype if images.is_floating_point() else torch.float32
    rows = _resize_matrix(top, height, None, H, h, dtype)
    columns = _resize_matrix(left, width, flip, W, w, dtype)
    if not images.is_floating_point():
        columns /= 255
    return _separable(images.to(dtype), rows, columns)


def central_square(images: Tensor, size: int) -> Tensor:
    """The largest central square, resized to `size` if necessary: (B, C, H, W) uint8 or float -> (B, C, size, size)."""
    B, _, H, W = images.shape
    if H == W == size:
        return to_float(images)
    side = min(H, W)
    zeros = torch.zeros(B, dtype=torch.long, device=images.device)
    top, left, extent = zeros + (H - side) // 2, zeros + (W - side) // 2, zeros + side
    return resized_crop(images, top, left, extent, extent, zeros.bool(), size)


def gaussian_blur(images: Tensor, sigma: Tensor, kernel_size: int) -> Tensor:
    """Gaussian blur of `sigma` pixels (0: none) with an odd `kernel_size` and reflection at the borders."""
    H, W = images.shape[2:]
    if kernel_size % 2 == 0 or kernel_size // 2 >= min(H, W):
        raise InputError(
            f"blur kernel_size {kernel_size} does not fit {H} x {W} images: it must be odd, < {2 * min(H, W)}"
        )
    radius = kernel_size // 2
    offset = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = (-0.5 * (offset / sigma.to(images.dtype).clamp_min(1e-6)[:, None]) ** 2).softmax(dim=1)  # (B, kernel_size)
    rows = _blur_matrix(kernel, H)
    return _separable(images, rows, rows if H == W else _blur_matrix(kernel, W))


def affine(
    images: Tensor,
    angle: Tensor,
    translate: Tensor,
    scale: Tensor,
    shear: Tensor,
    displacement: Tensor | None = None,
) -> Tensor:
    """Rotates by `angle` and shears by `shear` (B, 2) degrees, scales, then translates by `translate` (B, 2) pixels.

    The center of the image is fixed, and pixels outside the image are 0. An elastic `displacement` (B, H, W, 2), x then
    y in units of half the image, is added to the sampling positions, so that both together take one bilinear sampling.
    """
    B, _, H, W = images.shape
    turn, (shear_x, shear_y) = angle.deg2rad(), shear.deg2rad().unbind(1)
    # The inverse of R(turn) Y(shear_y) X(shear_x) scale, as torchvision composes them
    cos, sin = (turn - shear_y).cos() / shear_y.cos(), (turn - shear_y).sin() / shear_y.cos()
    xx, xy = turn.cos() - sin * shear_x.tan(), turn.sin() + cos * shear_x.tan()
    linear = torch.stack((xx, xy, -sin, cos), dim=1).div(scale[:, None]).view(B, 2, 2).to(images.dtype)
    shift = -(linear @ translate.to(images.dtype)[:, :, None])[:, :, 0]
    x = torch.arange(W, device=images.device, dtype=images.dtype) - (W - 1) / 2
    y = torch.arange(H, device=images.device, dtype=images.dtype) - (H - 1) / 2
    from_x = (x[:, None] * linear[:, None, :, 0] + shift[:, None])[:, None]  # (B, 1, W, 2)
    grid = from_x + (y[:, None] * linear[:, None, :, 1])[:, :, None]  # (B, H, W, 2) pixels from the center
    grid[..., 0] *= 2 / W
    grid[..., 1] *= 2 / H
    if displacement is not None:
        grid += displacement
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _per_sample(parameter: Tensor) -> Tensor:
    return parameter.view(-1, 1, 1, 1)


def _distance(turn: Tensor, center: float) -> Tensor:
    return (turn - center).abs_().clamp_(1 / 6, 1 / 3)


def _resize_matrix(
    start: Tensor, extent: Tensor, flip: Tensor | None, length: int, size: int, dtype: torch.dtype
) -> Tensor:
    """(B, size, length): row i holds the weights of the input pixels in output pixel i.

    The filter is a triangle around the center of the output pixel, max(1, extent / size) input pixels wide to each
    side. It is cut off at the ends of the crop and rescaled to sum 1. Pixels outside the crop get an infinite distance.
    """
    start, extent = start.to(dtype)[:, None], extent.to(dtype)[:, None]
    step = extent / size
    half_width = step.clamp_min(1)
    pixel = torch.arange(0.5, length, device=start.device, dtype=dtype) - start  # (B, length), 0 where the crop starts
    outside = (pixel < 0).logical_or_(pixel > extent)
    pixel.div_(half_width).masked_fill_(outside, torch.inf)
    center = torch.arange(0.5, size, device=start.device, dtype=dtype) * step  # (B, size)
    if flip is not None:
        center = torch.where(flip[:, None], extent - center, center)
    center.div_(half_width)
    weights = (pixel[:, None, :] - center[:, :, None]).abs_().sub_(1).clamp_max_(0)  # minus the triangle
    return weights.div_(weights.sum(dim=2, keepdim=True))


def _blur_matrix(kernel: Tensor, length: int) -> Tensor:
    """(B, length, length): convolution with `kernel` (B, kernel_size), with reflection at both ends, as a matrix."""
    size = kernel.shape[1]
    pixel = torch.arange(length, device=kernel.device)
    source = (pixel + torch.arange(size, device=kernel.device)[:, None] - size // 2).abs()  # (kernel_size, length)
    source = length - 1 - (length - 1 - source).abs()  # reflected at the far end too
    lands = (source[:, :, None] == pixel).to(kernel.dtype)  # (kernel_size, length, length)
    return (kernel @ lands.flatten(1)).view(-1, length, length)


def _separable(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """rows (B, h, H) @ images (B, C, H, W) @ columns (B, w, W) transposed -> (B, C, h, w), channels outermost."""
    B, C, H, W = images.shape
    h, w = rows.shape[1], columns.shape[1]
    wide = torch.bmm(images.reshape(B, C * H, W), columns.transpose(1, 2)).view(B, C, H, w)
    planes = torch.empty(C, B, h, w, device=images.device, dtype=images.dtype)
    for channel in range(C):
        torch.bmm(rows, wide[:, channel], out=planes[channel])
    return planes.transpose(0, 1)


def cut(images: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    """Cuts N patches out of each image: (B, C, H, W) -> (B, N, C, size, size).

    `top` and `left` are their corners, (B, N, 1), or (B, N, C) with one corner per channel, int64. Patches must lie
    inside the image.
    """
    B, C = images.shape[:2]
    step = torch.arange(size, device=images.device)
    # indices that broadcast to (B, N, C, size, size)
    rows, columns = (top[..., None] + step)[..., :, None], (left[..., None] + step)[..., None, :]
    sample = torch.arange(B, device=images.device).view(B, 1, 1, 1, 1)
    channel = torch.arange(C, device=images.device).view(C, 1, 1)
    return images[sample, channel, rows, columns]


def random_integers(high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """int64, uniform in [0, high), on the device of the generator."""
    return torch.randint(high, shape, generator=generator, device=generator.device)
