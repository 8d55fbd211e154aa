"""How good the features are while pre-training runs: weighted kNN on the validation list, never on the test set.

Wu et al., CVPR 2018, section 3.4: an image takes the class whose training images among its k nearest, by the cosine
similarity s of features before the head, have the largest sum of exp(s / 0.1). Nothing is trained, so it is cheap.
"""

import argparse
from itertools import islice

import numpy as np
from torch import nn

from data.groups import GROUPS, groups_of
from data.images import ImageSet, PathList
from data.loader import AugmentedImages
from data.sets.files import LIST_SPECS, PRETRAIN_LISTS
from data.sets.memory import load
from data.sets.registry import spec_of
from features.accuracy import accuracy, count_hits
from features.extract import extract
from features.images import Images, file_test_loader, images_in_memory, images_of_files, subset
from features.knn import knn_scores
from models.frozen import frozen_backbone
from models.published import has_dual_batch_norm, load_state, to_backbone
from models.resnet import build_backbone
from run.bad_images import BadImages
from run.compute import Compute
from run.log import Log
from run.randomness import undisturbed
from split.open import Lists
from utils.distributed import World, take_buffers

BATCH = 256  # images that go through the network at once, whatever the processes: so features are the same


class Monitor:
    """kNN of a pre-training: images and lists are found, and checked, when it is made.

    Args:
        images: the training images, the bank. counts: of them per class, which make Many, Medium and Few: thirds in
            memory, thresholds of image files. Classes of one size have no groups.

    Raises:
        InputError: the validation list is missing or bad, has images that are trained on, or its images are not there.
    """

    def __init__(
        self,
        images: AugmentedImages,
        counts: list[int],
        args: argparse.Namespace,
        compute: Compute,
        world: World,
        lists: Lists | None = None,
    ) -> None:
        lists = lists or Lists()
        self.compute, self.world, self.classes = compute, world, len(counts)
        files, data = args.dataset in PRETRAIN_LISTS, images.images.images
        if files:
            spec = LIST_SPECS[PRETRAIN_LISTS[args.dataset][0]]
            val = lists.paths(spec.val, spec, args.data, apart=(data,))
            size = args.image_size or spec.size
            args = argparse.Namespace(**{**vars(args), "image_size": size, "test_batch_size": BATCH})
            file_test_loader(val, args, world)  # looks whether they are there
        else:
            whole = load(spec_of(args.dataset), args.data, train=True, download=args.download)
            spec, data = whole.spec, ImageSet(whole.spec, data, images.labels)
            val = subset(whole, lists.indices(spec.val_list, spec, whole.labels))
        self.args, self.bank, self.val = args, data, val
        groups = groups_of(counts, files) if max(counts) > min(counts) else {}
        self.groups = {"All": list(range(self.classes)), **{name: groups.get(name, []) for name in GROUPS}}
        with undisturbed(world.device):
            self.backbone = compute.on_device(build_backbone(args.model, "imagenet" if files else "cifar"))

    def report(self, encoder: nn.Module, epoch: int, log: Log, bad: BadImages) -> None:
        """Tell, and record, the accuracy in percent after `epoch`, of all processes; training goes on as without.

        Raises:
            InputError: an image is bad and --on_bad_image is error.
        """
        with undisturbed(self.world.device):
            per_class = self._accuracies(encoder, bad)
        bad.report()
        found = {}
        for name, classes in self.groups.items():
            known = [per_class[c] for c in classes if per_class[c] is not None]
            found[name] = float(np.mean(known)) if known else None
        told = ", ".join(f"{name} {value:.2f}" for name, value in found.items() if value is not None)
        log.info(f"kNN on the validation list after epoch {epoch}, accuracy in %: {told}")
        log.metrics(epoch=epoch, **{f"knn_{name.lower()}": value for name, value in found.items()})

    def _accuracies(self, encoder: nn.Module, bad: BadImages) -> list[float | None]:
        """Of each class; only the main process knows."""
        state = encoder.state_dict()  # for a network of its own: this one may be synchronised, and has two branches
        state = to_backbone(state, 0 if has_dual_batch_norm(state) else -1)
        load_state(self.backbone, state, "the network", head=False)
        take_buffers(self.backbone)  # else each process has statistics of its own where they are not synchronised
        frozen = frozen_backbone(self.backbone, *self.compute.placement)
        bank, val = (extract(frozen, self._images(item, bad), self.world.device) for item in (self.bank, self.val))
        if not self.world.main:
            return [None] * self.classes
        scores = knn_scores(bank, val.values, self.classes)
        return accuracy(count_hits(scores.cpu().numpy(), val.labels.cpu().numpy(), self.classes))["per_class"]

    def _images(self, item: ImageSet | PathList, bad: BadImages) -> Images:
        """This process's batches, plain: whole ones are dealt."""
        if isinstance(item, PathList):
            # A new loader each time: its workers would stay to the end of the run.
            return images_of_files(file_test_loader(item, self.args, self.world), bad)
        return islice(images_in_memory(item, BATCH), self.world.rank, None, self.world.size)
