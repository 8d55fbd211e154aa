"""GH, Geometric Harmonization: tail images get as much of the space of projections as head images.

Zhou et al., NeurIPS 2023, section 3; around any method. K fixed directions T have equal angles between any two (a
simplex equiangular tight frame); the similarities of a projection z to them are t = T z / |T z|. If head images occupy
most of the space, most images are nearest to few directions. So optimal transport (Sinkhorn) gives each image a target
q close to its t, such that direction k gets its share pi_k of the N images of the batch:

    q = N diag(v) exp(t / 0.05) diag(u),    sum_k q_ik = 1 of each image i,    sum_i q_ik = N pi_k
    L = L_method + w L_gh,    L_gh = -sum_k q1_k log softmax(t2 / 0.1)_k - sum_k q2_k log softmax(t1 / 0.1)_k

with views 1 and 2 of an image. pi_k is the share of the images whose nearest direction is k, where each image has the
moving average over the epochs of its t of view 1. w is 0 in the warm-up, then rises to 1 in equal steps over the epochs
of the ramp.

From the authors' code for CIFAR: a warm-up of half the epochs, a ramp of a hundredth, a new pi every 20 epochs,
momentum 0.9 in the warm-up and 0.999 later, 300 iterations. For ImageNet and Places it has a warm-up of 400 of 500
epochs, a ramp of 30, and 100 images added to each direction's count: recipes/settings.py.

Chosen here, and what the authors' code has:
- The directions are drawn with the seed; theirs come from a program without one.
- pi is uniform until the warm-up has ended, and always in a phase's first epoch, when no image is known; then it is
  estimated, and again after each epoch that is a multiple of 20. Theirs changes with each step of such an epoch for
  CIFAR, and is estimated an epoch earlier for ImageNet.
- A direction that is nearest to no image counts as one image; else its share is 0, and Sinkhorn divides by it.
- An image's average begins with its first t, as theirs for CIFAR; for ImageNet theirs begin in epoch 10.
- Processes gather their similarities in each step, and of an image that comes twice in an epoch, as samplers pad, the
  first t counts. Theirs sums buffers of all processes that nothing was written to.
"""

import argparse
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from methods.base import Features, Method, Wrapper
from methods.epochs import epochs_of, epochs_or_share
from methods.memory import first_of_each
from utils.cli import Parser, natural, number, positive
from utils.distributed import all_gather, gather_rows
from utils.errors import InputError

ENTROPY = 0.05  # weight of the entropy in the optimal transport
TEMPERATURE = 0.1  # of the softmax over directions
ITERATIONS = 300
MOMENTUM = (0.9, 0.999)  # of the average similarities, in the warm-up and later


def simplex(classes: int, dimensions: int, seed: int) -> torch.Tensor:
    """Directions [K, D] of a simplex, rotated at random: rows of length 1, with dot products -1 / (K - 1) of any two.

    Raises:
        InputError: K > D + 1, which do not fit, or K < 2.
    """
    if not 2 <= classes <= dimensions + 1:
        raise InputError(f"gh_classes {classes}: a simplex has 2 to {dimensions + 1} directions where projections have "
                         f"{dimensions} numbers (output_ch); choose fewer, or larger projections")  # fmt: skip
    # Helmert's columns are an orthonormal basis of the space orthogonal to (1, ..., 1). In it the K unit vectors of the
    # axes, projected, are the corners of a simplex; the rows of this matrix are their coordinates.
    helmert = torch.ones(classes, classes - 1, dtype=torch.float64).triu()
    column = torch.arange(1, classes, dtype=torch.float64)
    helmert.diagonal(-1).copy_(-column)
    helmert /= (column * (column + 1)).sqrt()
    drawn = torch.randn(dimensions, classes - 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    frame, triangle = torch.linalg.qr(drawn)
    frame *= triangle.diagonal().sign()  # QR is unique up to these signs, which differ between libraries
    return (math.sqrt(classes / (classes - 1)) * helmert @ frame.T).float()


def sinkhorn(similarities: torch.Tensor, marginal: torch.Tensor, iterations: int = ITERATIONS) -> torch.Tensor:
    """Targets [..., N, K] of images from their similarities [..., N, K] in [-1, 1] to the directions.

    Rows sum to 1, and columns only to about N times their shares `marginal` [K] > 0, as rows are scaled last.
    """
    kernel = torch.exp(similarities / ENTROPY)
    shares, n = marginal.to(kernel)[:, None], kernel.shape[-2]
    v = torch.full_like(kernel[..., :1], 1 / n)
    for _ in range(iterations):
        u = shares / (kernel.mT @ v)
        v = 1 / n / (kernel @ u)
    return n * v * kernel * u.mT


def harmonization_loss(similarities: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy [N] in nats between each view's targets and the other view's similarities; both [2, N, K]."""
    return -(targets * F.log_softmax(similarities.flip(0) / TEMPERATURE, dim=-1)).sum((0, 2))


class Plan(NamedTuple):
    """warmup: epochs without the loss. ramp: epochs in which its weight rises to 1. refresh: epochs between estimates
    of the shares. more: images added to each direction's count."""

    warmup: int
    ramp: int = 1
    refresh: int = 20
    more: int = 0


class GH(Wrapper):
    """A method, to whose loss that of its projections' directions is added.

    Args:
        method: any whose `projections` have their graph. images: N, their number; sample ids are 0..N-1.
        directions: of a simplex, [K, D].

    Buffers: `directions`; `average` [N, K], of the similarities of view 1; `turn` [N], the last epoch with a step of
    the image, 0 for none; `marginal` [K], the shares; `estimated`, the epoch for which they were estimated, 0 before
    the first estimate of a phase.
    The wrapped method remembers its own losses, without the one that is added here, as BCL does in the authors' code.
    """

    @classmethod
    def add_options(cls, parser: Parser) -> None:
        add, least = parser.add_argument, number(int, 2)
        parser.add_flag("--gh", help="geometric harmonization: the projections' directions are shared out evenly")
        add("--gh_classes", type=least, default=100, help="directions, at most one more than numbers per projection")
        add("--gh_warmup", type=epochs_or_share, default=0.5, help="epochs without it, or a share of all below 1")
        add("--gh_ramp", type=epochs_or_share, default=0.01, help="epochs until it is whole, or a share of all below 1")
        add("--gh_refresh", type=positive, default=20, help="epochs between estimates of the directions' shares")
        add("--gh_add", type=natural, default=0, help="images besides its own in each direction's share")

    @classmethod
    def build(cls, method: Method, options: argparse.Namespace, images: int) -> "GH":
        """Raises InputError: the warm-up leaves no epoch, or there are more directions than fit, or than images."""
        epochs = options.epochs
        warmup, ramp = epochs_of(options.gh_warmup, epochs), epochs_of(options.gh_ramp, epochs)
        plan = Plan(warmup, ramp, options.gh_refresh, options.gh_add)
        if epochs and plan.warmup >= epochs:
            raise InputError(f"gh_warmup {plan.warmup} leaves none of {epochs} epochs to harmonise: choose fewer, or a "
                             "share such as 0.5")  # fmt: skip
        directions = simplex(options.gh_classes, options.output_ch, options.seed)
        if options.gh_classes > images:
            raise InputError(f"gh_classes {options.gh_classes} is more than the {images} images: choose fewer")
        return cls(method, images, directions, plan)

    def __init__(self, method: Method, images: int, directions: torch.Tensor, plan: Plan) -> None:
        super().__init__(method)
        self.plan, self.epoch, self.weight = plan, 0, 0.0
        self.register_buffer("directions", directions)
        self.register_buffer("average", torch.zeros(images, len(directions)))
        self.register_buffer("turn", torch.zeros(images, dtype=torch.long))
        self.register_buffer("marginal", torch.full((len(directions),), 1 / len(directions)))
        self.register_buffer("estimated", torch.zeros((), dtype=torch.long))
        self.register_buffer("_first", torch.zeros(images, dtype=torch.long), persistent=False)
        self._first_forward: tuple[torch.Tensor, torch.Tensor] | None = None  # its losses and t, in the running step

    def start_phase(self, number: int) -> None:
        """Reset averages and shares, as they are of another network; its own are estimated as soon as possible."""
        super().start_phase(number)
        self.average.zero_()
        self.turn.zero_()
        self.marginal.fill_(1 / len(self.marginal))
        self.estimated.zero_()

    def start_epoch(self, epoch: int, features: Features | None = None) -> None:
        """Set the weight of `epoch` (1-based), and estimate the shares if they are due.

        A resumed epoch has its shares from the checkpoint, and does not estimate them again.
        """
        super().start_epoch(epoch, features)
        done, plan, self.epoch = epoch - 1, self.plan, epoch
        self.weight = min(1.0, max(0, epoch - plan.warmup) / max(1, plan.ramp))
        # As soon as the warm-up has ended and images are known; older checkpoints have -1 for 0 in later phases.
        due = done >= plan.warmup and (self.estimated <= 0 or done % plan.refresh == 0)
        # Without images that could not be read, and those whose first step was in this epoch, if it is resumed.
        known = (self.turn > 0) & (self.turn < epoch)
        if due and self.estimated != epoch and known.any():
            nearest = self.average[known].argmax(1)
            counts = (torch.bincount(nearest, minlength=len(self.marginal)) + plan.more).clamp(min=1)
            self.marginal.copy_(counts / counts.sum())
            self.estimated.fill_(epoch)

    def start_step(self, done: float) -> None:
        super().start_step(done)
        self._first_forward = None

    def similarities(self, projections: torch.Tensor) -> torch.Tensor:
        """t [..., K] of projections [..., D]: their similarities to the directions, of length 1, at least float32."""
        with torch.autocast(projections.device.type, enabled=False):
            z = projections.to(torch.promote_types(projections.dtype, torch.float32))
            return F.normalize(z @ self.directions.to(z).T, dim=-1)

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """views [N, 2, 3, H, W] in [0, 1], index [N] sample ids -> losses [N], the method's plus w L_gh.

        Raises:
            InputError: the method's projections have no graph.
        """
        losses = super().forward(views, index)
        z = self.projections
        if self.weight and losses.requires_grad and not z.requires_grad:
            raise InputError("GH needs projections with a gradient, and this method has detached ones")
        t = self.similarities(z if self.weight else z[:1].detach())
        if self._first_forward is None:
            self._first_forward = losses.detach(), t[0].detach()
        return losses + self.weight * self.loss(t) if self.weight else losses

    def loss(self, t: torch.Tensor) -> torch.Tensor:
        """L_gh [N] of similarities [2, N, K]; the shares are met by the images of all processes together."""
        with torch.no_grad(), torch.autocast(t.device.type, enabled=False):
            views, first = all_gather(*t.detach())
            targets = sinkhorn(torch.stack(views), self.marginal)[:, first : first + t.shape[1]]
        with torch.autocast(t.device.type, enabled=False):
            return harmonization_loss(t, targets)

    @torch.no_grad()
    def remember(self, index: torch.Tensor, losses: torch.Tensor) -> None:
        """Update the averages by view 1 of the images `index` [n] of all processes; the first in an epoch counts.

        The method inside gets its own losses in place of `losses`.
        """
        (inner_losses, t), self._first_forward = self._first_forward, None
        super().remember(index, inner_losses)
        index, t = gather_rows(index, t)
        # Both places of an image that comes twice in the batch get its first t, so both write the same value.
        t = t.to(self.average).index_select(0, first_of_each(index, self._first))
        last, old = self.turn.index_select(0, index), self.average.index_select(0, index)
        momentum = MOMENTUM[self.epoch > self.plan.warmup]
        keep = t.new_zeros(len(t)).masked_fill(last > 0, momentum).masked_fill(last >= self.epoch, 1)
        self.average.index_copy_(0, index, torch.lerp(t, old, keep[:, None]))
        self.turn.index_fill_(0, index, self.epoch)

    def check_memory(self) -> None:
        super().check_memory()
        if not (self.average.isfinite().all() and self.marginal.isfinite().all() and (self.marginal > 0).all()):
            raise ValueError("its memory of directions is damaged: averages or shares are not finite, or a share is 0")

    def measures(self) -> dict[str, float]:
        """Of the running epoch: 'gh_weight'; 'gh_entropy' of the shares, where equal ones have 1; and the wrapped
        method's measures."""
        entropy = torch.special.entr(self.marginal).sum().item() / math.log(len(self.marginal))
        return {**super().measures(), "gh_weight": self.weight, "gh_entropy": entropy}
