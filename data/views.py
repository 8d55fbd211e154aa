"""Augmentations as published, and the datasets and sampler that apply them reproducibly.

What a sample looks like is a function of seed, epoch and sample id alone: workers, their number and the order in
which they run change nothing, and a resumed run sees what an undisturbed one would have seen.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from torchvision import transforms as T

from utils.distributed import cores

BICUBIC = T.InterpolationMode.BICUBIC
Transform = Callable[[Image.Image], torch.Tensor]


def pretrain_transform(size: int, flip: bool, strength: float = 1.0, resize_lower: float = 0.1) -> Transform:
    """One view for 32-pixel images (SDCLR's train_simCLR.py): [3, size, size] in [0, 1].

    Args:
        size: pixels. flip: mirror half of the images. strength: factor on the jitter (0.4, 0.4, 0.4, 0.1).
        resize_lower: smallest crop, as a share of the image's area, in (0, 1].
    """
    s = strength
    jitter = T.ColorJitter(0.4 * s, 0.4 * s, 0.4 * s, 0.1 * s)
    return T.Compose(
        [
            T.RandomResizedCrop(size, scale=(resize_lower, 1.0), interpolation=BICUBIC),
            *([T.RandomHorizontalFlip()] if flip else []),
            T.RandomApply([jitter], p=0.8),
            T.RandomGrayscale(p=0.2),
            T.ToTensor(),
        ]
    )


def probe_transform(size: int, flip: bool) -> Transform:
    """The probes' training augmentation (SDCLR's train_cifar.py): shifted crop (4 pixels of 32) and flip."""
    mirror = [T.RandomHorizontalFlip()] if flip else []
    return T.Compose([T.RandomCrop(size, padding=size // 8), *mirror, T.ToTensor()])


class AugmentedImages(Dataset):
    """`views` random draws of `transform` for each image, reproducible per (epoch, sample id).

    Args:
        images: [N, H, W, 3] uint8. labels: [N] int64. transform: one view. seed: of all draws. views: per image.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Transform, seed: int, views: int = 1) -> None:
        self.images, self.labels = images, torch.from_numpy(labels)
        self.transform, self.seed, self.views = transform, seed, views

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int, torch.Tensor]:
        """(epoch, sample id) -> views [views, 3, H, W] in [0, 1], sample id, label."""
        epoch, index = key
        image = Image.fromarray(self.images[index])
        state = torch.get_rng_state()
        # torch.manual_seed would also queue a call for CUDA, in every worker, for every sample.
        mixed = np.random.SeedSequence((self.seed, epoch, index)).generate_state(1, np.uint64)[0]
        torch.default_generator.manual_seed(int(mixed))
        try:
            views = torch.stack([self.transform(image) for _ in range(self.views)])
        finally:
            torch.set_rng_state(state)
        return views, index, self.labels[index]


class EpochSampler(DistributedSampler):
    """DistributedSampler that yields (epoch, sample id), so that workers that persist learn the epoch.

    Shuffles as a function of seed and epoch; pads with repeated samples to a multiple of the processes, as published.
    """

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = super().__iter__()
        return ((self.epoch, index) for index in order)


def make_loader(
    dataset: AugmentedImages, sampler: EpochSampler, batch: int, workers: int, device: torch.device
) -> DataLoader:
    """Batches of `batch` images, the last one short; at most one worker per core. Their number changes no sample."""
    workers = min(workers, cores())
    return DataLoader(
        dataset,
        batch,
        sampler=sampler,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )


def to_batch(images: np.ndarray) -> torch.Tensor:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in [0, 1]: the evaluation's whole transform."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255)
