"""The two sides of each comparison: every function prepares a procedure and returns its step (benchmarks/compare.py).

`published_...` runs benchmarks/published.py, `our_...` this project's code, with the same images, networks and batch
sizes.
"""

import itertools
import warnings
from collections.abc import Callable

import cv2
import numpy as np
import torch
from sklearn.datasets import load_sample_images

import pretrain.epoch
import probe.epoch
from benchmarks import published
from benchmarks.compare import Step
from benchmarks.memory import BATCH, BETA, Loop
from benchmarks.views import decode, jpegs
from data.images import ImageSet
from data.loader import AugmentedImages, BatchedLoader
from data.opened import ArrayBatches
from data.samplers import EpochSampler
from data.sets.registry import data_set
from data.views import arrays
from data.views.batches import PretrainViews, ShiftedViews
from data.views.published import pretrain_transform
from features.extract import images_of
from methods.bcl import BCL
from methods.sdclr import SDCLR
from methods.simclr import SimCLR, nt_xent
from models import build_classifier, build_encoder
from models.mask import compute_masks
from models.resnet import build_backbone
from probe.network import Network, freeze, frozen_modules
from run.compute import Compute
from run.flags import Precision
from run.log import Log, progress
from run.meters import Meters
from run.optim import build_optimizer, sgd
from run.reporter import Reporter
from utils.allocator import keep_memory
from utils.distributed import World

ALONE = World(0, 1, torch.device("cpu"))
QUIET = Log(None, main=False)
LR, TEMPERATURE, CLASSES = 0.01, 0.2, 100


def patches(n: int, size: int = 32) -> np.ndarray:
    """Square crops of scikit-learn's two photographs, [n, size, size, 3] uint8."""
    photos, random = load_sample_images().images, np.random.RandomState(0)
    corners = [(i % 2, random.randint(427 - size), random.randint(640 - size)) for i in range(n)]
    return np.stack([photos[p][y : y + size, x : x + size] for p, y, x in corners])


def encoder(method: str, model: str) -> torch.nn.Module:
    """The network of `simclr` or `sdclr` for 32 pixels, with the published projection head."""
    torch.manual_seed(0)
    return build_encoder(model, 128, *((3, "cifar", True, True) if method == "sdclr" else (2,)))


def published_pretraining(method: str, pairs: int, model: str = "res18", workers: int = 5) -> Step:
    """A step of `simclr` or `sdclr` with its data, float32; the published recipes start 5 workers."""
    # There may be more workers than cores, as published.
    warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
    network = encoder(method, model).train()
    if method == "sdclr":
        for name, mask in published.pruning_masks(network, 0.9).items():
            network.get_submodule(name).mask.copy_(mask)
    optimizer = torch.optim.SGD(network.parameters(), LR, momentum=0.9, weight_decay=1e-4)
    loader = published.view_loader(patches(16 * pairs), pairs, workers, seed=0)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    update = getattr(published, f"{method}_step")
    return lambda: update(network, optimizer, next(batches), TEMPERATURE)


def settings(precision: str) -> Precision:
    """The precision settings of our networks."""
    return Precision(precision, "channels_last", tf32=False, deterministic=False)


def quiet_reporter(every: int) -> Reporter:
    """A reporter without output."""
    return Reporter(QUIET, progress(1, 0, "", False), _NoBadImages(), every)


def our_pretraining(method: str, pairs: int, precision: str, model: str = "res18", share: float = 0.9) -> Step:
    """This project's step: an epoch of one batch. share: of the weights that SDCLR prunes."""
    compute = Compute(settings(precision), ALONE.device)
    network = encoder(method, model)
    learner = SDCLR(network, TEMPERATURE, share) if method == "sdclr" else SimCLR(network, TEMPERATURE)
    learner = compute.on_device(learner)
    learner.start_epoch(1)
    optimizer = build_optimizer("sgd", learner.parameters(), LR)
    loader, epochs = _loader(patches(pairs), PretrainViews(32, True), 2, pairs), itertools.count(1)
    schedule = pretrain.epoch.Schedule(10**6, LR, "constant")
    training = pretrain.epoch.Training(learner, loader, optimizer, schedule, compute, ALONE)

    def step() -> None:
        epoch = next(epochs)
        loader.sampler.set_epoch(epoch)
        pretrain.epoch.one_epoch(training, epoch, Meters(len(loader)), quiet_reporter(1))

    return step


class _NoBadImages:
    """In place of run.bad_images: images in memory are never bad."""

    def take(self, *_: object, **__: object) -> None:
        pass

    def report(self) -> None:
        pass


def _loader(images: np.ndarray, transform: object, views: int, batch: int) -> BatchedLoader:
    labels = np.arange(len(images)) % CLASSES
    data = AugmentedImages(images, labels, transform, seed=0, views=views)
    return BatchedLoader(data, EpochSampler(data, 1, 0, shuffle=True, seed=0), batch, ALONE.device)


def published_views(images: int) -> Step:
    """Two 32-pixel views of each image, on one core, without worker processes."""
    torch.set_num_threads(1)
    data = published.TwoViews(patches(images))

    def step() -> None:
        for start in range(0, images, 128):
            torch.stack([data[i] for i in range(start, min(start + 128, images))])

    return step


def our_views(images: int) -> Step:
    """The same views by this project's loader, including an epoch's random order."""
    torch.set_num_threads(1)
    keep_memory()
    loader = _loader(patches(images), PretrainViews(32, True), 2, 128)

    def step() -> None:
        for _ in loader:
            pass

    return step


def _jpeg_views(transform: Callable, prepare: Callable) -> Step:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    files = jpegs()

    def step() -> None:
        for file in files * 15:
            image = prepare(decode(file))
            torch.stack([transform(image), transform(image)])

    return step


def published_jpeg_views() -> Step:
    """Two views of 224 pixels of 30 JPEG files of 500 x 375, on one core."""
    return _jpeg_views(pretrain_transform(224, True, 1.0, 0.08, blur=True), lambda image: image)


def our_jpeg_views() -> Step:
    """The same by this project."""
    return _jpeg_views(arrays.PretrainView(224), np.array)


def published_masks(model: str) -> Step:
    """The pruning masks of a network, with 90% of the weights pruned."""
    network = build_backbone(model)
    return lambda: published.pruning_masks(network, 0.9) and None


def our_masks(model: str) -> Step:
    """The same by this project."""
    keep_memory()
    network = build_backbone(model).to(memory_format=torch.channels_last)
    return lambda: compute_masks(network, 0.9) and None


def _backward(loss: Callable[..., torch.Tensor], pairs: int, times: int) -> Step:
    torch.manual_seed(0)
    views = [torch.randn(pairs, 128, requires_grad=True) for _ in range(2)]

    def step() -> float:
        for _ in range(times):
            value = loss(*views, TEMPERATURE).mean()
            value.backward()
        return value.item()

    return step


def published_loss(pairs: int, times: int = 1) -> Step:
    """NT-Xent of 128-dimensional projections, forward and backward; `times` times, as one is too short to be timed."""
    return _backward(published.nt_xent, pairs, times)


def our_loss(pairs: int, times: int = 1) -> Step:
    """The same by this project."""
    keep_memory()
    return _backward(nt_xent, pairs, times)


def published_probe(train: int, val: int, epochs: int = 30) -> Step:
    """An epoch of the linear probe of res18."""
    torch.manual_seed(0)
    images, labels = patches(train + val), np.arange(train + val) % CLASSES
    model = build_classifier("res18", CLASSES)
    accuracies = published.probe(model, images[:train], labels[:train], images[train:], labels[train:], epochs)
    return lambda: next(accuracies)


def our_probe(train: int, val: int, precision: str) -> Step:
    """The same by this project."""
    torch.manual_seed(0)
    images, labels = patches(train + val), np.arange(train + val) % CLASSES
    compute = Compute(settings(precision), ALONE.device)
    model = compute.on_device(build_classifier("res18", CLASSES))
    freeze(model, "layer4", True)
    network = Network(model, frozen_modules(model, "layer4"), True, compute, ALONE)
    optimizer, epochs = sgd([p for p in model.parameters() if p.requires_grad], 30.0, 0.9, 0.0), itertools.count(1)
    loader = _loader(images[:train], ShiftedViews(32, True), 1, data_set("cifar10").at_once)
    training = probe.epoch.Training(network, loader, optimizer, probe.epoch.Schedule(30, 30.0, [10, 20]), 128, ALONE)
    held_out = ArrayBatches(ImageSet(None, images[train:], labels[train:]), 128, ALONE)

    def step() -> float:
        probe.epoch.train_epoch(training, next(epochs), quiet_reporter(10))
        return network.evaluate(images_of(held_out, _NoBadImages()), CLASSES)["top1"]

    return step


def our_classifier(classes: int, images: int = 40_000, batch: int = 128) -> Step:
    """An epoch of the linear probe's classifier alone, on 512-dimensional features."""
    compute, features = Compute(settings("fp32"), ALONE.device), torch.rand(images, 512)
    layer, labels = torch.nn.Linear(512, classes), torch.arange(images) % classes
    optimizer = sgd(layer.parameters(), 30.0, 0.9, 0.0)

    def step() -> None:
        for x, y in zip(features.split(batch), labels.split(batch), strict=True):
            loss = torch.nn.functional.cross_entropy(layer(x), y)
            compute.backward(loss, optimizer)
            compute.step(optimizer)

    return step


def _memory(memory: object, images: int, start: Callable[[int], None]) -> Step:
    torch.set_num_threads(1)
    generator, epochs = torch.Generator().manual_seed(0), itertools.count(1)

    def step() -> None:
        epoch = next(epochs)
        start(epoch)
        losses = (5 * torch.rand(images, generator=generator)).split(BATCH)
        for index, loss in zip(torch.randperm(images, generator=generator).split(BATCH), losses, strict=True):
            memory.remember(*((epoch,) if isinstance(memory, Loop) else ()), index, loss)

    return step


def published_memory(images: int) -> Step:
    """An epoch of updates of BCL's memory of losses, on one core."""
    return _memory(Loop(images, epochs=100), images, lambda epoch: None)


def our_memory(images: int) -> Step:
    """The same by this project."""
    method = BCL(SimCLR(torch.nn.Identity(), TEMPERATURE), images, BETA)
    return _memory(method, images, method.start_epoch)
