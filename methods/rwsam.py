"""rwSAM: sharpness-aware steps that climb the loss of rare images, for any method (Liu et al., ICLR 2022).

"Self-supervised Learning is More Robust to Dataset Imbalance", arXiv 2110.05025, its re-weighted regularisation. What a
network learns of rare images lies in sharp minima, for they are few. So the loss L of the method is minimised where the
climb e of the re-weighted loss L_v leads, to be flat around the rare ones; the descent itself has no weights:

    min_w  L(w + e(w)),    L = 1/n sum_j l_j,    L_v = 1/n sum_j v_j l_j,    g = grad L_v(w)

    e = rho g / ||g||                        SAM (Foret et al., ICLR 2021)
    e = rho w^2 o g / || |w| o g ||          adaptive, ASAM (Kwon et al., ICML 2021), as the released code has it

A step has two forwards and backwards: g at w, then the gradient of L at w + e, which the optimizer goes down from w.

The weight v_j of an image falls with a kernel density estimate at its feature x_j before the head, of unit length. No
label is used, as in the paper's text; the released code weighs by labels, or not at all:

    p(x_j) = 1/m sum_{k != j} N(x_j; x_k, h^2 I),    v_j ~ p(x_j)^-power, at most clip times their median, of mean 1

Chosen here, as neither the paper's text nor its code tells it:

- h is a quarter of the median distance of two images' features. The median itself is the distance of two classes where
  there are many, and smooths them away: on digits, 60 epochs of SimCLR, weights by it have a rank correlation of 0.1
  with the rarity of the class, by a quarter of it 0.4. It is at least 1e-3, so features all alike have equal weights;
- the density at an image is that of the others: with a narrow h, its own kernel would be most of it;
- power 1 and clip 10; power 0 is plain SAM. rho 0.5 is the code's default (its README has 7 on CIFAR-10);
- of more than 20,000 images a random 5,000 are the x_k; the median is of at most 5,000;
- in the first epoch of a phase all weights are 1, for its network may be a random one. The first estimate is made when
  the second one begins, and again every so many epochs;
- an image that cannot be read, or has no part in the phase, has weight 1, and no part in the estimate.
"""

import argparse
import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from methods.base import Closure, Features, Method, Wrapper
from utils.cli import Parser, not_negative, number, positive

WHOLE, SAMPLE = 20_000, 5_000  # images up to which all are compared with all; images that stand for more
NARROWEST = 1e-3  # bandwidth
BLOCK = 2**22  # distances at once


class Density(NamedTuple):
    """How images are weighed.

    every: epochs between estimates. bandwidth: h in median distances. power: of the density, at least 0. clip: largest
    weight in medians of the weights, at least 1. seed: of the images that stand for more than 20,000.
    """

    every: int = 10
    bandwidth: float = 0.25
    power: float = 1.0
    clip: float = 10.0
    seed: int = 0


AS_USUAL = Density()


def log_densities(
    points: torch.Tensor, centres: torch.Tensor, bandwidth: float, own: torch.Tensor | None = None
) -> torch.Tensor:
    """Log of the Gaussian kernel density estimate of `centres` [m, C] at `points` [n, C]: [n] float64, in nats.

    Args:
        own: [n], the place among the centres of the point itself, which does not count for it; -1 for none.
    """
    centres, m = centres.double(), len(centres)
    own = torch.full((len(points),), -1, device=points.device) if own is None else own
    size, sums = max(1, BLOCK // m), []
    for block, places in zip(points.split(size), own.split(size), strict=True):
        exponents = torch.cdist(block.double(), centres).square_().div_(-2 * bandwidth**2)
        among = (places >= 0).nonzero().squeeze(1)
        exponents[among, places[among]] = -torch.inf
        sums.append(exponents.logsumexp(1))
    volume = points.shape[1] * math.log(bandwidth * math.sqrt(2 * math.pi))
    return torch.cat(sums) - (m - (own >= 0).double()).log() - volume


def median_distance(points: torch.Tensor) -> float:
    """Of all pairs of points [n, C]; of an even number of pairs, the lower one in the middle. 0 for a single point."""
    distances = torch.cdist(points.double(), points.double()).fill_diagonal_(torch.nan)
    return distances.nanmedian().nan_to_num().item()


def rarity(features: torch.Tensor, how: Density) -> torch.Tensor:
    """Weights [n] of mean 1, float64, that fall with the density at features [n, C] of any length."""
    points, n = F.normalize(features, dim=1), len(features)
    if n == 1:
        return points.new_ones(1, dtype=torch.float64)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(how.seed)).to(points.device)
    bandwidth = max(how.bandwidth * median_distance(points[order[:SAMPLE]]), NARROWEST)
    centres = order if n <= WHOLE else order[:SAMPLE]
    own = torch.full_like(order, -1).index_copy_(0, centres, torch.arange(len(centres), device=order.device))
    densities = log_densities(points, points[centres], bandwidth, own)
    # In logs, where a large power does not overflow.
    logs = -how.power * densities
    logs -= logs.sort().values[[(n - 1) // 2, n // 2]].logsumexp(0) - math.log(2)  # of the median
    weights = logs.clamp(max=math.log(how.clip)).exp()
    return weights / weights.mean()


def climb(
    weights: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor], rho: float, adaptive: bool
) -> list[torch.Tensor]:
    """The step e up the gradients at the weights, of their shapes: 0 where all gradients are 0, NaN where one is NaN.

    Neither a factor of all gradients, such as that of fp16, nor one of all images' weights changes it.
    """
    scaled = [w * g for w, g in zip(weights, gradients, strict=True)] if adaptive else list(gradients)
    norm = torch.nn.utils.get_total_norm(scaled)
    norm = norm + (norm == 0)
    # Divided first: rho / norm may overflow where this does not.
    unit = [s / norm for s in scaled]
    return [rho * w * u for w, u in zip(weights, unit, strict=True)] if adaptive else [rho * u for u in unit]


class RwSAM(Wrapper):
    """A method whose steps are sharpness-aware, with the climb of its re-weighted loss.

    Args:
        method: any. images: N, their number; sample ids are 0..N-1. rho: length of the climb, at least 0; 0 is the
            method itself, at twice its cost. adaptive: e of ASAM, else of SAM.
        density: how images are weighed.

    In buffers, so that a run that is resumed needs no estimate: `density_weights` [N]; `due`, the epoch of the next
    estimate, 0 before a phase; `unknown`, how many images of the last estimate had no feature.
    """

    @classmethod
    def add_options(cls, parser: Parser) -> None:
        add = parser.add_argument
        add("--sam_rho", type=not_negative, default=0.5, help="rwSAM: length of the climb; 0 climbs nowhere")
        parser.add_flag("--sam_adaptive", help="the climb of ASAM, relative to each weight's size; False: SAM's")
        add("--rwsam_every", type=positive, default=10, help="epochs between estimates of the density")
        width, power = number(float, 1e-3, 100), number(float, 0, 1000)
        add("--rwsam_bandwidth", type=width, default=0.25, help="of the density, in median distances of two features")
        add("--rwsam_power", type=power, default=1.0, help="weights are the density to the minus this; 0: all equal")
        clip = "largest weight, in medians of them, at least 1"
        add("--rwsam_clip", type=number(float, 1), default=10.0, help=clip)

    @classmethod
    def build(cls, method: Method, options: argparse.Namespace, images: int) -> "RwSAM":
        own = (options.rwsam_every, options.rwsam_bandwidth, options.rwsam_power, options.rwsam_clip)
        return cls(method, images, options.sam_rho, options.sam_adaptive, Density(*own, options.seed))

    def __init__(
        self, method: Method, images: int, rho: float = 0.5, adaptive: bool = True, density: Density = AS_USUAL
    ) -> None:
        super().__init__(method)
        self.rho, self.adaptive, self.density = rho, adaptive, density
        self.register_buffer("density_weights", torch.ones(images))
        self.register_buffer("due", torch.tensor(0))
        self.register_buffer("unknown", torch.tensor(0))
        self.climbing = False  # whether the gradient that is asked for is that of the climb
        self.seconds = 0.0  # of the running epoch's estimate, with its features

    def start_phase(self, number: int) -> None:
        """Forget the weights: they are of another network."""
        super().start_phase(number)
        self.density_weights.fill_(1.0)
        self.due.zero_()
        self.unknown.zero_()

    def start_epoch(self, epoch: int, features: Features | None = None) -> None:
        """Estimate the density where it is due; an epoch that is resumed has done so before."""
        super().start_epoch(epoch, features)
        self.seconds = 0.0
        if self.due == 0:
            self.due.fill_(epoch + 1)
        elif epoch >= self.due and features is not None:
            start = time.perf_counter()
            self._estimate(features(), epoch)
            self.due.fill_(epoch + self.density.every)
            self.seconds = time.perf_counter() - start

    def _estimate(self, features: torch.Tensor, epoch: int) -> None:
        """Weights by features [N, C], of the images that `epoch` trains on and that have finite ones."""
        known, trained = features.isfinite().all(1), self.method.subset()
        if isinstance(trained, list):
            trained = torch.cat(trained)
        if trained is not None:
            known &= torch.zeros_like(known).index_fill_(0, trained.to(known.device), True)
        self.unknown.fill_((len(known) if trained is None else len(trained)) - int(known.sum()))
        self.density_weights.fill_(1.0)
        if known.any():
            found = rarity(features[known], self.density._replace(seed=self.density.seed * 1_000_003 + epoch))
            self.density_weights[known] = found.to(self.density_weights)

    def loss_weights(self, index: torch.Tensor) -> torch.Tensor | None:
        """Those of the density [N] times the wrapped method's, for the climb; for the descent the method's alone."""
        inner = super().loss_weights(index)
        if not self.climbing:
            return inner
        own = self.density_weights.index_select(0, index)
        return own if inner is None else own * inner

    def step(self, closure: Closure) -> None:
        """Leave the gradient at w + e; the weights are w again, to the bit, whatever is raised.

        Where the gradient of the ascent is not finite, neither is the one that is left: in fp16 the step is left out
        and the scale of the losses falls, as with any other method.
        """
        self.climbing = True
        try:
            self.method.step(closure)  # averaged over the processes: all climb alike
        finally:
            self.climbing = False
        climbed = [p for p in self.parameters() if p.requires_grad and p.grad is not None]
        before = [p.detach().clone() for p in climbed]
        try:
            with torch.no_grad():
                moves = climb(before, [p.grad for p in climbed], self.rho, self.adaptive)
                for p, move in zip(climbed, moves, strict=True):
                    p.add_(move)
            self.method.step(closure)
        finally:
            with torch.no_grad():
                for p, old in zip(climbed, before, strict=True):
                    p.copy_(old)

    def check_memory(self) -> None:
        super().check_memory()
        if not (self.density_weights.isfinite() & (self.density_weights >= 0)).all():
            raise ValueError("its memory of densities is damaged: weights are not finite, or negative")

    def measures(self) -> dict[str, float]:
        """The wrapped method's and, of the weights, standard deviation and the largest, images without a feature, and
        the seconds that the running epoch's estimate took."""
        weights = self.density_weights
        found = {"weight_std": weights.std(correction=0).item(), "weight_max": weights.max().item()}
        found |= {"weights_unknown": int(self.unknown), "density_s": round(self.seconds, 3)}
        return {**super().measures(), **found}
