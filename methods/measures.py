"""Measures of the projections of a batch: spread, alignment, uniformity; scalars for metrics.jsonl."""

import math

import torch
import torch.nn.functional as F

from methods.log_sum_exp import LogSumExp

COLLAPSED = 0.1  # spread below which projections count as collapsed; uniform ones have 1


def spread(projections: torch.Tensor) -> torch.Tensor:
    """Standard deviation of normalised projections [2, N, D], mean over D, as a multiple of 1 / sqrt(D), that of
    uniform ones. A scalar.

    It goes to 0 when all images get the same projection (Chen and He, CVPR 2021, section 4.1).
    """
    z = F.normalize(projections.float(), dim=-1).flatten(0, 1)
    return z.std(0).mean() * math.sqrt(z.shape[1])


def alignments(projections: torch.Tensor) -> torch.Tensor:
    """||z1 - z2||^2 of each image, of the normalised projections [2, N, D] of its two views; [N] in [0, 4]."""
    return F.normalize(projections.float(), dim=-1).diff(dim=0).square().sum(-1)[0]


def alignment(projections: torch.Tensor) -> torch.Tensor:
    """Mean of `alignments` over the images, of projections [2, N, D]; a scalar in [0, 4].

    Wang and Isola, ICML 2020, section 4.1.1, alpha 2. It is 0 if the two views of each image have the same projection.
    """
    return alignments(projections).mean()


def uniformity(projections: torch.Tensor) -> torch.Tensor:
    """log of the mean of exp(-2 ||zi - zj||^2) over the images i != j, of normalised projections [2, N, D]; a scalar.

    It is the mean of the values of view 1 and view 2, as in Wang and Isola, ICML 2020, section 4.1.2 and appendix, with
    t = 2; in [-8, 0], and 0 if all projections are equal. Not finite for a single image.
    """
    views = F.normalize(projections.float(), dim=-1)
    n = views.shape[1]
    # -2 ||zi - zj||^2 = 4 zi . zj - 4
    totals = [LogSumExp.apply(4 * z, z, torch.arange(n, device=z.device)).logsumexp(0) for z in views]
    return torch.stack(totals).mean() - 4 - math.log(max(1, n * (n - 1)))


OF_IMAGES = {"alignment": alignments}  # [2, N, D] -> [N]
MEASURES = {"spread": spread, "alignment": alignment, "uniformity": uniformity}
