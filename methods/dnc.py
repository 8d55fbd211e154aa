"""DnC, divide and contrast: experts on clusters of the data, distilled into one network (Tian et al., 2021).

arXiv 2105.08054, section 3.2. On uncurated data most negatives have nothing in common with an anchor and teach little;
those of its own cluster are hard negatives. There are four phases, whose epochs add up to those of the command line:

1. base: a network learns from all images, by MoCLR.
2. clusters: k-means with cosine similarity on the hidden layer of its projection head (methods/clusters.py).
3. experts: for each of the K clusters a new network learns by the same method from its images alone. An epoch takes
   each image once, in batches of one cluster each.
4. distillation: a new network f with head g learns to predict the projections of base b and of the expert k of the
   image's cluster. With z = g(f(x)) normalised to length 1, z_b and z_k likewise of b and k, and regressors r,

       loss of a view = 1/2 |r_b(z) - z_b|^2 + 1/2 |r_k(z) - z_k|^2,    of an image the mean of its two views

   A regressor is a head without its last batch norm; its outputs are not normalised (table 19). f and g are the result.

Chosen here, where the paper does not say or this project has other needs:

- the epochs are shared 1:3:1, as the paper's 200, 600 and 200, and each phase has its own schedule and warm-up;
- K is 5 for data of any size, where the paper has 5 or 10, and k-means takes at most 200,000 images, where it takes all
  of ImageNet's or 1.5 million;
- small clusters are merged into their nearest, as an expert needs negatives;
- teachers predict with their running statistics; f and g have random initial weights;
- each regressor takes the whole batch, so that its batch statistics do not depend on the batch's share of a cluster,
  and its initial outputs have about the length of the targets: with usual initial weights they are several times as
  long, and at SGD's learning rates the first steps shrink them to 0 for good;
- SDCLR's experts are pruned like their base, and the dense branch is distilled.
"""

import argparse
import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Delegate, Features, Method, News
from methods.clusters import cosine_k_means, join_small
from methods.epochs import parts_of, share_out, shares
from methods.moclr import MoCLR
from methods.sdclr import SDCLR
from methods.simclr import SimCLR, at_least_float32
from models.heads import ProjectionHead
from models.renewed import renewed, with_single_batch_norm
from utils.cli import Parser, number, positive
from utils.distributed import gather_rows, take_buffers
from utils.errors import InputError

BASES = {"simclr": SimCLR, "moclr": MoCLR, "sdclr": SDCLR}
PHASES = ("base", "experts", "distillation")  # of training; clusters are made when the experts begin
Learner = Callable[[nn.Module, int], Method]  # (network, epochs of its training) -> method


class Division(NamedTuple):
    """How images are divided: number of clusters, smallest size of one, most images for k-means, its seed."""

    clusters: int
    least: int
    sample: int
    seed: int


class Experts(Method):
    """A learner for each cluster of the images; the base network, by which clusters are made, is frozen.

    Args:
        base: backbone and head. learners: one for each cluster; those of empty clusters are not trained. images: N.

    Buffer: `cluster` [N], the cluster of each image; -1 before clusters are made, and for images that cannot be read.
    """

    static_graph = False  # a step trains one expert

    def __init__(self, base: nn.Module, learners: list[Method], division: Division, images: int) -> None:
        super().__init__()
        self.encoder, self.division, self.epoch, self.joined = base.requires_grad_(False), division, 0, []
        self.learners = nn.ModuleList(learners)
        self.running = 0  # the cluster of the last step
        self.register_buffer("cluster", torch.full((images,), -1))

    @property
    def smallest_batch(self) -> int:
        return self.learners[0].smallest_batch

    def start_epoch(self, epoch: int, features: Features | None = None) -> None:
        self.epoch = epoch
        if (self.cluster < 0).all():
            self.cluster.copy_(self.divide(features()))
        for learner in self.learners:
            learner.start_epoch(epoch)

    @torch.no_grad()
    def divide(self, features: torch.Tensor) -> torch.Tensor:
        """Clusters [N] by the base's features [N, C] before its head, -1 for those with NaN; equal on all processes.

        Raises:
            InputError: fewer images could be read than there are clusters.
        """
        head = copy.deepcopy(self.encoder.fc).eval()
        take_buffers(head)
        known = features.isfinite().all(1)
        hidden = head.hidden(features[known]).float().cpu().numpy()
        k, least, sample, seed = self.division
        if len(hidden) < k:
            raise InputError(f"{len(hidden)} images can be read, fewer than the {k} clusters")
        of_known, self.joined = join_small(*cosine_k_means(hidden, k, sample, seed), least)
        clusters = self.cluster.clone()
        clusters[known] = torch.from_numpy(of_known).to(clusters)
        return gather_rows(clusters)[0][: len(clusters)]  # the main process's, as others may differ by rounding

    def sizes(self) -> list[int]:
        """Images of each cluster."""
        return torch.bincount(self.cluster[self.cluster >= 0], minlength=len(self.learners)).tolist()

    def news(self) -> News | None:
        """The clusters, in the first epoch."""
        if self.epoch > 1:
            return None
        joined = [f"cluster {a} has {n} images and joins cluster {b}" for a, n, b in self.joined]
        lines = [*joined, f"images of the clusters: {', '.join(map(str, self.sizes()))}"]
        return News(lines, {"phase": "clusters", **{f"cluster_{k}": n for k, n in enumerate(self.sizes())}})

    def subset(self) -> list[torch.Tensor]:
        """The images of each cluster."""
        return [(self.cluster == k).nonzero()[:, 0] for k in range(len(self.learners))]

    def start_step(self, done: float) -> None:
        for learner in self.learners:
            learner.start_step(done)

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """views [N, 2, 3, H, W] in [0, 1] of images `index` [N] of one cluster -> its expert's losses [N]."""
        # An image of another cluster, or of none, may have replaced one that cannot be read: the majority decides.
        known = self.cluster[index]
        known = known[known >= 0]
        self.running = int((known if len(known) else self.cluster).mode().values.clamp(min=0))
        expert = self.learners[self.running]
        losses = expert(views, index)
        self.projections = expert.projections
        return losses

    def remember(self, index: torch.Tensor, losses: torch.Tensor) -> None:
        self.learners[self.running].remember(index, losses)


class Distillation(Method):
    """A student that learns to predict the projections of its teachers.

    Args:
        student: backbone and head. teachers: base, then experts, all with the student's head sizes. cluster: [N].
    """

    def __init__(self, student: nn.Module, teachers: list[nn.Module], cluster: torch.Tensor) -> None:
        super().__init__()
        self.encoder, self.teachers = student, nn.ModuleList(teachers).requires_grad_(False)
        self.regressors = nn.ModuleList(_regressor(student.fc) for _ in teachers)
        self.register_buffer("cluster", cluster.clone())

    def train(self, mode: bool = True) -> "Distillation":
        """Teachers stay in evaluation mode."""
        super().train(mode)
        self.teachers.eval()
        return self

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """views [N, 2, 3, H, W] in [0, 1], index [N] sample ids -> losses [N]."""
        images, expert = views.flatten(0, 1), self.experts_of(index).repeat_interleave(2)
        z = self.encoder(images)
        self.projections = z.unflatten(0, (-1, 2)).transpose(0, 1)
        z = F.normalize(at_least_float32(z), dim=1)
        predicted = torch.stack([at_least_float32(regress(z)) for regress in self.regressors])  # [K + 1, 2N, D]
        with torch.no_grad():
            base_target, expert_target = self.target(0, images), torch.empty_like(z)
            for k in expert.unique().tolist():
                rows = (expert == k).nonzero()[:, 0]
                expert_target[rows] = self.target(k + 1, images[rows])
        of_expert = predicted[expert + 1, torch.arange(len(expert), device=expert.device)]
        of_base = predicted[0]
        losses = ((of_base - base_target) ** 2).sum(1) / 2 + ((of_expert - expert_target) ** 2).sum(1) / 2
        return losses.view(-1, 2).mean(1)

    def experts_of(self, index: torch.Tensor) -> torch.Tensor:
        """The expert of each image [n], by its cluster; images without one, which could not be read when clusters were
        made, have the expert of the largest cluster."""
        cluster, largest = self.cluster[index], torch.bincount(self.cluster + 1)[1:].argmax()
        return torch.where(cluster < 0, largest, cluster)

    def target(self, teacher: int, images: torch.Tensor) -> torch.Tensor:
        """A teacher's projections of images [n, 3, H, W], normalised: [n, D]."""
        return F.normalize(at_least_float32(self.teachers[teacher](images)), dim=1)


def _regressor(head: ProjectionHead) -> ProjectionHead:
    """A head on projections, D -> width -> D, without its last batch norm; its initial outputs have length 1 or so."""
    out, width = head.widths[-1], head.widths[1]
    regressor = ProjectionHead(out, out, head.layers, False, width)
    setattr(regressor, f"bn{head.layers}", nn.Identity())
    # After batch norm and ReLU, the mean square of a hidden number is 1/2.
    nn.init.normal_(getattr(regressor, f"fc{head.layers}").weight, std=(2 / (out * width)) ** 0.5)
    return regressor


class DnC(Delegate):
    """The phases one after another, each a method; networks that the next phase does not need are dropped.

    Args:
        learner: makes the method of base and experts. encoder: backbone and head of the base. division: into clusters.
        budget: epochs of all phases, and their shares. images: number of images in the training list.

    Raises:
        InputError: there are fewer images than clusters, or fewer epochs than phases.
    """

    @classmethod
    def add_options(cls, parser: Parser) -> None:
        add, share = parser.add_argument, number(float, 0, 1 - 1e-9)
        add("--dnc_base", default="moclr", choices=list(BASES), help="DnC: the method of base and experts")
        add("--dnc_clusters", type=positive, default=5, help="K, as many experts")
        add("--dnc_min", type=positive, default=32, help="images of a cluster, which else joins its nearest")
        add("--dnc_sample", type=positive, default=200_000, help="images that k-means takes, at most")
        add("--dnc_split", type=shares, default="1:3:1", help="shares of base, experts, distillation in the epochs")
        add("--dnc_prune", type=share, default=0.9, help="share of the weights that base SDCLR prunes, in [0, 1)")

    @classmethod
    def encoder_options(cls, options: argparse.Namespace) -> dict[str, bool | int]:
        """For SDCLR prunable with dual batch norm, but with a head of 2 layers as the other bases'."""
        return {"head_layers": 2, **({"prune": True, "dual_bn": True} if options.dnc_base == "sdclr" else {})}

    @classmethod
    def build(cls, encoder: nn.Module, options: argparse.Namespace, images: int) -> "DnC":
        base = BASES[options.dnc_base]

        def learner(network: nn.Module, epochs: int) -> Method:
            changed = {"epochs": epochs, "prune_percent": options.dnc_prune}
            return base.build(network, argparse.Namespace(**{**vars(options), **changed}), images)

        division = Division(options.dnc_clusters, options.dnc_min, options.dnc_sample, options.seed)
        return cls(learner, encoder, division, (options.epochs, parts_of(options.dnc_split)), images)

    def __init__(
        self,
        learner: Learner,
        encoder: nn.Module,
        division: Division,
        budget: tuple[int, Sequence[float]],
        images: int,
    ) -> None:
        epochs, parts = budget
        if 0 < epochs < len(PHASES):
            raise InputError(f"DnC has {len(PHASES)} trainings, base, experts and distillation: not {epochs} epochs")
        if min(images, division.sample) < division.clusters:
            few = f"{images} images" if images < division.clusters else f"{division.sample} images for k-means"
            raise InputError(f"there are {few}, fewer than the {division.clusters} clusters")
        self.lengths = share_out(epochs, parts) if epochs else [0]
        super().__init__(learner(encoder, self.lengths[0]))
        self.learner, self.division, self.images, self.phase = learner, division, images, 0

    def phases(self, epochs: int) -> list[int]:
        """Epochs of base, experts and distillation."""
        return self.lengths

    @property
    def before(self) -> int:
        """Number of epochs before the running phase."""
        return sum(self.lengths[: self.phase])

    def start_phase(self, number: int) -> None:
        self.phase, network = number, self.method.encoder
        if number == 0:
            self.method.start_phase(0)
        elif number == 1:
            learners = [self.learner(renewed(network), self.lengths[1]) for _ in range(self.division.clusters)]
            for learner in learners:
                learner.start_phase(0)
            self.method = Experts(network, learners, self.division, self.images)
        else:
            experts = [learner.encoder for learner in self.method.learners]
            teachers = [with_single_batch_norm(net) for net in (network, *experts)]
            self.method = Distillation(renewed(teachers[0]), teachers, self.method.cluster)

    def start_epoch(self, epoch: int, features: Features | None = None) -> None:
        self.method.start_epoch(epoch - self.before, features)

    def start_step(self, done: float) -> None:
        self.method.start_step(done - self.before)

    def measures(self) -> dict[str, float | str]:
        """'phase', the name of the running one, and the measures of its method."""
        return {"phase": PHASES[self.phase], **self.method.measures()}
