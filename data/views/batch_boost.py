"""Class Boost of boost.py on whole batches: RandAugment with parameters for each image; on the CPU and on CUDA.

Images are float32 [n, 3, H, W] of whole levels 0 to 255, and stay so. Values and uniform numbers are tensors on the
CPU, so that nothing waits for the device of the images. Operations, their ranges and how strong they are is as in
data/views/boost.py; the formulas of the operations are those of Pillow 13.
"""

from collections.abc import Callable

import torch

from data.views.batch_ops import apply_where, blend, brightness, contrast, per_image, saturation, sent
from data.views.boost import FILL, FULL, OPERATIONS, Boost

Operation = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def _signed(value: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Value [n] as float64, negative where the first of the uniform numbers u [n, 2] is over 0.5."""
    return torch.where(u[:, 0] > 0.5, -value.double(), value.double())


def affine(images: torch.Tensor, **entries: torch.Tensor) -> torch.Tensor:
    """Pillow's Image.transform with AFFINE: the nearest pixel, black outside.

    Args:
        entries: `a` to `f`, [n] float64 on the CPU: output pixel (x, y) comes from (a x + b y + c, d x + e y + f). The
            default of each is that of the identity.
    """
    n, channels, height, width = images.shape
    zero, one = torch.zeros(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64)
    a, b, c, d, e, f = ({"a": one, "b": zero, "c": zero, "d": zero, "e": one, "f": zero} | entries).values()
    units = torch.stack((a, b, c + (a + b) / 2, d, e, f + (d + e) / 2), 1) * 2**16  # of the centres of pixels
    # Pillow computes in 16.16 fixed point, except where the image is only moved or scaled (Geometry.c).
    straight = (b == 0) & (d == 0)
    units = torch.where(straight[:, None], units, (units + 0.5).floor())
    a, b, c, d, e, f = sent(units, images.device)[..., None, None].unbind(1)
    y = torch.arange(height, device=images.device)[:, None]
    x = torch.arange(width, device=images.device)
    column = (a * x + (b * y + c)).div_(2**16).floor_()
    row = (d * x + (e * y + f)).div_(2**16).floor_()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    source = row.clamp_(0, height - 1).mul_(width).add_(column.clamp_(0, width - 1)).long()
    pixels = images.flatten(2).gather(2, source.view(n, 1, -1).expand(n, channels, -1))
    return pixels.view_as(images).mul_(inside[:, None])


def rotate(images: torch.Tensor, value: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Rotated around the centre by `value` [n] degrees, to either side."""
    angle = torch.deg2rad(_signed(value, u))
    (cos, sin), (y, x) = (angle.cos(), angle.sin()), (side / 2 for side in images.shape[2:])
    return affine(images, a=cos, b=-sin, c=x - x * cos + y * sin, d=sin, e=cos, f=y - x * sin - y * cos)


def auto_contrast(images: torch.Tensor) -> torch.Tensor:
    """Each channel stretched to [0, 255]; unchanged if it has a single level."""
    low = images.amin((2, 3), keepdim=True).double()
    spread = images.amax((2, 3), keepdim=True) - low
    # Not `255 / spread`: torch would multiply by the reciprocal, whose last bit decides which level is truncated.
    scale = torch.full_like(spread, 255).div_(torch.where(spread > 0, spread, 255))
    offset = torch.where(spread > 0, -low * scale, 0)
    # In float64 and in Pillow's order, because the result is truncated.
    return images.double().mul_(scale).add_(offset).floor_().clamp_(0, 255).float()


def equalize(images: torch.Tensor) -> torch.Tensor:
    """Each channel's histogram equalised (ImageOps.equalize).

    Let step = floor(pixels darker than the channel's lightest level / 255). A level becomes
    floor((pixels darker than it + floor(step / 2)) / step), at most 255; the channel is unchanged if step is 0.
    """
    levels = images.flatten(2).long()
    counts = torch.zeros(*levels.shape[:2], 256, dtype=torch.long, device=images.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    darker = counts.cumsum(2) - counts
    step = darker.gather(2, levels.amax(2, keepdim=True)) // 255
    table = ((darker + step // 2) // step.clamp(min=1)).clamp_(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return table.gather(2, levels).view_as(images).to(images.dtype)


def solarize(images: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Levels of at least `value` [n] inverted."""
    return torch.where(images < per_image(value.ceil(), images), images, 255 - images)


def posterize(images: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The highest `value` [n] bits of each level, rounded down and at least 1, the others set to 0."""
    unit = per_image(2 ** (8 - value.floor().clamp(min=1)), images)
    return (images / unit).floor_().mul_(unit)


def sharpness(images: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Difference from the smoothed image times `value` [n].

    The smoothed image is the mean of 3 x 3 pixels in which the middle one counts five times; its border is unchanged.
    """
    rows = images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * images[:, :, 1:-1, 1:-1]
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = (total / 13).add_(0.5).floor_()
    return blend(smooth, images, value)


def cutout(images: torch.Tensor, value: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """A grey square around the point of u [n, 2], its side `value` [n] as a share of the width; see boost.cutout."""
    extent = torch.tensor([images.shape[3], images.shape[2]])  # of x and y
    side = value.double()[:, None] * extent[0]
    first = (1 + u.double() * (extent - 1) - side / 2).clamp(min=0).floor()
    last = torch.minimum(first + side, extent).floor()  # included: Pillow paints it, too
    last = torch.where(side > 0, last, -1)
    bounds = sent(torch.stack((first, last), 2), images.device)
    masks = []
    for axis, pixels in enumerate(extent.tolist()):
        place = torch.arange(pixels, device=images.device)
        masks.append((place >= bounds[:, axis, :1]) & (place <= bounds[:, axis, 1:]))
    fill = sent(torch.tensor(FILL, dtype=images.dtype), images.device)
    return torch.where((masks[1][:, :, None] & masks[0][:, None])[:, None], fill[:, None, None], images)


# name -> operation of images, values [n] and uniform numbers [n, 2]. data.views.boost.OPERATIONS has order and ranges.
BATCH_OPERATIONS: dict[str, Operation] = {
    "ShearX": lambda images, value, u: affine(images, b=_signed(value, u)),
    "ShearY": lambda images, value, u: affine(images, d=_signed(value, u)),
    "TranslateX": lambda images, value, u: affine(images, c=_signed(value, u) * images.shape[3]),
    "TranslateY": lambda images, value, u: affine(images, f=_signed(value, u) * images.shape[2]),
    "Rotate": rotate,
    "AutoContrast": lambda images, value, u: auto_contrast(images),
    "Invert": lambda images, value, u: 255 - images,
    "Equalize": lambda images, value, u: equalize(images),
    "Solarize": lambda images, value, u: solarize(images, value),
    "Posterize": lambda images, value, u: posterize(images, value),
    "Contrast": lambda images, value, u: contrast(images, value),
    "Color": lambda images, value, u: saturation(images, value),
    "Brightness": lambda images, value, u: brightness(images, value),
    "Sharpness": lambda images, value, u: sharpness(images, value),
    "Cutout": cutout,
}


def boost_batch(
    boost: Boost, images: torch.Tensor, scores: torch.Tensor, u: torch.Tensor, draws: torch.Tensor
) -> torch.Tensor:
    """Boosted views [n, 3, H, W] of images of that shape; levels are rounded only where an operation applies.

    Args:
        boost: number k of operations, strength and floor. scores: [n] in [0, 1], M of boost.py. u: [n], of
            Boost.draw(). draws: [n, k, 4] uniform in [0, 1) for each of the k operations: which it is, whether it
            applies (if less than the score), and two for the operation's sign or place. All on the CPU.

    Raises:
        ValueError: the draws are not 4 for each of the n images and k operations.
    """
    if draws.shape != (len(images), boost.k, 4):
        raise ValueError(f"draws must be {[len(images), boost.k, 4]}, not {list(draws.shape)}")
    share = (boost.floor + (boost.strength - boost.floor) * scores.double() * u.double()) / FULL
    chosen = (draws[..., 0].double() * len(OPERATIONS)).long()
    applies = draws[..., 1] < scores[:, None]
    images = images.to(torch.float32, copy=True)
    for step in range(boost.k):
        for number, (name, (_, low, high)) in enumerate(OPERATIONS.items()):
            mask = applies[:, step] & (chosen[:, step] == number)
            value = low + share * (high - low)
            apply_where(images, mask, _rounding(BATCH_OPERATIONS[name]), value, draws[:, step, 2:])
    return images


def _rounding(operation: Operation) -> Operation:
    """The operation on images rounded to whole levels."""
    return lambda images, value, u: operation(images.round(), value, u)
