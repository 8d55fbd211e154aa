"""BCL: images that are memorised late get stronger augmentation (Zhou et al., ICML 2022, section 3).

Networks memorise frequent patterns first, so the loss of a tail image stays high for long. Over the epochs t, each
image i keeps a moving average of its contrastive loss (momentum loss), which gives its memorisation score in [0, 1]:

    Lm_{i,1} = L_{i,1};    Lm_{i,t} = beta Lm_{i,t-1} + (1 - beta) L_{i,t}
    M_{i,t} = ((Lm_{i,t} - mean_j Lm_{j,t}) / max_j |Lm_{j,t} - mean Lm_t| + 1) / 2

The score of epoch t is the probability and strength of RandAugment (data/views/boost.py) in epoch t + 1; in the first
epoch it is 0. BCL-I is this on SimCLR, BCL-D on SDCLR; any method that gives the loss of each image can be wrapped.
"""

from typing import Any

import torch

from methods.base import Method, Wrapper
from utils.distributed import gather_rows
from utils.errors import InputError


def memorisation_score(momentum_loss: torch.Tensor) -> torch.Tensor:
    """Score of each image from momentum losses [N]: [N] in [0, 1], mean 0.5; 0.5 for all where all losses are equal."""
    centred = momentum_loss - momentum_loss.mean()
    extreme = centred.abs().max()
    # Where they differ by no more than their mean is rounded, they are equal.
    equal = extreme <= 8 * torch.finfo(momentum_loss.dtype).eps * momentum_loss.abs().max()
    return torch.where(equal, 0.0, centred / extreme) / 2 + 0.5


class BCL(Wrapper):
    """A method and the memory of its losses.

    Args:
        method: SimCLR, SDCLR or Focal; its forward gives the loss of each image.
        images: N, their number; sample ids are 0..N-1.
        beta: share of the old momentum loss that stays, in [0, 1).

    The memory is in buffers, [N] each: `momentum_loss`, in nats; `epochs`, how many an image has had; `score`, which
    the augmentation of the running epoch uses.
    """

    def __init__(self, method: Method, images: int, beta: float = 0.97) -> None:
        super().__init__(method)
        self.beta = beta
        self.register_buffer("momentum_loss", torch.zeros(images))
        self.register_buffer("epochs", torch.zeros(images, dtype=torch.long))
        self.register_buffer("score", torch.zeros(images), persistent=False)
        self.register_buffer("_first", torch.zeros(images, dtype=torch.long), persistent=False)
        self.register_buffer("_keep", torch.zeros(images), persistent=False)
        self.epoch = 0

    def start_epoch(self, epoch: int) -> None:
        """Fix the scores of `epoch` (1-based): a function of the momentum losses alone, 0 in the first."""
        super().start_epoch(epoch)
        self.epoch = epoch
        # Share of its old value that an image's momentum loss keeps: all of it once it has had its turn in this epoch.
        self._keep.copy_(torch.where(self.epochs >= epoch, 1.0, torch.where(self.epochs > 0, self.beta, 0.0)))
        self.score.zero_()
        seen = self.epochs > 0  # an image that cannot be read has no loss
        if epoch > 1 and seen.any():
            self.score[seen] = memorisation_score(self.momentum_loss[seen])

    def scores(self) -> torch.Tensor:
        """The scores [N] of the running epoch, in [0, 1]."""
        return self.score

    def epoch_state(self) -> dict[str, torch.Tensor]:
        """The scores of the running epoch, whose momentum losses have moved, and the wrapped method's state."""
        return {"bcl.score": self.score, **super().epoch_state()}

    def load_epoch_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take up the epoch_state of an interrupted epoch; KeyError or ValueError if it is none of these images."""
        state = dict(state)
        score = state.pop("bcl.score")
        if score.shape != self.score.shape:
            raise ValueError("scores of other images")
        self.score.copy_(score)
        super().load_epoch_state(state)

    def measures(self) -> dict[str, float]:
        """'score_std' of the running epoch, the standard deviation of the scores, and the wrapped method's."""
        return {**super().measures(), "score_std": self.score.std(correction=0).item()}

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """views [N, 2, 3, H, W] in [0, 1], index [N] sample ids -> losses [N]; in training the memory takes them in."""
        loss = super().forward(views, index)
        if self.training:
            self.remember(index, loss.detach())
        return loss

    def memory(self) -> dict[str, torch.Tensor]:
        """What a checkpoint keeps besides the encoder: 'momentum_loss' [N], 'epochs' [N]."""
        return {"momentum_loss": self.momentum_loss, "epochs": self.epochs}

    def load_memory(self, memory: Any, source: str) -> None:
        """Take up the memory of the checkpoint `source`.

        Raises:
            InputError: it has none, or one of other images.
        """
        own = self.memory()
        if not isinstance(memory, dict) or memory.keys() != own.keys():
            raise InputError(f"{source} has no memory of losses: it was not trained by BCL")
        for name, buffer in own.items():
            new = memory[name]
            if not isinstance(new, torch.Tensor) or new.shape != buffer.shape or not torch.isfinite(new).all():
                raise InputError(f"{source}: its memory of losses is damaged, or of another list of images")
            buffer.copy_(new)

    @torch.no_grad()
    def remember(self, index: torch.Tensor, loss: torch.Tensor) -> None:
        """Take in the losses [n] of the images `index` [n], of all processes.

        Of an image that comes twice in an epoch, because a sampler pads, the first loss counts.
        """
        index, loss = gather_rows(index, loss)
        position = torch.arange(len(index), device=index.device)
        self._first.scatter_reduce_(0, index, position, "amin", include_self=False)
        # An image that comes twice in the batch has its first loss at both places, so both write the same.
        loss = loss.to(self.momentum_loss).index_select(0, self._first.index_select(0, index))
        old, keep = self.momentum_loss.index_select(0, index), self._keep.index_select(0, index)
        self.momentum_loss.scatter_(0, index, torch.lerp(loss, old, keep))
        self._keep.index_fill_(0, index, 1.0)
        self.epochs.index_fill_(0, index, self.epoch)
