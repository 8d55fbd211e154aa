"""scikit-learn's 1,797 handwritten digits at 16 pixels: small enough to try everything out in minutes."""

import numpy as np
from PIL import Image

from data.sets.base import MemorySet


def read(dataset: MemorySet, root: str, train: bool, download: bool | None) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 16, 16, 3] uint8, grey, and labels [N]; the last 40 of each class, later writers, are the test set.

    They come with scikit-learn: `root` and `download` are ignored.
    """
    from sklearn.datasets import load_digits

    grey, labels = load_digits(return_X_y=True)
    grey = np.round(grey.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    test = np.zeros(len(labels), bool)
    for c in range(10):
        test[np.flatnonzero(labels == c)[-40:]] = True
    chosen = np.flatnonzero(test != train)
    size, bicubic = (dataset.size, dataset.size), Image.Resampling.BICUBIC
    images = np.stack([np.asarray(Image.fromarray(grey[i]).resize(size, bicubic)) for i in chosen])
    return np.repeat(images[..., None], 3, axis=3), labels[chosen]


# The 1,397 images that are not test images.
DIGITS = MemorySet(
    "digits", classes=10, train_images=1_397, size=16, flip=False, val_per_class=14, train_per_class=120, few_shot=5,
    imb_factor=20, prefix="digits_", read=read, needs_folder=False, shots=(20, 10),
    recipe="digits-LT.sh",
)  # fmt: skip
