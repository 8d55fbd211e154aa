"""rwSAM: sharpness-aware steps that climb the loss of rare images, for any method (Liu et al., ICLR 2022).

"Self-supervised Learning is More Robust to Dataset Imbalance", arXiv 2110.05025, its re-weighted regularisation. Minima
are sharp for rare images, as these are few. So the gradient of the method's loss L is taken at w + e, where e climbs
the re-weighted loss L_v: the minimum becomes flat for the rare images. The loss that descends has no weights:

    min_w  L(w + e(w)),    L = 1/n sum_j l_j,    L_v = 1/n sum_j v_j l_j,    g = grad L_v(w)

    e = rho g / ||g||                        SAM (Foret et al., ICLR 2021)
    e = rho w^2 o g / || |w| o g ||          adaptive, ASAM (Kwon et al., ICML 2021), as the released code has it

A step has two forward and backward passes: g at w, then the gradient of L at w + e, by which the optimizer updates w.

The weight v_j of an image falls with a kernel density estimate at its feature x_j before the head, of unit length. It
uses no labels, as in the paper's text; the released code has weights by labels, or none:

    p(x_j) = 1/m sum_{k != j} N(x_j; x_k, h^2 I),    v_j ~ p(x_j)^-power, at most clip times their median, of mean 1

Chosen here, as neither the paper's text nor its code has it:

- h is a quarter of the median distance between two images' features. With many classes the median itself is a distance
  between classes, and smooths them away: on digits, after 60 epochs of SimCLR, weights by it have a rank correlation of
  0.1 with the rarity of the class, by a quarter of it 0.4. h is at least 1e-3, so equal features have equal weights;
- the density at an image is that of the other images: with a narrow h, its own kernel would be most of it;
- power 1 and clip 10; power 0 is plain SAM. rho 0.5 is the code's default (its README has 7 on CIFAR-10);
- of more than 20,000 images a random 5,000 are the x_k; the median is of at most 5,000;
- in the first epoch of a phase all weights are 1, as its network may be random. The first estimate is made at the
  beginning of the second epoch, and again every so many epochs;
- an image that cannot be read, or is not trained on in the phase, has weight 1 and is not in the estimate.
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

WHOLE, SAMPLE = 20_000, 5_000  # up to WHOLE images all are kernel centres, of more a random SAMPLE
NARROWEST = 1e-3  # smallest bandwidth
BLOCK = 2**22  # distances in memory at a time


class Density(NamedTuple):
    """How images are weighted.

    every: epochs between estimates. bandwidth: h as a multiple of the median distance. power: of the density, at least
    0. clip: largest weight as a multiple of the weights' median, at least 1. seed: of the random SAMPLE.
    """

    every: int = 10
    bandwidth: float = 0.25
    power: float = 1.0
    clip: float = 10.0
    seed: int = 0


AS_USUAL = Density()


def log_densities(
    points: torch.Tensor, centres: torch.Tensor, bandwidth: float, own_rows: torch.Tensor | None = None
) -> torch.Tensor:
    """Log of the Gaussian kernel density estimate of `centres` [m, C] at `points` [n, C]: [n] float64, in nats.

    Args:
        own_rows: [n], the row of each point in `centres`, which is left out of its density; -1 if it is no centre.
    """
    centres, m = centres.double(), len(centres)
    own_rows = torch.full((len(points),), -1, device=points.device) if own_rows is None else own_rows
    size, sums = max(1, BLOCK // m), []
    for block, own in zip(points.split(size), own_rows.split(size), strict=True):
        exponents = torch.cdist(block.double(), centres).square_().div_(-2 * bandwidth**2)
        is_centre = (own >= 0).nonzero().squeeze(1)
        exponents[is_centre, own[is_centre]] = -torch.inf
        sums.append(exponents.logsumexp(1))
    log_norm = points.shape[1] * math.log(bandwidth * math.sqrt(2 * math.pi))
    others = m - (own_rows >= 0).double()
    return torch.cat(sums) - others.log() - log_norm


def median_distance(points: torch.Tensor) -> float:
    """The median distance of all pairs of points [n, C], the lower median of an even number; 0 for a single point."""
    distances = torch.cdist(points.double(), points.double()).fill_diagonal_(torch.nan)
    return distances.nanmedian().nan_to_num().item()


def rarity(features: torch.Tensor, how: Density) -> torch.Tensor:
    """Weights [n] of mean 1, float64, that fall with the density at features [n, C], which are normalised here."""
    points, n = F.normalize(features, dim=1), len(features)
    if n == 1:
        return points.new_ones(1, dtype=torch.float64)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(how.seed)).to(points.device)
    bandwidth = max(how.bandwidth * median_distance(points[order[:SAMPLE]]), NARROWEST)
    centres = order if n <= WHOLE else order[:SAMPLE]
    own_rows = torch.full_like(order, -1).index_copy_(0, centres, torch.arange(len(centres), device=order.device))
    # Logarithms, as with a large power the weights themselves would overflow.
    log_weights = -how.power * log_densities(points, points[centres], bandwidth, own_rows)
    middle = log_weights.sort().values[[(n - 1) // 2, n // 2]]
    log_median = middle.logsumexp(0) - math.log(2)
    weights = (log_weights - log_median).clamp(max=math.log(how.clip)).exp()
    return weights / weights.mean()


def climb(
    weights: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor], rho: float, adaptive: bool
) -> list[torch.Tensor]:
    """The climb e at the weights, by their gradients, of the same shapes: 0 if all gradients are 0, NaN if one is NaN.

    A common factor of all gradients, such as the loss scale of fp16, or of all images' weights does not change it.
    """
    scaled = [w * g for w, g in zip(weights, gradients, strict=True)] if adaptive else list(gradients)
    norm = torch.nn.utils.get_total_norm(scaled)
    norm = norm + (norm == 0)
    # Divided before multiplying by rho, as rho / norm may overflow.
    unit = [s / norm for s in scaled]
    return [rho * w * u for w, u in zip(weights, unit, strict=True)] if adaptive else [rho * u for u in unit]


class RwSAM(Wrapper):
    """A method whose steps are sharpness-aware, with the climb of its re-weighted loss.

    Args:
        method: any. images: N, their number; sample ids are 0..N-1. rho: length of the climb, at least 0; 0 is the
            method itself, at twice its cost. adaptive: e of ASAM, else of SAM.
        density: how images are weighted.

    Buffers, so that a resumed run needs no new estimate: `density_weights` [N]; `due`, the epoch of the next estimate,
    0 before the first epoch of a phase; `unknown`, the number of images without a feature in the last estimate.
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
        every, bandwidth = options.rwsam_every, options.rwsam_bandwidth
        density = Density(every, bandwidth, options.rwsam_power, options.rwsam_clip, options.seed)
        return cls(method, images, options.sam_rho, options.sam_adaptive, density)

    def __init__(
        self, method: Method, images: int, rho: float = 0.5, adaptive: bool = True, density: Density = AS_USUAL
    ) -> None:
        super().__init__(method)
        self.rho, self.adaptive, self.density = rho, adaptive, density
        self.register_buffer("density_weights", torch.ones(images))
        self.register_buffer("due", torch.tensor(0))
        self.register_buffer("unknown", torch.tensor(0))
        self.climbing = False  # whether the present gradient is that of the climb
        self.seconds = 0.0  # of the running epoch's estimate, with its features

    def start_phase(self, number: int) -> None:
        """Reset the weights, as they are of another network."""
        super().start_phase(number)
        self.density_weights.fill_(1.0)
        self.due.zero_()
        self.unknown.zero_()

    def start_epoch(self, epoch: int, features: Features | None = None) -> None:
        """Estimate the density if it is due; a resumed epoch has its weights from the checkpoint."""
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
        """Set the weights by features [N, C], of the images that `epoch` trains on and whose features are finite."""
        known, trained = features.isfinite().all(1), self.method.subset()
        if isinstance(trained, list):
            trained = torch.cat(trained)
        if trained is not None:
            known &= torch.zeros_like(known).index_fill_(0, trained.to(known.device), True)
        self.unknown.fill_((len(known) if trained is None else len(trained)) - int(known.sum()))
        self.density_weights.fill_(1.0)
        if known.any():
            weights = rarity(features[known], self.density._replace(seed=self.density.seed * 1_000_003 + epoch))
            self.density_weights[known] = weights.to(self.density_weights)

    def loss_weights(self, index: torch.Tensor) -> torch.Tensor | None:
        """For the climb the weights [N] by density times the wrapped method's; for the descent only the latter."""
        inner = super().loss_weights(index)
        if not self.climbing:
            return inner
        weights = self.density_weights.index_select(0, index)
        return weights if inner is None else weights * inner

    def step(self, closure: Closure) -> None:
        """Leave in .grad the gradient at w + e; the weights are then w again, bit for bit, also after an exception.

        If the gradient of the climb is not finite, neither is the one that is left: in fp16 the step is skipped and
        the loss scale is reduced, as with any other method.
        """
        self.climbing = True
        try:
            self.method.step(closure)  # the gradient is averaged over the processes, so all climb alike
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
        """The wrapped method's measures, standard deviation and maximum of the weights, the number of images without a
        feature, and the seconds of the running epoch's estimate."""
        weights = self.density_weights
        of_weights = {"weight_std": weights.std(correction=0).item(), "weight_max": weights.max().item()}
        of_estimate = {"weights_unknown": int(self.unknown), "density_s": round(self.seconds, 3)}
        return {**super().measures(), **of_weights, **of_estimate}
