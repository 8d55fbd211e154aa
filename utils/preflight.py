"""What utils.doctor says of a command line: data, lists, checkpoint, folder, memory, disk and time, a line for each."""

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from data.datasets import ImageSet, Spec, load, spec_of
from data.image_lists import LIST_SPECS, PRETRAIN_LISTS, SOME, ImageFiles, ListSpec, PathList
from data.views import Batch, fingerprint
from methods import build_method
from models import build_classifier
from models.frozen import FrozenBackbone
from models.mask import get_masks
from split.lists import IndexList
from utils import probe, probe_data
from utils.compute import Compute
from utils.distributed import World, cores, launched_by_hand, world_from_environment
from utils.estimate import Estimate, Work, estimate
from utils.machine import Report, disk, existing, free_memory, memory, size
from utils.monitor import Monitor
from utils.optim import build_optimizer
from utils.pretrain import parse, training_images, two_view_loader
from utils.pretrain_files import Checkpoints
from utils.probe_files import Files
from utils.probe_flags import parse_cifar, parse_imagenet
from utils.results import FEATURE_PROTOCOLS, origin

PARSERS = {"train_simCLR.py": parse, "train_cifar.py": parse_cifar, "train_imagenet.py": parse_imagenet}
WORKER = 100 * 2**20  # of its own, besides the batches that it has ready
READY = 2  # batches that a worker has ready


class Preflight:
    """The checks of one command line; each goes on where another one has failed.

    Args:
        script: a key of PARSERS, whose options are in sys.argv. thorough: look at all image files.
    """

    def __init__(self, report: Report, script: str, thorough: bool) -> None:
        self.report, self.script, self.thorough, self.lists = report, script, thorough, {}

    def run(self) -> None:
        """Print the lines."""
        self.args = self.report.attempt("command line", PARSERS[self.script], None)
        if self.args is None:
            return
        self.world = self.report.attempt("processes", self._world)
        if self.world is None:
            return
        self.compute = Compute(self.args, self.world.device)
        self.report.line("ok", "command line", f"{self.script}: {self.world.size} process(es), {self.compute}")
        # The checks here name more than the first bad image, and steps are done without those.
        self.policy, self.args.on_bad_image = self.args.on_bad_image, "skip"
        folder = Path(self.args.save_dir) / self.args.experiment
        self._folder(folder)
        work, written, epochs = self._pretraining() if self.script == "train_simCLR.py" else self._probe()
        disk(self.report, folder, written, "disk", f"{size(written)} of checkpoints; ")
        if work is not None:
            room = free_memory() or 0
            found = self.report.attempt("estimate", estimate, work, self.compute, room)
            if found is not None:
                self._needs(work, found, epochs)

    def _world(self) -> World:
        if self.script == "train_imagenet.py":
            launched_by_hand(self.args.local_rank, self.args.world_size, self.args.port)
        return world_from_environment(getattr(self.args, "no_cuda", False))

    def _folder(self, folder: Path) -> None:
        place = existing(folder)
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            self.report.line("error", "folder", f"{place} cannot be written: choose another --save-dir")
        else:
            self.report.line("ok", "folder", f"{folder}, {'which is there' if folder.exists() else 'a new one'}")

    def _pretraining(self) -> tuple[Work | None, float, int]:
        """The steps, bytes of the checkpoints, and epochs that are to do."""
        args, compute = self.args, self.compute
        images, counts = self.report.attempt("data", training_images, args) or (None, [])
        if images is not None:
            self.report.line("ok", "data", f"{len(images):,} images of {args.dataset}, {min(counts)} to {max(counts)} "
                             f"a class; {_shape(images.images)}")  # fmt: skip
            self._files(images.images)
        if images is not None and args.monitor == "knn":
            monitor = self.report.attempt("monitor", Monitor, images, counts, args, compute, self.world)
            if isinstance(getattr(monitor, "val", None), PathList):
                self._files(ImageFiles(args.data, monitor.val, True))

        def build() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
            flags = argparse.Namespace(**{**vars(args), "bcl": args.bcl and images is not None})
            stem = "imagenet" if args.dataset in PRETRAIN_LISTS else "cifar"
            method = compute.on_device(build_method(flags, stem, 0 if images is None else len(images)))
            return method, build_optimizer(args.optimizer, method.parameters(), args.lr, args.weight_decay)

        method, optimizer = self.report.attempt("network", build) or (None, None)
        if method is None:
            return None, 0, 0
        hashed = "" if images is None else fingerprint(images)
        checkpoints = Checkpoints(args, method, optimizer, compute, self.world, hashed)
        start = self._checkpoint(checkpoints.load, checkpoints, method)
        epochs = range(start + 1, args.epochs + 1)
        state = _bytes(method.state_dict().values())
        state += _bytes(method.parameters()) * (2 if args.optimizer == "adam" else 1)
        # model.pt, the one before it, and the one that is being written.
        written = state * (3 + sum(e % args.save_freq == 0 or e == args.epochs for e in epochs))
        if args.prune:
            masks = sum(e % args.mask_save_freq == 0 or e == args.epochs for e in epochs)
            written += masks * _bytes(get_masks(method.encoder).values())
        if images is None or self.report.attempt("batch", two_view_loader, images, args, self.world) is None:
            return None, written, 0
        method.train().start_epoch(1)
        work = Work(
            lambda n: two_view_loader(images, self._in_steps_of(n, "batch_size"), self.world),
            lambda batch: method(batch.views, batch.index).mean(),
            optimizer,
            args.batch_size // self.world.size,
            -(-len(images) // self.world.size),
            self._workers(),
        )
        return work, written, len(epochs)

    def _probe(self) -> tuple[Work | None, float, int]:
        """The same of a probe; where it trains on features, the steps are those that extract them."""
        args, compute, files = self.args, self.compute, self.script == "train_imagenet.py"
        spec = LIST_SPECS[args.dataset] if files else spec_of(args.dataset)
        sets = self._path_lists(spec) if files else self._images_in_memory(spec)
        model = build_classifier(args.model, spec.classes, stem="imagenet" if files else "cifar")
        prefix = "module." if files else ""
        own = Files(args, model, compute, self.world, origin(self.lists), prefix, numbered=50 * files)
        done = self._checkpoint(own.load_best if args.test_only else own.load, own, model)
        probe.freeze(compute.on_device(model), args.fixto, args.fixbn)
        if args.test_only or args.protocol in FEATURE_PROTOCOLS:
            features = partial(_features, compute.frozen(model))
            if sets is None:
                return None, 0, 0
            images = sum(len(s.labels) for s in sets.values() if s is not None)
            batches, workers = partial(self._evaluated, sets["test"]), self._workers() if files else 0
            return Work(batches, features, None, args.test_batch_size, images, workers), 0, 1
        optimizer = own.optimizer()
        trained = _bytes(p for p in model.parameters() if p.requires_grad)
        # model.pt and best_model.pt, what was before them, and the one that is being written.
        written = (_bytes(model.state_dict().values()) + trained) * (5 + files * (args.epochs // 50))
        if sets is None:
            return None, written, 0
        still = probe.frozen_modules(model, "layer4" if files else args.fixto) if args.fixbn else {}
        alone = World(0, 1, self.world.device)
        network = probe.Network(model, still, args.fixbn, compute, alone)
        network.train()
        batch = args.batch_size // self.world.size
        if network.backbone is not None and not files:
            batch *= max(1, probe.AT_ONCE // batch)
        loader = partial(probe_data.file_train_loader, sets["train"], world=self.world)
        if not files:
            loader = partial(probe_data.train_loader, sets["train"], device=self.world.device)
        if self.report.attempt("batch", partial(loader, args=args)) is None:
            return None, written, 0
        images = -(-len(sets["train"].labels) // self.world.size)
        work = Work(
            lambda n: loader(args=self._in_steps_of(n, "batch_size")),
            partial(_loss, network),
            optimizer,
            batch,
            images,
            self._workers(),
        )
        return work, written, args.epochs - done

    def _images_in_memory(self, spec: Spec) -> dict[str, ImageSet] | None:
        """Of a probe, 'train' or 'train1' ... , and 'test'; None where something is wrong."""
        args, report = self.args, self.report
        train, test = (report.attempt("data", load, spec.name, args.data, t, args.download) for t in (True, False))
        for what, data in (("training", train), ("test", test)):
            if data is not None:
                report.line("ok", "data", f"{len(data.images):,} {what} images of {spec.name}; {_shape(data.images)}")
        lists = None if train is None else report.attempt("lists", probe_data.find_lists, args, train)
        if lists is None:
            return None
        self._lists(lists)
        sets = {name: probe_data.subset(train, lists[name]) for name in lists if name.startswith("train")}
        return None if test is None else {**({} if args.test_only else sets), "test": test}

    def _path_lists(self, spec: ListSpec) -> dict[str, PathList] | None:
        """The same of image files."""
        lists = self.report.attempt("lists", probe_data.find_path_lists, self.args, spec)
        if lists is None:
            return None
        self._lists(lists)
        del lists["group"]
        files = {n: self.report.attempt("data", ImageFiles, self.args.data, item, True) for n, item in lists.items()}
        for item in filter(None, files.values()):
            self._files(item)
        return lists if all(files.values()) else None

    def _lists(self, lists: dict[str, IndexList | PathList | None]) -> None:
        self.lists = dict(lists)
        for name, item in lists.items():
            if item is not None:
                images = len(item.paths if isinstance(item, PathList) else item.indices)
                self.report.line("ok", "lists", f"{name}: {item.path.name}, {images:,} images, {item.source}")

    def _files(self, images: object) -> None:
        """Open image files, without decoding them."""
        if not isinstance(images, ImageFiles):
            return
        looked = min(len(images), len(images) if self.thorough else SOME)
        bad = images.bad(looked)
        detail = f"{len(bad)} bad of {looked:,} that were opened"
        level = "error" if self.policy == "error" else "warning"
        self.report.check(not bad, "images", detail, "; ".join(bad[:3]), level)

    def _checkpoint(self, load: Callable, files: Checkpoints | Files, model: torch.nn.Module) -> int:
        """Load what the run would load; returns the epochs that are done."""
        weights = sum(p.numel() for p in model.parameters())
        done = self.report.attempt("checkpoint", load)
        if done is not None:
            self.report.line("ok", "checkpoint", f"{weights:,} weights; {files.message}")
        return done if isinstance(done, int) else 0

    def _evaluated(self, images: ImageSet | PathList, n: int) -> Iterator[Batch]:
        """Batches of n images as they are evaluated."""
        if not isinstance(images, ImageSet):
            yield from probe_data.file_test_loader(images, self._in_steps_of(n, "test_batch_size"), self.world)
            return
        for x, labels, ids in probe.images_in_memory(images, n):
            yield Batch(x[:, None], ids, labels, [], 0)

    def _workers(self) -> int:
        return 0 if self.args.augment == "batched" else min(self.args.num_workers, cores())

    def _in_steps_of(self, n: int, name: str) -> argparse.Namespace:
        """The flags with n images a step in each process, all made in this process."""
        images = n if name.startswith("test") else n * self.world.size
        return argparse.Namespace(**{**vars(self.args), name: images, "num_workers": 0})

    def _needs(self, work: Work, found: Estimate, epochs: int) -> None:
        """Memory and time against what there is."""
        workers, here = work.workers, int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        ready = here * workers * READY * found.views * work.batch
        process = here * (found.process + workers * WORKER) + ready
        scaled = f" (scaled from steps of {found.batch})" if found.batch < min(work.batch, work.images) else ""
        how = f"about {size(process)}{scaled}, {here * workers} workers included; "
        memory(self.report, process, "memory", how)
        if ready and Path("/dev/shm").is_dir():
            disk(self.report, Path("/dev/shm"), ready, "shared memory", f"{size(ready)} of batches; ")
        if found.gpu:
            free = torch.cuda.mem_get_info(self.world.device)[0] + torch.cuda.memory_reserved(self.world.device)
            detail = f"about {size(found.gpu)}{scaled}; {size(free)} free"
            self.report.check(found.gpu <= free, "GPU memory", detail, "lower the batch size")
        data = found.data / max(1, workers)
        # Workers run while a GPU computes; on a processor both take its cores.
        each = max(found.network, data) if found.gpu and workers else found.network + data
        epoch = each * work.images
        detail = f"about {epoch:.3g} s for {work.images:,} images, {found.network / each:.0%} of it the network"
        if work.optimizer is not None:
            detail += f"; {_duration(epochs * epoch)} for {epochs} such epochs, without validation"
        self.report.line("ok", "time", detail)


def _features(backbone: FrozenBackbone, batch: Batch) -> None:
    backbone.features(batch.views[:, 0])


def _loss(network: probe.Network, batch: Batch) -> torch.Tensor:
    return F.cross_entropy(network.logits(network.inputs(batch.views[:, 0])), batch.labels)


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(t.nbytes for t in tensors)


def _shape(images: object) -> str:
    """Of images in memory; files have many."""
    images = getattr(images, "images", images)
    return f"{images.dtype} {list(images.shape[1:])}" if hasattr(images, "dtype") else "image files"


def _duration(seconds: float) -> str:
    for length, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
