"""BCL: images that are memorised late get stronger augmentation (Zhou et al., ICML 2022, section 3).

Networks memorise frequent patterns first, so the loss of a tail image stays high for longer. Over the epochs t, each
image i keeps a moving average of its contrastive loss (momentum loss), which gives its memorisation score in [0, 1]:

    Lm_{i,1} = L_{i,1};    Lm_{i,t} = beta Lm_{i,t-1} + (1 - beta) L_{i,t}
    M_{i,t} = ((Lm_{i,t} - mean_j Lm_{j,t}) / max_j |Lm_{j,t} - mean Lm_t| + 1) / 2

The score of epoch t is the probability and strength of RandAugment (data/views/boost.py) in epoch t + 1; in the first
epoch it is 0. BCL-I is this on SimCLR, BCL-D on SDCLR; any method that gives the loss of each image can be wrapped.
"""

import argparse

import torch

from methods.base import BoostSettings, Features, Method, Wrapper
from methods.memory import first_of_each
from utils.cli import Parser, number
from utils.distributed import gather_rows

BCL_I = BoostSettings(k=1)


def memorisation_score(momentum_loss: torch.Tensor) -> torch.Tensor:
    """Memorisation scores [N] in [0, 1] from momentum losses [N], of mean 0.5; all 0.5 if all losses are equal."""
    centred = momentum_loss - momentum_loss.mean()
    extreme = centred.abs().max()
    # Losses whose differences are within the rounding error of their mean count as equal.
    equal = extreme <= 8 * torch.finfo(momentum_loss.dtype).eps * momentum_loss.abs().max()
    return torch.where(equal, 0.0, centred / extreme) / 2 + 0.5


class BCL(Wrapper):
    """A method whose views are boosted by the momentum losses of its images.

    Args:
        method: any; its forward gives the loss of each image.
        images: N, their number; sample ids are 0..N-1.
        beta: weight of the old momentum loss, in [0, 1). boost: of the views; BCL-I's by default.

    Buffers of [N] each: `momentum_loss`, in nats; `epochs`, the last epoch with a loss of the image, 0 for none;
    `score`, which the augmentation of the running epoch uses.
    """

    @classmethod
    def add_options(cls, parser: Parser) -> None:
        add = parser.add_argument
        parser.add_flag("--bcl", help="boosted: images that are memorised late get stronger augmentation")
        beta = number(float, 0, 1 - 1e-9)
        add("--momentum_loss_beta", type=beta, default=0.97, help="of the momentum loss, in [0, 1)")
        add("--rand_k", type=number(int, 1, 100), default=1, help="boosted operations per view: 1 in BCL-I, 2 in BCL-D")
        add("--rand_strength", type=number(float, 0, 30), default=30.0, help="largest strength of an operation")
        add("--rand_floor", type=number(float, 0, 30), help="smallest strength; default 10 for one operation, else 5")

    @classmethod
    def build(cls, method: Method, options: argparse.Namespace, images: int) -> "BCL":
        boost = BoostSettings(options.rand_k, options.rand_strength, options.rand_floor)
        return cls(method, images, options.momentum_loss_beta, boost)

    def __init__(self, method: Method, images: int, beta: float = 0.97, boost: BoostSettings = BCL_I) -> None:
        super().__init__(method)
        self.beta, self.boost = beta, boost
        self.register_buffer("momentum_loss", torch.zeros(images))
        self.register_buffer("epochs", torch.zeros(images, dtype=torch.long))
        self.register_buffer("score", torch.zeros(images), persistent=False)
        self.register_buffer("_first", torch.zeros(images, dtype=torch.long), persistent=False)
        self.register_buffer("_keep", torch.zeros(images), persistent=False)
        self.epoch = 0

    def start_phase(self, number: int) -> None:
        """Reset the losses, as they are of another network."""
        super().start_phase(number)
        self.momentum_loss.zero_()
        self.epochs.zero_()

    def start_epoch(self, epoch: int, features: Features | None = None) -> None:
        """Set the scores of `epoch` (1-based): a function of the momentum losses alone, 0 while there are none."""
        super().start_epoch(epoch, features)
        self.epoch = epoch
        # Weight of the old value in an image's momentum loss: 1 if the image already has its loss of this epoch.
        self._keep.copy_(torch.where(self.epochs >= epoch, 1.0, torch.where(self.epochs > 0, self.beta, 0.0)))
        self.score.zero_()
        seen = self.epochs > 0  # an image that cannot be read has no loss
        if epoch > 1 and seen.any():
            self.score[seen] = memorisation_score(self.momentum_loss[seen])

    def scores(self) -> torch.Tensor:
        """The scores [N] of the running epoch, in [0, 1]."""
        return self.score

    def check_memory(self) -> None:
        super().check_memory()
        if not self.momentum_loss.isfinite().all():
            raise ValueError("its memory of losses is damaged: they are not finite")

    def measures(self) -> dict[str, float]:
        """'score_std' of the running epoch, the standard deviation of the scores, and the wrapped method's."""
        return {**super().measures(), "score_std": self.score.std(correction=0).item()}

    @torch.no_grad()
    def remember(self, index: torch.Tensor, losses: torch.Tensor) -> None:
        """Update the momentum losses by the losses [n] of the images `index` [n], in nats, of all processes.

        If an image comes twice in an epoch, because a sampler pads, its first loss counts.
        """
        super().remember(index, losses)
        index, losses = gather_rows(index, losses)
        # Both places of an image that comes twice in the batch get its first loss, so both write the same value.
        loss = losses.to(self.momentum_loss).index_select(0, first_of_each(index, self._first))
        old, keep = self.momentum_loss.index_select(0, index), self._keep.index_select(0, index)
        self.momentum_loss.scatter_(0, index, torch.lerp(loss, old, keep))
        self._keep.index_fill_(0, index, 1.0)
        self.epochs.index_fill_(0, index, self.epoch)
