"""DnC, divide and contrast: experts on clusters of the data, distilled into one network (Tian et al., 2021).

arXiv 2105.08054, section 3.2. On uncurated data, most negatives differ from an anchor in all and teach little; those of
its own cluster are hard. Four phases, the epochs of all of which are the budget that the command line gives:

1. base: a network learns from all images, by MoCLR.
2. clusters: k-means with the cosine similarity on the hidden layer of its projection head (methods/clusters.py).
3. experts: for each of the K clusters a network learns from its images alone, by the same method, from scratch. An
   epoch takes each image once, in batches of one cluster each.
4. distillation: a new network f with head g learns to predict the projections of base b and of the expert k of the
   image's cluster. With
   z = g(f(x)) at length 1, z_b and z_k likewise of b and k, and regressors r,

       loss of a view = 1/2 |r_b(z) - z_b|^2 + 1/2 |r_k(z) - z_k|^2,    of an image the mean of its two views

   A regressor is a head without its last batch norm; its outputs are not normalised (table 19). f and g are the result.

Chosen here, as the paper does not tell or as this bench needs: the budget is shared 1:3:1, as 200, 600 and 200 epochs
are in the paper; each phase has the schedule and warm-up of a training of its own; small clusters join their nearest,
for an expert needs negatives; teachers predict with their running statistics; f and g begin at random; each regressor
takes the whole batch, so that its batch statistics do not depend on how many images of a cluster are there, and begins
with outputs as long as the targets: with the usual weights they are several times as long, and at SGD's learning rates
the first steps shrink them to nothing for good. SDCLR's experts are pruned like their base, and what is distilled is
the dense branch.
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
PHASES = ("base", "experts", "distillation")  # those that train; clusters are made as the experts begin
Learner = Callable[[nn.Module, int], Method]  # of a network, for a training of so many epochs


class Division(NamedTuple):
    """How images are divided: clusters, least images of one, images that k-means takes, its seed."""

    clusters: int
    least: int
    sample: int
    seed: int


class Experts(Method):
    """A learner for each cluster of the images; the base network, which made the clusters, rests.

    Args:
        base: backbone and head. learners: one a cluster; those of clusters that are empty never learn. images: N.

    In buffers: `cluster` [N], the cluster of each image, -1 before they are made, and of one that could not be read.
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
        """Clusters [N] by the base's features [N, C] before its head, -1 where they are NaN; equal on all processes.

        Raises:
            InputError: fewer images could be read than there are clusters.
        """
        head = copy.deepcopy(self.encoder.fc).eval()
        take_buffers(head)
        known = features.isfinite().all(1)
        hidden = head.hidden(features[known]).float().cpu().numpy()
        how = self.division
        if len(hidden) < how.clusters:
            raise InputError(f"{len(hidden)} images can be read, fewer than the {how.clusters} clusters")
        found, self.joined = join_small(*cosine_k_means(hidden, how.clusters, how.sample, how.seed), how.least)
        clusters = self.cluster.clone()
        clusters[known] = torch.from_numpy(found).to(clusters)
        return gather_rows(clusters)[0][: len(clusters)]  # the main process's, should they differ by rounding

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
        # Another image may have taken the place of one that cannot be read.
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
        student: backbone and head. teachers: base and experts, all with heads as wide. cluster: of each image, [N].
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
        images, own = views.flatten(0, 1), self.experts_of(index).repeat_interleave(2)
        z = self.encoder(images)
        self.projections = z.unflatten(0, (-1, 2)).transpose(0, 1)
        z = F.normalize(at_least_float32(z), dim=1)
        predicted = torch.stack([at_least_float32(regress(z)) for regress in self.regressors])  # [K + 1, 2N, D]
        with torch.no_grad():
            base_target, expert_target = self.target(0, images), torch.empty_like(z)
            for k in own.unique().tolist():
                rows = (own == k).nonzero()[:, 0]
                expert_target[rows] = self.target(k + 1, images[rows])
        of_expert = predicted[own + 1, torch.arange(len(own), device=own.device)]
        losses = ((predicted[0] - base_target) ** 2).sum(1) / 2 + ((of_expert - expert_target) ** 2).sum(1) / 2
        return losses.view(-1, 2).mean(1)

    def experts_of(self, index: torch.Tensor) -> torch.Tensor:
        """The expert of each image [n]. One of no cluster, which could not be read when clusters were made, has that of
        the largest."""
        own, largest = self.cluster[index], torch.bincount(self.cluster + 1)[1:].argmax()
        return torch.where(own < 0, largest, own)

    def target(self, teacher: int, images: torch.Tensor) -> torch.Tensor:
        """A teacher's projections of images [n, 3, H, W]: [n, D] at length 1."""
        return F.normalize(at_least_float32(self.teachers[teacher](images)), dim=1)


def _regressor(head: ProjectionHead) -> ProjectionHead:
    """A head of projections, D -> width -> D, without its last batch norm; at first its outputs have length 1 or so."""
    out, width = head.widths[-1], head.widths[1]
    found = ProjectionHead(out, out, head.layers, False, width)
    setattr(found, f"bn{head.layers}", nn.Identity())
    # A hidden number squared is 1/2 on average, behind batch norm and ReLU.
    nn.init.normal_(getattr(found, f"fc{head.layers}").weight, std=(2 / (out * width)) ** 0.5)
    return found


class DnC(Delegate):
    """The phases one after another, each a method of its own; the networks that the next one does not need are gone.

    Args:
        learner: makes the method of base and experts. encoder: backbone and head, the base's.
        epochs: of all phases. split: their shares. images: of the training list.

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
        """SDCLR's with dual batch norm; its head has 2 layers, as the others'."""
        return {"head_layers": 2, **({"prune": True, "dual_bn": True} if options.dnc_base == "sdclr" else {})}

    @classmethod
    def build(cls, encoder: nn.Module, options: argparse.Namespace, images: int) -> "DnC":
        how, kind = vars(options), BASES[options.dnc_base]

        def learner(network: nn.Module, epochs: int) -> Method:
            own = argparse.Namespace(**{**how, "epochs": epochs, "prune_percent": options.dnc_prune})
            return kind.build(network, own, images)

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
        """Epochs of the phases before the running one."""
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
            teachers = [with_single_batch_norm(net) for net in (network, *(x.encoder for x in self.method.learners))]
            self.method = Distillation(renewed(teachers[0]), teachers, self.method.cluster)

    def start_epoch(self, epoch: int, features: Features | None = None) -> None:
        self.method.start_epoch(epoch - self.before, features)

    def start_step(self, done: float) -> None:
        self.method.start_step(done - self.before)

    def measures(self) -> dict[str, float | str]:
        """The phase, and what it measures."""
        return {"phase": PHASES[self.phase], **self.method.measures()}
