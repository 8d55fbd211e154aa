"""Three scores of how much a training image looks like the tail to a network that was pre-trained without labels.

Each is [N] float64 in the order of the training list, higher for more tail-like images, NaN for an image without one.

- disagreement, 1 - cos(f(x; w), f(x; m * w)) in [0, 2], between the projections of the un-augmented image by the dense
  and by the pruned network: the images that pruning makes a network forget (pruning-identified exemplars; Hooker et
  al., "What Do Compressed Deep Neural Networks Forget?", 2019) are mostly tail images (SDCLR, section 3).
- memorisation, BCL's score in [0, 1] (Zhou et al., ICML 2022, section 3.2; methods/bcl.py), from the training losses.
- loss, NT-Xent in nats of the dense network, averaged over augmented passes in random batches, as in MAK (Jiang et
  al., "Improving Contrastive Learning on Imbalanced Data via Open-World Sampling", NeurIPS 2021).
"""

import copy
from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from data.loader import Batch, BatchedLoader, on_device
from data.samplers import EpochSampler
from features.encoder import Source
from features.extract import images_of
from methods.bcl import memorisation_score
from methods.simclr import nt_xent
from models import build_encoder
from models.batch_norm import DualBatchNorm
from models.mask import Masks, make_prunable, pruned, set_masks
from models.published import has_dual_batch_norm, load_state
from models.resnet import build_backbone
from run.bad_images import BadImages
from run.compute import Compute
from utils.errors import InputError

SCORES = ("disagreement", "memorisation", "loss")
WIDEST = 65536  # dimensions that a projection or a hidden layer of the head may have


def build_encoder_of(source: Source, name: str) -> nn.Module:
    """The prunable encoder with the weights of a checkpoint, in evaluation mode; their shapes give that of the head.

    Another library's encoder has no head here: its features take the place of projections.

    Args:
        name: of the backbone, one of MODELS.

    Raises:
        InputError: a checkpoint of ours has no projection head, or the checkpoint is of another model.
    """
    state, stem = source.encoder.state, source.encoder.stem
    if not source.encoder.ours:
        encoder = make_prunable(build_backbone(name, stem))
        load_state(encoder, state, source.path, head=False)
        return encoder.eval()
    layers = sum(f"fc.fc{i}.weight" in state for i in (1, 2, 3))
    first, last = (state.get(f"fc.fc{i}.weight") for i in (1, layers))
    unusable = [w is None or w.ndim != 2 or not 0 < len(w) <= WIDEST for w in (first, last)]
    if layers < 2 or any(unusable):
        raise InputError(f"{source.path} has no projection head of 2 or 3 layers: give a checkpoint of pre-training")
    encoder = build_encoder(name, len(last), layers, stem, prune=True, dual_bn=has_dual_batch_norm(state))
    encoder.fc = encoder.fc.of_width(len(first))
    load_state(encoder, state, source.path)
    return encoder.eval()


def full_batches(images: int, batch: int, seed: int) -> EpochSampler:
    """A sampler whose last batch is filled up with the first images of the epoch, with the same views.

    NT-Xent grows with the number of negatives: in a short batch, an image's loss would be lower.

    Args:
        images: their number; if it is less than `batch`, they are one batch. seed: of the order in each epoch.
    """
    sampler = EpochSampler(range(images), 1, 0, shuffle=True, seed=seed)
    if images > batch:
        sampler.choose(torch.arange(images), batch, batch)
    return sampler


class Network(NamedTuple):
    """A checkpoint's network, and the training images as it reads them.

    encoder: in evaluation mode. masks: of the pruned network. plain: batches of un-augmented images. loader: Batches of
    two views of each image, from the sampler full_batches. draws: passes of the loss, each with other views and other
    batches. temperature: t > 0.
    """

    encoder: nn.Module
    masks: Masks
    plain: Iterable[Batch]
    loader: DataLoader | BatchedLoader
    draws: int
    temperature: float
    compute: Compute
    bad: BadImages

    def self_competitor(self) -> nn.Module:
        """A copy of the encoder in evaluation mode, for use within `pruned`.

        With dual batch norm, it uses the statistics of the pruned branch. With single batch norm, the dense network's
        statistics do not fit the pruned features: with 90% of the weights pruned, the cosines to the dense projections
        are near 0. So the statistics are computed anew with the pruned network and averaged over the batches of
        `loader`, of augmented views as for SDCLR's second batch norm. On fifteen checkpoints of SimCLR and BCL-I
        (digits, Fashion-MNIST-LT) this found Few among Many with a mean ROC AUC of 0.53, the dense network's
        statistics with 0.39: neither is good.

        Raises:
            InputError: the masks are of another model.
        """
        competitor = copy.deepcopy(self.encoder)
        set_masks(competitor, self.masks)
        if any(isinstance(module, DualBatchNorm) for module in competitor.modules()):
            return competitor
        for module in competitor.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None  # a plain average over the batches
        with pruned(competitor.train()), torch.no_grad():
            for batch in on_device(self.loader, self.compute.device, self.compute.stream):
                if len(batch.index):
                    with self.compute.autocast():
                        competitor(batch.views.flatten(0, 1))
        return competitor.eval()

    @torch.no_grad()
    def disagreement(self) -> torch.Tensor:
        """Scores [N] of the un-augmented images.

        Raises:
            InputError: the masks are of another model, or an image is bad and the policy is `error`.
        """
        competitor = self.self_competitor()
        scores = torch.full((len(self.loader.dataset),), torch.nan, dtype=torch.float64)
        for batch, _, ids in images_of(self.plain, self.bad):
            batch = batch.to(self.compute.device)
            with self.compute.autocast():
                dense = self.encoder(batch)
                with pruned(competitor):
                    sparse = competitor(batch)
            scores[ids.cpu()] = 1 - F.cosine_similarity(dense.double(), sparse.double()).cpu()
        return scores

    @torch.no_grad()
    def augmented_loss(self) -> torch.Tensor:
        """Scores [N], the mean loss over the passes; without boosted augmentation and without gradient.

        Raises:
            InputError: an image is bad and the policy is `error`.
        """
        count = len(self.loader.dataset)
        total, passes = torch.zeros(count, dtype=torch.float64), torch.zeros(count)
        for draw in range(1, self.draws + 1):
            self.loader.sampler.set_epoch(draw)
            unseen = torch.ones(count, dtype=torch.bool)
            for batch in on_device(self.loader, self.compute.device, self.compute.stream):
                self.bad.take(batch, training=False)
                if not len(batch.index):
                    continue
                with self.compute.autocast():
                    z = self.encoder(batch.views.flatten(0, 1))
                losses, ids = nt_xent(z[0::2], z[1::2], self.temperature).double().cpu(), batch.index.cpu()
                # Images that fill up the last batch count once, in their first batch.
                new = unseen[ids]
                total[ids[new]] += losses[new]
                passes[ids[new]] += 1
                unseen[ids] = False
        return total / passes  # 0 / 0, NaN, for a bad image


def memory_of_losses(memory: object) -> tuple[object, object] | None:
    """BCL's momentum losses and numbers of epochs in the memory of a checkpoint; None if it does not have them.

    Wrappers around BCL put a prefix before the names.
    """
    names = list(memory) if isinstance(memory, dict) else []
    losses = next((str(name) for name in names if str(name).endswith("momentum_loss")), None)
    epochs = losses and f"{losses.removesuffix('momentum_loss')}epochs"
    return (memory[losses], memory[epochs]) if epochs in names else None


def memorisation(memory: object, count: int, source: str) -> torch.Tensor:
    """Scores [count] from BCL's memory in the checkpoint `source`; NaN for images that were never seen.

    Raises:
        InputError: it has no memory, or one of other images, or no image was seen.
    """
    momentum = memory_of_losses(memory)
    if momentum is None:
        raise InputError(f"{source} has no memory of losses: it was not trained by BCL")
    losses, epochs = momentum
    if not all(isinstance(t, torch.Tensor) and t.shape == (count,) and t.isfinite().all() for t in (losses, epochs)):
        raise InputError(f"{source}: its memory of losses is damaged, or of another list of images")
    seen = epochs > 0
    if not seen.any():
        raise InputError(f"{source}: its memory of losses is empty, no epoch was trained")
    scores = torch.full((count,), torch.nan, dtype=torch.float64)
    scores[seen] = memorisation_score(losses[seen].double())
    return scores
