"""What a recipe of own images has where its user says nothing: by the number and the size of the images."""

from collections.abc import Mapping

from data.sets.base import DataSet
from data.sets.folder import ALL, SMALL

# Images of pre-training -> epochs: as many steps as the papers' recipes have, about 40,000, within these limits. Up to
# 12,000 images, as CIFAR-LT's and ImageNet-100-LT's have, they train for 500 to 2,000 epochs.
EPOCHS = ((20_000, "500"), (200_000, "200"), (10**12, "100"))
BATCH = {"cifar": 512, "imagenet": 256}  # the papers'
BATCHES = 4  # in an epoch, at least
LARGE = 100_000  # images from which on a ResNet-50 is taken


def own_settings(dataset: DataSet, said: Mapping[str, str]) -> dict[str, str]:
    """Settings of a recipe by name; {} of published data sets.

    Args:
        said: what the script and its user say.
    """
    if not dataset.own:
        return {}
    images, size = len(dataset.tree.parts["train"]), int(said.get("image_size") or dataset.size)
    stem = dataset.stem(size)
    batch = BATCH[stem]
    while batch > 2 and batch * BATCHES > images:
        batch //= 2
    epochs = next(epochs for most, epochs in EPOCHS if images <= most)
    lr = f"{min(0.5, 0.5 * batch / BATCH['imagenet']):g}"  # linear in the batch below that of the papers
    model = "res50" if size > SMALL and images >= LARGE else "res18"
    found = {"model": model, "epochs": epochs, "batch_size": str(batch), "lr": lr}
    return found if dataset.tree.classes else found | {"split": ALL, "only_pretraining": "True"}


def told(dataset: DataSet, values: Mapping[str, str]) -> str:
    """What the recipe is about to do, in a line."""
    images, classes = sum(map(len, dataset.tree.parts.values())), len(dataset.tree.classes)
    what = f"{images:,} images, {f'{classes} classes' if classes else 'no classes: no probes'}"
    how = f"views of {values['image_size'] or dataset.size} pixels, {values['model']}, {values['epochs']} epochs"
    return f"{what}; {how}, batches of {values['batch_size']}, learning rate {values['lr']}, list {values['split']}"
