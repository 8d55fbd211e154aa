"""An epoch on a device: its images lie there, its views are made there, and nothing waits between its steps."""

import numpy as np
import pytest
import torch
from tqdm import tqdm

from data.loader import AugmentedImages, BatchedLoader
from data.samplers import EpochSampler
from data.views.batches import PretrainViews
from data.views.boost import Boost
from pretrain.epoch import one_epoch
from run.bad_images import BadImages
from run.log import Log
from run.meters import Meters
from run.reporter import Reporter
from tests.data.test_batch_ops import PATCHES
from tests.gpu.places import IMAGES, Place, precisions, training_on

STEPS = 8
QUIET = Log(None, main=False)


class Strict:
    """In place of a run's folder: from the second step on to the last but one, whatever waits for a GPU is an error."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.strict = device, []

    def stepped(self, epoch: int, meters: Meters, read: object) -> None:
        strict = 2 <= meters.done < meters.steps - 1
        self.strict.append(strict)
        if self.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error" if strict else "default")


@precisions("fp32", "fp32 bf16 fp16")
@pytest.mark.parametrize("method", ["simclr", "bcl-d", "simclr+gh", "rwsam", "moclr"])
def test_nothing_waits_between_the_steps_of_an_epoch(device, method, precision):
    """Data, step, meters and the look at earlier losses."""
    training = training_on(Place(device, precision), method)
    images = np.concatenate([PATCHES, PATCHES])[:IMAGES]
    boost = training.method.boost and Boost(*training.method.boost)
    data = AugmentedImages(images, np.zeros(IMAGES, np.int64), PretrainViews(16, True, boost=boost), 1, 2)
    loader = BatchedLoader(data, EpochSampler(data, 1, 0, shuffle=True, seed=1), IMAGES // STEPS, device)
    assert len(loader) == STEPS
    loader.sampler.set_epoch(100)
    if (scores := training.method.scores()) is not None:
        data.set_scores(scores)
    strict, meters = Strict(device), Meters(STEPS, torch.arange(IMAGES, device=device) % 3, ("alignment",))
    reporter = Reporter(QUIET, tqdm(disable=True), BadImages("error", QUIET), 1000)
    try:
        one_epoch(training._replace(loader=loader), 100, meters, reporter, strict)
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert strict.strict == [False] + [True] * (STEPS - 3) + [False] * 2
    assert meters.images == IMAGES and 0 < meters.loss < 20
