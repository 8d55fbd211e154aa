"""The operations of the views on whole batches, with parameters for each image; on the CPU and on CUDA.

Images are float32 [n, 3, H, W] of whole levels 0 to 255, and stay so: Pillow rounds or truncates after each of its
steps. Brightness, contrast, saturation and grey equal Pillow's bit for bit, crops and hue except for a few pixels
(tests/data/test_batch_ops.py). Formulas are those of Pillow 13.

Parameters and masks are tensors on the CPU, with a row for each image. Images are selected there, so that nothing waits
for the device of the images. Products are in float32: the errors of TF32 or autocast would be of whole levels.
"""

from collections.abc import Callable

import torch

_GREY = tuple(weight / 65536 for weight in (19595, 38470, 7471))  # ITU-R 601-2 in the 16 bits of Pillow's mode L
_PIECE = 2**18  # values that pass through an operation at a time on the CPU, so that they stay in its cache

Operation = Callable[..., torch.Tensor]


def per_image(parameter: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Parameter [n] as float32 [n, 1, 1, 1] on the device of the images, without waiting for it."""
    return sent(parameter.to(torch.float32), images.device)[:, None, None, None]


def _pieces(images: torch.Tensor, rows: torch.Tensor) -> list[torch.Tensor]:
    """The indices `rows` of images, in pieces whose images fit a CPU's cache; on another device in one piece."""
    if not len(rows):
        return []
    step = max(1, _PIECE // max(1, images[0].numel())) if images.device.type == "cpu" else len(rows)
    return list(rows.split(step))


def apply_where(images: torch.Tensor, mask: torch.Tensor, operation: Operation, *parameters: torch.Tensor) -> None:
    """Replace the images [n, 3, H, W] where mask [n] is true, in place, by operation(images, *parameters).

    Args:
        mask: bool, on the CPU. parameters: on the CPU, a row for each of the n images. The operation gets the masked
            images, perhaps in several pieces, each with its rows of the parameters.
    """
    for rows in _pieces(images, mask.nonzero().flatten()):
        selected = sent(rows, images.device)
        images.index_copy_(0, selected, operation(images.index_select(0, selected), *(p[rows] for p in parameters)))


# ---- crop and resize


def _cubic(distance: torch.Tensor) -> torch.Tensor:
    """Pillow's bicubic filter (Resample.c), in place: cubic convolution with a = -0.5 (Keys, 1981).

    With u = max(2 - |x|, 0) and v = max(1 - |x|, 0) it is u^2 (u - 1) / 2 + v^2 (1 - 2 v): on a CPU sums of clamped
    values are many times faster than a choice between the filter's two pieces at each point.
    """
    near = distance.abs_().neg_().add_(1)  # v
    far = (near + 1).clamp_(min=0)
    near.clamp_(min=0)
    weights = (near * -2).add_(1).mul_(near).mul_(near)
    return weights.addcmul_(far * far, far - 1, value=0.5)


def _resize_weights(
    start: torch.Tensor, length: torch.Tensor, pixels: int, size: int, mirrored: torch.Tensor | None = None
) -> torch.Tensor:
    """Matrices [n, size, pixels] that crop [start, start + length) of an axis of `pixels` and resize it to `size`.

    Antialiased as in Pillow: the filter widens with the reduction, is cut off at the crop's edges, and sums to 1.

    Args:
        start, length: [n], whole numbers. mirrored: [n] bool, reverse the output's axis.
    """
    scale = length.double()[:, None, None] / size
    place = torch.arange(size, device=start.device).expand(len(start), size)
    if mirrored is not None:
        place = torch.where(mirrored[:, None], size - 1 - place, place)
    centre = (place[..., None] + 0.5) * scale - 0.5  # [n, size, 1]
    pixel = torch.arange(pixels, device=start.device).float() - start[:, None]  # [n, pixels], from the crop's edge
    # The whole and the fractional part of the centre apart: float32 has too few digits for their sum in large images.
    whole = centre.floor()
    distance = (pixel[:, None] - whole.float()).sub_((centre - whole).float())
    weights = _cubic(distance.div_(scale.clamp(min=1).float()))
    weights *= ((pixel >= 0) & (pixel < length[:, None])).float()[:, None]
    return weights.div_(weights.sum(2, keepdim=True))


def _products(images: torch.Tensor, down: torch.Tensor, across: torch.Tensor, vertical_first: bool) -> torch.Tensor:
    """down [n, h, H] @ images [n, 3, H, W] @ across [n, W, w] -> [n, 3, h, w]; rounded to levels after each product."""
    n, _, height, width = images.shape
    # With the channels between rows and columns, each product is of two matrices for an image, without a copy.
    rows = torch.empty(n, height, 3, width, device=images.device).copy_(images.transpose(1, 2))
    if vertical_first:
        once = torch.bmm(down, rows.view(n, height, 3 * width)).add_(0.5).floor_().clamp_(0, 255)
        twice = torch.bmm(once.view(n, -1, width), across)
    else:
        once = torch.bmm(rows.view(n, height * 3, width), across).add_(0.5).floor_().clamp_(0, 255)
        twice = torch.bmm(down, once.view(n, height, -1))
    return twice.add_(0.5).floor_().clamp_(0, 255).view(n, down.shape[1], 3, across.shape[2]).transpose(1, 2)


def crop_resize(images: torch.Tensor, boxes: torch.Tensor, flips: torch.Tensor, size: int) -> torch.Tensor:
    """Crop, resize (bicubic) and mirror: [n, 3, H, W] of any type -> float32 [n, 3, size, size] of whole levels.

    Args:
        images: whole levels. boxes: [n, 4] int64 on the CPU: top, left, height, width in pixels, inside the image.
        flips: [n] bool on the CPU, mirror left and right. size: pixels.

    Raises:
        ValueError: a box is not inside the image.
    """
    place, extent = boxes[:, :2], boxes[:, 2:]
    if len(boxes) and ((place < 0) | (extent < 1) | (place + extent > torch.tensor(images.shape[2:]))).any():
        raise ValueError(f"a box is not inside its image of {' x '.join(map(str, images.shape[2:]))} pixels")
    out = torch.empty(len(images), 3, size, size, device=images.device)
    # Pillow rounds between its two passes, so their order matters. Since Pillow 13 the vertical one is first if it
    # removes rows, and more than twice as many of them as the horizontal one removes columns (ImagingResampleInner).
    removed = extent - size
    vertical_first = (removed[:, 0] > 0) & (removed[:, 0] > 2 * removed[:, 1])
    for order in (False, True):
        for rows in _pieces(images, (vertical_first == order).nonzero().flatten()):
            selected, box, flip = (sent(t, images.device) for t in (rows, boxes[rows], flips[rows]))
            top, left, tall, wide = box.unbind(1)
            down = _resize_weights(top, tall, images.shape[2], size)
            across = _resize_weights(left, wide, images.shape[3], size, flip).transpose(1, 2)
            out.index_copy_(0, selected, _products(images.index_select(0, selected), down, across, order))
    return out


# ---- colours


def _luminance(images: torch.Tensor) -> torch.Tensor:
    """Pillow's mode L, [n, 1, H, W] of whole levels; exact, as its sums fit the 24 bits of float32."""
    red, green, blue = images.split(1, 1)
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2]).add_(0.5).floor_()


def grey(images: torch.Tensor) -> torch.Tensor:
    """The images without colour, in three equal channels."""
    return _luminance(images).repeat(1, 3, 1, 1)


def blend(ground: torch.Tensor, images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Pillow's Image.blend: ground + factor [n] (images - ground), clamped to [0, 255] and truncated."""
    return (images - ground).mul_(per_image(factor, images)).add_(ground).clamp_(0, 255).floor_()


def brightness(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Every value times its image's factor [n], at least 0."""
    return (images * per_image(factor, images)).clamp_(0, 255).floor_()


def contrast(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Difference from the image's mean grey, rounded to a level, times the image's factor [n], at least 0."""
    return blend(_luminance(images).mean((1, 2, 3), keepdim=True).add_(0.5).floor_(), images, factor)


def saturation(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Difference from the pixel's grey times the image's factor [n], at least 0."""
    return blend(_luminance(images), images, factor)


def _hue_saturation_value(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pillow's 8-bit mode HSV, [n, H, W] each; the hue is in [0, 255) and not yet truncated.

    Different levels are at least 1 apart, so clamps of differences can replace comparisons, which are many times slower
    on a CPU. The formula is that of colorsys.rgb_to_hsv; of channels that tie as the largest, red is before green, and
    green before blue.
    """
    red, green, blue = images.unbind(1)
    value = torch.maximum(red, green).maximum(blue)
    no_red, no_green, no_blue = value - red, value - green, value - blue
    spread = torch.maximum(no_red, no_green).maximum(no_blue)
    # Sixths of a turn times the spread, with blue, then green, then red as the largest channel: a later one replaces
    # the earlier result where it ties.
    turn = (no_green - no_red).add_(spread, alpha=4)
    turn.lerp_((no_red - no_blue).add_(spread, alpha=2), (1 - no_green).clamp_(min=0))
    around_red = no_blue - no_green
    around_red.addcmul_((-around_red).clamp_(0, 1), spread, value=6)
    turn.lerp_(around_red, (1 - no_red).clamp_(min=0))
    turn.mul_(255 / 6).div_(spread.clamp(min=1))
    return turn, spread.mul_(255).div_(value.clamp(min=1)).floor_(), value


def hue(images: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Hue of images of whole levels moved by `shift` [n] of a full turn, in [-0.5, 0.5].

    In 8 bits, as in Pillow: a shift of 0 changes some values, too. With k = |hue - c| in sixths of a turn, a channel is
    value (1 - saturation w), where w, clamped to [0, 1], is 2 - k for red (c = 3), k - 1 for green (c = 2) and blue
    (c = 4).
    """
    turn, saturated, value = _hue_saturation_value(images)
    # Wraps at 256, though a turn has 255 steps: so does torchvision's adjust_hue with the 8-bit hue of Pillow's images.
    steps = (shift.double() * 255).to(torch.int64).remainder(256).to(torch.uint8)
    sixths = turn.to(torch.uint8).add_(sent(steps, images.device)[:, None, None]).float().mul_(6)
    chroma = saturated.mul_(value)
    out = torch.empty_like(images)
    for channel, centre in enumerate((3, 2, 4)):
        part = (sixths - 255 * centre).abs_()  # 255 k
        part = (part.neg_().add_(510) if channel == 0 else part.sub_(255)).clamp_(0, 255)
        torch.addcmul(value, chroma, part, value=-1 / 255**2, out=out[:, channel])
    return out.round_()


_JITTER = (brightness, contrast, saturation, hue)


def jitter(images: torch.Tensor, apply: torch.Tensor, factors: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """torchvision's ColorJitter with parameters for each image: [n, 3, H, W] of whole levels -> the same shape.

    Args:
        apply: [n] bool on the CPU, images to change. factors: [n, 4] on the CPU, of brightness, contrast and
            saturation, and the shift of hue; a shift of exactly 0 leaves the hue out, as ColorJitter(hue=0) does.
        order: [n, 4] int64 on the CPU, a permutation of 0 to 3 for each image: its operations from first to last.

    Raises:
        ValueError: a row of order is no permutation of 0 to 3.
    """
    if (order.sort(1).values != torch.arange(4)).any():
        raise ValueError("each image's order must be a permutation of 0 to 3")
    images = images.to(torch.float32, copy=True)
    for chosen in order.unbind(1):
        for number, operation in enumerate(_JITTER):
            mask = apply & (chosen == number)
            if operation is hue:
                mask &= factors[:, number] != 0
            apply_where(images, mask, operation, factors[:, number])
    return images


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on the device, without waiting for it to arrive."""
    if device.type == "cuda" and not tensor.is_cuda and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
