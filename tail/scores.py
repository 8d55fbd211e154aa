"""Three scores of how much a training image looks like the tail to a network that was pre-trained without labels.

Of each, higher is more tail-like; [N] float64 in the order of the training list, NaN for an image without a score.

- disagreement, 1 - cos(f(x; w), f(x; m * w)) in [0, 2], of the dense network's projection of the un-augmented image
  and the pruned one's: what pruning makes a network forget (pruning-identified exemplars; Hooker et al., "What Do
  Compressed Deep Neural Networks Forget?", 2019) are mostly tail images (SDCLR, section 3).
- memorisation, BCL's score in [0, 1] (Zhou et al., ICML 2022, section 3.2; methods/bcl.py) of the losses in training.
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
WIDEST = 65536  # numbers of a projection


def build_encoder_of(source: Source, name: str) -> nn.Module:
    """The prunable encoder, in evaluation mode, whose weights a checkpoint holds; the head's shape is read off it.

    Another library's encoder is without its head: its projection is the features before it.

    Args:
        name: one of MODELS.

    Raises:
        InputError: it is ours and has no projection head, or it is of another model.
    """
    state, stem = source.encoder.state, source.encoder.stem
    if not source.encoder.ours:
        encoder = make_prunable(build_backbone(name, stem))
        load_state(encoder, state, source.path, head=False)
        return encoder.eval()
    layers = sum(f"fc.fc{i}.weight" in state for i in (1, 2, 3))
    first, last = (state.get(f"fc.fc{i}.weight") for i in (1, layers))
    odd = [w is None or w.ndim != 2 or not 0 < len(w) <= WIDEST for w in (first, last)]
    if layers < 2 or any(odd):
        raise InputError(f"{source.path} has no projection head of 2 or 3 layers: give a checkpoint of pre-training")
    encoder = build_encoder(name, len(last), layers, stem, prune=True, dual_bn=has_dual_batch_norm(state))
    encoder.fc = encoder.fc.of_width(len(first))
    load_state(encoder, state, source.path)
    return encoder.eval()


def full_batches(images: int, batch: int, seed: int) -> EpochSampler:
    """A sampler whose last batch is filled up with the first images of the epoch, with the same views.

    NT-Xent grows with the negatives: in a short batch, an image's loss would be lower.

    Args:
        images: their number; fewer than a batch are one batch. seed: of the orders.
    """
    sampler = EpochSampler(range(images), 1, 0, shuffle=True, seed=seed)
    if images > batch:
        sampler.choose(torch.arange(images), batch, batch)
    return sampler


class Network(NamedTuple):
    """A checkpoint's network, and the training images as it reads them.

    encoder: in evaluation mode. masks: of the pruned network. plain: Batches of un-augmented images. loader: two views
    each, with full_batches. draws: passes of the loss, each with other views and other batches. temperature: t > 0.
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
        """A copy of the encoder that is to be used within `pruned`, in evaluation mode.

        With dual batch norm, it has the pruned branch's. A single one has statistics that pruned features do not have:
        with 90% of the weights gone, cosines to the dense projections are near 0. Statistics are then those of the
        pruned network, averaged over the batches of `loader`, as SDCLR's second batch norm has those of augmented
        views. On fifteen checkpoints of SimCLR and BCL-I (digits, Fashion-MNIST-LT) this found Few among Many with a
        mean ROC AUC of 0.53, the dense network's statistics with 0.39: neither is good.

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
                module.momentum = None  # the plain average
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
        """Scores [N]: mean over the passes; no boost, no gradient.

        Raises:
            InputError: an image is bad and the policy is `error`.
        """
        count = len(self.loader.dataset)
        total, passes = torch.zeros(count, dtype=torch.float64), torch.zeros(count)
        for draw in range(1, self.draws + 1):
            self.loader.sampler.set_epoch(draw)
            fresh = torch.ones(count, dtype=torch.bool)
            for batch in on_device(self.loader, self.compute.device, self.compute.stream):
                self.bad.take(batch, training=False)
                if not len(batch.index):
                    continue
                with self.compute.autocast():
                    z = self.encoder(batch.views.flatten(0, 1))
                losses, ids = nt_xent(z[0::2], z[1::2], self.temperature).double().cpu(), batch.index.cpu()
                # Those that fill up the last batch have had their turn.
                new = fresh[ids]
                total[ids[new]] += losses[new]
                passes[ids[new]] += 1
                fresh[ids] = False
        return total / passes  # NaN for a bad image


def memory_of_losses(memory: object) -> tuple[object, object] | None:
    """BCL's momentum losses and numbers of epochs in the memory of a checkpoint, whatever is around BCL; None if it has
    none, or none of the kind."""
    names = list(memory) if isinstance(memory, dict) else []
    found = next((str(name) for name in names if str(name).endswith("momentum_loss")), None)
    epochs = found and f"{found.removesuffix('momentum_loss')}epochs"
    return (memory[found], memory[epochs]) if epochs in names else None


def memorisation(memory: object, count: int, source: str) -> torch.Tensor:
    """Scores [count] of BCL's memory in the checkpoint `source`; images that were never seen have none.

    Raises:
        InputError: it has no memory, or one of other images, or no image was seen.
    """
    found = memory_of_losses(memory)
    if found is None:
        raise InputError(f"{source} has no memory of losses: it was not trained by BCL")
    losses, epochs = found
    if not all(isinstance(t, torch.Tensor) and t.shape == (count,) and t.isfinite().all() for t in (losses, epochs)):
        raise InputError(f"{source}: its memory of losses is damaged, or of another list of images")
    seen = epochs > 0
    if not seen.any():
        raise InputError(f"{source}: its memory of losses is empty, no epoch was trained")
    scores = torch.full((count,), torch.nan, dtype=torch.float64)
    scores[seen] = memorisation_score(losses[seen].double())
    return scores
