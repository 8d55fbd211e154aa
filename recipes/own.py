"""Defaults of a recipe for the user's own images: they follow from the number and the size of the images."""

from collections.abc import Mapping

from data.sets.base import DataSet
from data.sets.folder import ALL, SMALL

# (most images of pre-training, epochs): about 40,000 steps, as in the papers' recipes, but between 100 and 500 epochs.
# The papers train for 500 to 2,000 epochs on up to 12,000 images (CIFAR-LT, ImageNet-100-LT).
EPOCHS = ((20_000, "500"), (200_000, "200"), (10**12, "100"))
BATCH = {"cifar": 512, "imagenet": 256}  # images; by stem, as in the papers
BATCHES = 4  # fewest batches of an epoch
LARGE = 100_000  # images of pre-training from which on the model is a ResNet-50


def own_settings(dataset: DataSet, given: Mapping[str, str]) -> dict[str, str]:
    """Default settings of a recipe by name; {} of published data sets.

    Args:
        given: settings that the script and its user give.
    """
    if not dataset.own:
        return {}
    images, size = len(dataset.tree.parts["train"]), int(given.get("image_size") or dataset.size)
    stem = dataset.stem(size)
    batch = BATCH[stem]
    while batch > 2 and batch * BATCHES > images:
        batch //= 2
    epochs = next(epochs for most, epochs in EPOCHS if images <= most)
    lr = f"{min(0.5, 0.5 * batch / BATCH['imagenet']):g}"  # linear in the batch size, up to the papers' rate
    model = "res50" if size > SMALL and images >= LARGE else "res18"
    settings = {"model": model, "epochs": epochs, "batch_size": str(batch), "lr": lr}
    return settings if dataset.tree.classes else settings | {"split": ALL, "only_pretraining": "True"}


def summary(dataset: DataSet, values: Mapping[str, str]) -> str:
    """One line on the images and the settings of a recipe, to be printed before it begins."""
    images, classes = sum(map(len, dataset.tree.parts.values())), len(dataset.tree.classes)
    data = f"{images:,} images, {f'{classes} classes' if classes else 'no classes: no probes'}"
    model = f"views of {values['image_size'] or dataset.size} pixels, {values['model']}, {values['epochs']} epochs"
    return f"{data}; {model}, batches of {values['batch_size']}, learning rate {values['lr']}, list {values['split']}"
