"""Samplers: torch's own order, with subsets, padding and resuming, in little memory."""

import math
import tracemalloc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DistributedSampler

from data.samplers import EpochSampler, ShardedBatches
from utils.distributed import World

quick = settings(database=None, deadline=None, max_examples=80)


@quick
@given(
    st.integers(1, 60), st.integers(1, 7), st.booleans(), st.integers(0, 2**31), st.integers(0, 99), st.integers(0, 70)
)
def test_torchs_order_from_where_it_was_interrupted(images, world, shuffle, seed, epoch, skip):
    """More processes than images, too."""
    for rank in range(world):
        theirs = DistributedSampler(range(images), world, rank, shuffle=shuffle, seed=seed)
        ours = EpochSampler(range(images), world, rank, shuffle=shuffle, seed=seed)
        theirs.set_epoch(epoch)
        ours.set_epoch(epoch, skip)
        assert list(ours) == [(epoch, i) for i in theirs][skip:]
        assert all(type(i) is int for _, i in ours)
        assert len(ours) == len(theirs)


@quick
@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99), st.data())
def test_a_subset_is_ordered_as_torch_orders_a_data_set_of_it(images, world, batch, smallest, epoch, draw):
    """A last batch that is too short goes on with the epoch from its beginning."""
    subset = draw.draw(st.lists(st.integers(0, images - 1), min_size=1, unique=True))
    each = math.ceil(len(subset) / world)
    each += smallest - each % batch if 0 < each % batch < smallest else 0
    theirs = DistributedSampler(subset, 1, 0, seed=5)
    theirs.set_epoch(epoch)
    cycle = [subset[i] for i in theirs] * (world * each)
    for rank in range(world):
        ours = EpochSampler(range(images), world, rank, shuffle=True, seed=5)
        ours.choose(chosen := torch.tensor(subset), batch, smallest)
        chosen.zero_()  # what becomes of it is the caller's
        ours.set_epoch(epoch)
        assert list(ours) == [(epoch, i) for i in cycle[: world * each][rank::world]]
        ours.choose(None, batch, smallest)
        again = DistributedSampler(range(images), world, rank, seed=5)
        again.set_epoch(epoch)
        assert [i for _, i in ours] == list(again)


def test_no_image():
    sampler = EpochSampler(range(5), 2, 1, shuffle=True)
    sampler.choose(torch.tensor([], dtype=torch.int64), 2, 2)
    assert (list(sampler), len(sampler)) == ([], 0)


@pytest.mark.parametrize("sharded", [False, True])
def test_an_epoch_takes_no_list_of_pythons_numbers(sharded):
    """A list of 200,000 of them would take 8 MB, torch's are not counted."""
    images = 200_000
    if sharded:
        sampler = ShardedBatches(range(images), 256, World(0, 1, torch.device("cpu")))
    else:
        sampler = EpochSampler(range(images), 1, 0, shuffle=True, seed=0)
    tracemalloc.start()
    try:
        keys = iter(sampler)
        for _ in range(300):
            next(keys)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 1e6
