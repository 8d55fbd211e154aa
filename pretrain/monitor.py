"""How good the features are while pre-training runs: weighted kNN on the validation list, never on the test set.

Wu et al., CVPR 2018, section 3.4: an image takes the class whose training images among its k nearest, by the cosine
similarity s of features before the head, have the largest sum of exp(s / 0.1). Nothing is trained, so it is cheap.
"""

from collections.abc import Iterable

import numpy as np
from torch import nn

from data.flags import Views
from data.groups import GROUPS
from data.images import ImageList
from data.loader import Batch
from features.accuracy import accuracy, count_hits
from features.extract import extract
from features.images import images_of
from features.knn import knn_scores
from models.frozen import frozen_backbone
from models.published import has_dual_batch_norm, load_state, to_backbone
from models.resnet import build_backbone
from pretrain.images import TrainingImages
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
        training: the training images, un-augmented the bank; their class sizes make Many, Medium and Few, classes of
            one size have no groups. views: how images become views. model: name of the backbone.

    Raises:
        InputError: the validation list is missing or bad, has images that are trained on, or its images are not there.
    """

    def __init__(
        self,
        training: TrainingImages,
        views: Views,
        model: str,
        compute: Compute,
        world: World,
        lists: Lists | None = None,
    ) -> None:
        self.data, self.bank, counts = training.data, training.chosen, training.counts
        spec, lists = self.data.spec, lists or Lists()
        self.views, self.compute, self.world, self.classes = views, compute, world, spec.classes
        self.val = lists.open(spec.val_list, self.data, (self.bank,))
        self._batches(self.val)  # looks whether they are there
        groups = spec.groups(counts) if max(counts) > min(counts) else {}
        self.groups = {"All": list(range(self.classes)), **{name: groups.get(name, []) for name in GROUPS}}
        with undisturbed(world.device):
            self.backbone = compute.on_device(build_backbone(model, spec.stem))

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
        bank, val = (
            extract(frozen, images_of(self._batches(chosen), bad), self.world.device)
            for chosen in (self.bank, self.val)
        )
        if not self.world.main:
            return [None] * self.classes
        scores = knn_scores(bank, val.values, self.classes)
        return accuracy(count_hits(scores.cpu().numpy(), val.labels.cpu().numpy(), self.classes))["per_class"]

    def _batches(self, chosen: ImageList) -> Iterable[Batch]:
        """This process's, plain: whole ones are dealt. A new loader each time: its workers would stay to the end."""
        return self.data.plain(chosen, self.views, BATCH, self.world)
