"""Two 224-pixel views of a JPEG file: the speed of the published Pillow pipeline and of this project's, on one core.

    python -m benchmarks.views [--rounds 15]

Prints for each operation both times and the difference of the outputs (in grey levels of 0 to 255), then images per
second of the whole pipelines: medians over rounds that alternate between the two. The files are scikit-learn's two
photographs at 500 x 375 pixels, ImageNet's usual size.
"""

import io
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images
from torchvision.transforms import functional as P

from data.views import arrays
from data.views.published import BICUBIC, pretrain_transform
from utils.cli import Parser, positive

BOX = (30, 60, 300, 380)  # top, left, height, width
COLOUR = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def jpegs() -> list[bytes]:
    """The photographs as JPEG files of quality 92."""
    files = []
    for pixels in load_sample_images().images:
        buffer = io.BytesIO()
        Image.fromarray(pixels).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=92)
        files.append(buffer.getvalue())
    return files


def decode(file: bytes) -> Image.Image:
    """Decode as data.images.ImageFiles does."""
    return Image.open(io.BytesIO(file)).convert("RGB")


def seconds(work: Callable[[], object], times: int) -> float:
    """Mean time of one call."""
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def interleaved(functions: list[Callable[[], object]], rounds: int, times: int) -> list[float]:
    """Median seconds of one call of each function, over rounds in which they take turns."""
    measured = [[seconds(function, times) for function in functions] for _ in range(rounds + 1)]
    return [statistics.median(column) for column in zip(*measured[1:], strict=True)]  # the first round is a warm-up


def operations(file: bytes) -> list[tuple[str, Callable[[], Image.Image], Callable[[], np.ndarray]]]:
    """(name, with Pillow, without); without Pillow it is of data/views/arrays.py unless the name says otherwise."""
    image, array, raw = decode(file), np.array(decode(file)), np.frombuffer(file, np.uint8)
    small = P.resized_crop(image, *BOX, [224, 224], BICUBIC)
    view = np.array(small)
    top, left, height, width = BOX
    part, square = array[top : top + height, left : left + width], (224, 224)

    def resized() -> Image.Image:
        return P.resized_crop(image, *BOX, [224, 224], BICUBIC)

    return [
        ("decode, OpenCV (not taken)", lambda: decode(file), lambda: cv2.imdecode(raw, COLOUR)),
        ("resize, OpenCV cubic (not taken)", resized, lambda: cv2.resize(part, square, interpolation=cv2.INTER_CUBIC)),
        ("resize, OpenCV area (not taken)", resized, lambda: cv2.resize(part, square, interpolation=cv2.INTER_AREA)),
        ("resize, torch antialiased", resized, lambda: arrays.crop(array, BOX, 224, BICUBIC)),
        ("brightness", lambda: P.adjust_brightness(small, 1.3), lambda: arrays.brightness(view, 1.3)),
        ("contrast", lambda: P.adjust_contrast(small, 1.3), lambda: arrays.contrast(view, 1.3)),
        ("saturation", lambda: P.adjust_saturation(small, 1.3), lambda: arrays.saturation(view, 1.3)),
        ("hue", lambda: P.adjust_hue(small, 0.05), lambda: arrays.hue(view, 0.05)),
        ("grey", lambda: P.rgb_to_grayscale(small, 3), lambda: arrays.grey(view)),
        ("blur, sigma 1", lambda: small.filter(ImageFilter.GaussianBlur(1.0)), lambda: arrays.blur(view, 1.0)),
    ]


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--rounds", type=positive, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    files = jpegs()
    print(f"{'operation':34} {'Pillow ms':>9} {'other ms':>9} {'ratio':>6}  difference: mean, max")
    for name, pillow, other in operations(files[0]):
        slow, fast = interleaved([pillow, other], rounds, 10)
        apart = np.abs(np.asarray(pillow()).astype(int) - np.asarray(other()))
        print(f"{name:34} {slow * 1e3:9.3f} {fast * 1e3:9.3f} {slow / fast:6.2f}  {apart.mean():.3f}, {apart.max()}")

    published, ours = pretrain_transform(224, True, 1.0, 0.08, blur=True), arrays.PretrainView(224)

    def published_views() -> None:
        for file in files:
            image = decode(file)
            torch.stack([published(image), published(image)])

    def our_views() -> None:
        for file in files:
            image = np.array(decode(file))
            torch.stack([ours(image), ours(image)])

    slow, fast = (len(files) / s for s in interleaved([published_views, our_views], rounds, 15))
    print("\nimages per second and core, decoded, two views of 224 pixels each:")
    print(f"published Pillow pipeline {slow:.0f}, ours {fast:.0f}, ratio {fast / slow:.2f}")


if __name__ == "__main__":
    main()
