"""What is seen of a run while it runs: kNN, alignment and uniformity, mask density, TensorBoard; and that it costs
the run nothing."""

import importlib.util
import io
import json
import math
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tqdm import tqdm

import recipes.launch
from data.flags import Views, views_of
from data.opened import TrainingImages
from data.sets import digits
from data.sets.base import MemorySet
from data.sets.registry import data_set
from features.extract import Features
from features.knn import knn_scores
from methods.measures import alignment, uniformity
from methods.sdclr import SDCLR
from methods.simclr import SimCLR
from models import build_encoder
from models.mask import get_masks
from pretrain.features import Extractor
from pretrain.flags import parse
from pretrain.monitor import Monitor
from run.bad_images import BadImages
from run.board import Board
from run.compute import Compute
from run.folder import Run
from run.log import Log, had_before, progress
from split.lists import read_path_list
from split.open import Lists
from tests.conftest import PROJECT, interrupted_after, one_line_error
from tests.scripts.test_train_scripts import D_I, PRETRAIN, S_B, same, weights
from tests.trees import make_listed_tree, take_lists_from, training_of
from tests.warm import spawn
from utils.distributed import World
from utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = [*PRETRAIN, "--trainSplit", S_B, "--batch_size", "25", "--lr", "0.1"]
KNN = ["--monitor", "knn", "--monitor_freq", "2"]
SCALARS = {"loss", "lr", "images_per_s", "train_s", "grad_norm", "alignment", "uniformity", "spread"}
DATASET = data_set("imagenet-100")
FILES = ["--dataset", "imagenet-100", "--imagenetCustomSplit", "imageNet_100_LT_train", "--model", "res10"]
FILES += ["--image_size", "32", "--num_workers", "0", "--output_ch", "16", "--batch_size", "48", "--monitor", "knn"]
FILES += ["--optimizer", "sgd", "--lr", "0.1", "--temperature", "0.2"]


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def board(folder: Path) -> EventAccumulator:
    return EventAccumulator(
        str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0, "histograms": 0}
    ).Reload()


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    """Images of 100 classes, two of which are Many, and their lists, in one folder."""
    root = tmp_path_factory.mktemp("monitored")
    make_listed_tree(root, [24] * 2 + [7] * 15 + [4] * 83, root)
    return root


@pytest.fixture
def lists(tree, monkeypatch) -> Path:
    take_lists_from(tree, monkeypatch.setattr)
    return tree


# ---- the measures


@pytest.mark.parametrize(("bank", "k"), [(300, 200), (40, 200), (300, 7)])
def test_knn_is_that_of_scikit_learn(monkeypatch, bank, k):
    monkeypatch.setattr("features.knn.BLOCK", 7 * bank)  # seven queries at once
    rng = np.random.RandomState(bank + k)
    labels, queries = rng.randint(0, 5, bank), rng.randn(60, 12)
    values = rng.randn(bank, 12) + 0.5 * np.eye(12)[labels]
    oracle = KNeighborsClassifier(min(k, bank), metric="cosine", algorithm="brute",
                                  weights=lambda distance: np.exp((1 - distance) / 0.1))  # fmt: skip
    shares = oracle.fit(values, labels).predict_proba(queries)
    features = Features(torch.tensor(values).float(), torch.tensor(labels), torch.arange(bank))
    scores = knn_scores(features, torch.tensor(queries).float(), 5, k).double()
    torch.testing.assert_close(scores / scores.sum(1, keepdim=True), torch.tensor(shares), rtol=1e-4, atol=1e-6)


def test_alignment_and_uniformity_by_loops():
    views = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0))
    z = [[[x / math.dist(row, [0] * 6) for x in row] for row in view] for view in views.double().tolist()]
    aligned = sum(math.dist(a, b) ** 2 for a, b in zip(*z, strict=True)) / 9
    assert alignment(views).item() == pytest.approx(aligned, rel=1e-5)
    pairs = [[math.exp(-2 * math.dist(a, b) ** 2) for a in view for b in view if a is not b] for view in z]
    assert uniformity(views).item() == pytest.approx(sum(math.log(sum(p) / 72) for p in pairs) / 2, rel=1e-5)
    alike = torch.ones(2, 9, 6)
    assert alignment(alike).item() == 0 and uniformity(alike).item() == pytest.approx(0, abs=1e-5)
    assert not uniformity(views[:, :1]).isfinite()


@pytest.mark.parametrize("kind", [SimCLR, SDCLR])
def test_projections_are_of_view_1_and_of_view_2(kind):
    encoder = build_encoder("res20_s", 16, 2, prune=kind is SDCLR).double().eval()
    method = kind(encoder, 0.2, *([0.0] if kind is SDCLR else []))
    views = torch.rand(5, 2, 3, 8, 8, dtype=torch.float64)
    method(views, torch.arange(5))
    expected = torch.stack([encoder(views[:, 0]), encoder(views[:, 1])])
    torch.testing.assert_close(method.projections, expected)
    same_views = views[:, :1].expand(-1, 2, -1, -1, -1)
    method(same_views, torch.arange(5))
    assert alignment(method.projections).item() == pytest.approx(0, abs=1e-9)


def test_mask_density_is_that_of_the_masks():
    method = SDCLR(build_encoder("res20_s", 16, 2, prune=True), 0.2, 0.7, 0.3)
    method.start_epoch(1)
    kept = torch.cat([mask.flatten() for mask in get_masks(method.encoder).values()])
    assert method.measures() == {"mask_density": kept.double().mean().item()}
    assert SimCLR(build_encoder("res20_s", 16, 2), 0.2).measures() == {}


def test_the_bar_counts_no_time_for_what_was_there():
    for bar in (progress(100, 10, "run", False), tqdm(total=100, initial=10, file=io.StringIO())):
        had_before(bar, 30)
        assert bar.n == 40
    assert bar.format_dict["initial"] == 40
    bar.update(1)
    assert bar.last_print_n >= 40
    bar.close()


# ---- a run


@pytest.mark.slow
def test_bars_reach_their_end_and_tell_loss_and_rate(call, tmp_path, monkeypatch):
    bars = []

    def shown(total: int, done: int, what: str, main: bool) -> tqdm:
        bars.append(tqdm(total=total, initial=done, file=io.StringIO()))
        return bars[-1]

    for name in ("train_simCLR", "probe.stages"):
        monkeypatch.setattr(importlib.import_module(name), "progress", shown)
    assert call("train_simCLR.py", "run", *SMALL, "--epochs", 2).returncode == 0
    probe = ["--dataset", "digits", "--model", "res20_s", "--epochs", 3, "--fixto", "layer4", "--fixbn"]
    checkpoint = tmp_path / "checkpoints" / "run" / "model_2.pt"
    assert call("train_cifar.py", "probe", *probe, "--checkpoint", checkpoint, "--cvt_state_dict").returncode == 0
    assert [(bar.n, bar.total) for bar in bars] == [(2 * 50, 2 * 50), (3 * 1200, 3 * 1200)]
    for bar, epochs in zip(bars, (2, 3), strict=True):
        assert re.fullmatch(rf"epoch={epochs}, loss=\d+\.\d{{3}}, lr=[\d.e-]+", bar.postfix)


@pytest.fixture(scope="module")
def boosted() -> list[str]:
    return [*SMALL, "--prune", "--prune_percent", "0.5", "--prune_dual_bn", "--bcl", "--epochs", "3"]


def test_a_run_is_the_same_with_and_without_and_every_tag_is_there(call, tmp_path, monkeypatch, boosted):
    def training_alone(dataset: MemorySet, root: str, train: bool, download: bool) -> tuple[np.ndarray, np.ndarray]:
        assert train, "the test images were read"
        return digits.read(dataset, root, train, download)

    monkeypatch.setattr(digits, "DIGITS", replace(digits.DIGITS, read=training_alone))
    plain = call("train_simCLR.py", "plain", *boosted, "--tensorboard", "False")
    seen = call("train_simCLR.py", "seen", *boosted, *KNN)
    assert plain.returncode == seen.returncode == 0, plain.stderr + seen.stderr
    folders = [tmp_path / "checkpoints" / name for name in ("plain", "seen")]
    assert same(*map(weights, folders)) and not (folders[0] / "tensorboard").exists()
    files = [torch.load(folder / "model.pt", weights_only=True) for folder in folders]
    assert all(torch.equal(a["torch"], b["torch"]) for a, b in zip(*(f["random"] for f in files), strict=True))
    assert torch.equal(*(f["memory"]["momentum_loss"] for f in files))
    rows = metrics(folders[1])
    assert [row["epoch"] for row in rows if "loss" in row] == [1, 2, 3]
    knn = [row for row in rows if "knn_all" in row]
    assert [row["epoch"] for row in knn] == [2, 3]
    # A few-shot list has classes of one size: no groups. By chance it would be 10%.
    assert all(10 < row["knn_all"] <= 100 and row["knn_few"] is None for row in knn)
    assert seen.stdout.count("kNN on the validation list after epoch") == 2
    of_epoch = rows[-2]
    assert of_epoch["mask_density"] == pytest.approx(0.5, abs=1e-3) and of_epoch["score_std"] > 0
    assert 0 < of_epoch["alignment"] < 4 and -8 < of_epoch["uniformity"] < 0
    events = board(folders[1])
    tags = events.Tags()
    assert set(tags["scalars"]) == SCALARS | {"mask_density", "score_std", "knn_all"}
    assert (tags["histograms"], tags["images"]) == (["score"], ["views"])
    assert [e.step for e in events.Histograms("score")] == [1, 2, 3]
    for row in rows:
        for name in row.keys() & set(tags["scalars"]):
            (value,) = (e.value for e in events.Scalars(name) if e.step == row["epoch"])
            assert value == pytest.approx(row[name], rel=1e-6)
    (grid,) = events.Images("views")
    assert (grid.width, grid.height) == (8 * 16, 2 * 16)


def test_groups_are_thirds_of_the_long_tailed_list(call, tmp_path):
    options = [*PRETRAIN, "--trainSplit", D_I, "--epochs", "1", "--monitor", "knn"]
    assert call("train_simCLR.py", "run", *options, "--tensorboard", "False").returncode == 0
    found = metrics(tmp_path / "checkpoints/run")[-1]
    groups = [found[f"knn_{name}"] for name in ("many", "medium", "few")]
    assert found["knn_all"] == pytest.approx(np.average(groups, weights=[4, 3, 3]))


@pytest.mark.slow
def test_a_resumed_run_shows_each_epoch_once(call, tmp_path, boosted):
    folder = tmp_path / "checkpoints/run"
    options = [*boosted, "--epochs", "4", "--monitor", "knn", "--monitor_freq", "1"]
    assert call("train_simCLR.py", "whole", *options).returncode == 0
    with interrupted_after(Run, 3):  # saved are 2 and 4
        assert call("train_simCLR.py", "run", *options).returncode == 1
    assert [row["epoch"] for row in metrics(folder)] == [1, 1, 2, 2, 3, 3]
    time.sleep(1.1 - time.time() % 1)  # the names of event files tell their order by seconds
    done = call("train_simCLR.py", "run", *options, "--resume")
    assert done.returncode == 0 and "after epoch 2" in done.stdout
    assert [row["epoch"] for row in metrics(folder)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert len(list((folder / "tensorboard").iterdir())) == 2
    events = board(folder)
    for name in ("loss", "knn_all", "mask_density"):
        assert [e.step for e in events.Scalars(name)] == [1, 2, 3, 4]
    assert len(events.Images("views")) == 1
    assert same(weights(folder), weights(folder.parent / "whole"))
    keys = SCALARS - {"images_per_s", "train_s"} | {"knn_all", "mask_density", "score_std"}
    kept = [[{k: row[k] for k in keys & row.keys()} for row in metrics(f)] for f in (folder, folder.parent / "whole")]
    assert kept[0] == kept[1]
    other = folder / "tensorboard" / "notes.txt"
    other.write_text("mine")
    done = call("train_simCLR.py", "run", *SMALL, "--epochs", "1", "--overwrite", "--tensorboard", "False")
    assert done.returncode == 0 and [p.name for p in other.parent.iterdir()] == ["notes.txt"]


def test_a_run_that_was_stopped_in_its_first_epoch_has_one_grid(call, tmp_path, interrupted):
    folder, options = tmp_path / "checkpoints/run", [*SMALL, "--epochs", "2"]
    interrupted(1)
    assert call("train_simCLR.py", "run", *options).returncode == 143
    assert not (folder / "metrics.jsonl").exists() and len(board(folder).Images("views")) == 1
    time.sleep(1.1 - time.time() % 1)
    assert call("train_simCLR.py", "run", *options, "--resume").returncode == 0
    events = board(folder)
    assert [e.step for e in events.Images("views")] == [1] and [e.step for e in events.Scalars("loss")] == [1, 2]


def test_no_speed_is_told_of_an_epoch_whose_steps_were_all_done(call, tmp_path, interrupted):
    options = [*SMALL, "--epochs", "1"]
    interrupted(2)  # of two steps
    assert call("train_simCLR.py", "run", *options).returncode == 143
    assert call("train_simCLR.py", "run", *options, "--resume").returncode == 0
    (row,) = metrics(tmp_path / "checkpoints/run")
    assert row["images_per_s"] is None and row["loss"] > 0


# ---- lists, files, processes


@pytest.mark.slow
def test_image_files_with_bad_ones_among_them(call, lists, tmp_path, monkeypatch):
    (bank, val) = (
        read_path_list(lists / DATASET.path(n), DATASET) for n in ("imageNet_100_LT_train", DATASET.val_list)
    )
    broken = lists / val.paths[0]
    content = broken.read_bytes()
    broken.write_bytes(content[:300])
    try:
        options = [*FILES, "--data", lists, "--epochs", "1"]
        one_line_error(call("train_simCLR.py", "strict", *options), val.paths[0])
        monkeypatch.setattr("split.open.ROOT", lists)
        one_line_error(call("train_simCLR.py", "strict", *options, "--check"), val.paths[0])
        assert not (tmp_path / "checkpoints/strict").exists()
        done = call("train_simCLR.py", "run", *options, "--on_bad_image", "skip")
    finally:
        broken.write_bytes(content)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"left out: {broken}") == 1
    found = metrics(tmp_path / "checkpoints/run")[-1]
    sizes = np.bincount(bank.labels, minlength=100)
    present = {"many": (sizes > 100).any(), "medium": (sizes >= 20).any() and (sizes <= 100).any(), "few": True}
    assert 0 <= found["knn_all"] <= 100 and {n: found[f"knn_{n}"] is not None for n in present} == present


def observe(rank: int, size: int, folder: str, files: list[str], root: str) -> None:
    """kNN of one network, twice, on images in memory and on image files."""
    torch.set_num_threads(1)
    if size > 1:
        torch.distributed.init_process_group("gloo", f"file://{folder}/join", rank=rank, world_size=size)
    take_lists_from(Path(root))
    world, log = World(rank, size, torch.device("cpu")), Log(Path(folder) / str(size), rank == 0)
    for stem, options in (("cifar", PRETRAIN), ("imagenet", [*files, "--on_bad_image", "skip"])):
        sys.argv = ["train_simCLR.py", "run", *map(str, options)]
        args = parse("")
        training = training_of(args)
        torch.manual_seed(0)
        encoder = build_encoder(args.model, 16, 3, stem, prune=True, dual_bn=True).train()
        with torch.no_grad():
            encoder.conv1.weight += 0.1
            for name, buffer in encoder.named_buffers():
                if "running" in name:
                    buffer += 0.5 * rank  # without a GPU, statistics are per process; the main one's are saved
        state = torch.get_rng_state()
        views = views_of(args)
        extractor = Extractor(training.data, views, args.model, Compute(args, world.device), world)
        monitor = Monitor(training, extractor, Lists())
        monitor.report(encoder, 1, log, BadImages("skip", log))
        assert encoder.training and torch.equal(state, torch.get_rng_state())
    if size > 1:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_see_what_one_sees(lists, tmp_path):
    options = [*FILES, "--data", str(lists)]
    observe(0, 1, str(tmp_path), options, str(lists))
    spawn(observe, (2, str(tmp_path), options, str(lists)), 2)
    one, two = ([{k: v for k, v in row.items() if k != "time"} for row in metrics(tmp_path / n)] for n in "12")
    assert one == two and len(one) == 2 and all(row["knn_all"] > 0 for row in one)


@pytest.mark.parametrize("between", [[], ["--"]])
def test_the_launcher_leaves_the_flags_to_the_script(monkeypatch, between):
    """torchrun has --monitor-interval and --monitor_interval, which --monitor abbreviates."""
    script = str(PROJECT / "train_simCLR.py")
    monkeypatch.setattr(sys, "argv", ["launch", "--nproc_per_node=2", *between, script, "run", *KNN])
    args = recipes.launch._parse()
    assert (args.nproc_per_node, args.training_script, args.training_script_args) == ("2", script, ["run", *KNN])


# ---- mistakes


def test_mistakes_are_one_line_at_the_start(call, tmp_path, monkeypatch, lists):
    for words in (["--monitor", "svm"], ["--monitor_freq", "0"]):
        one_line_error(call("train_simCLR.py", "run", *SMALL, *words), words[0])
    real = importlib.util.find_spec
    monkeypatch.setattr("run.flags.find_spec", lambda name: None if name == "tensorboard" else real(name))
    one_line_error(call("train_simCLR.py", "run", *SMALL, "--tensorboard"), "--tensorboard", "pip install")
    done = call("train_simCLR.py", "run", *SMALL, "--epochs", "1")
    assert done.returncode == 0 and not (tmp_path / "checkpoints/run/tensorboard").exists()
    monkeypatch.undo()
    with monkeypatch.context() as patch:
        take_lists_from(lists, patch.setattr)
        val = lists / DATASET.path(DATASET.val_list)
        content = val.read_text()
        try:
            val.write_text(content + "train/nowhere/x.JPEG\n")
            one_line_error(call("train_simCLR.py", "files", *FILES, "--data", lists), "label")
        finally:
            val.write_text(content)


def test_a_list_that_holds_validation_images_is_refused(lists):
    val = read_path_list(lists / DATASET.path(DATASET.val_list), DATASET)
    training = TrainingImages(None, [1] * 100, val, DATASET.open(str(lists)))
    with pytest.raises(InputError, match="shares"):
        views, world = Views("pillow", 32, 0, 0), World(0, 1, torch.device("cpu"))
        Monitor(training, Extractor(training.data, views, "res10", None, world), Lists())


def test_an_unusable_tensorboard_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=re.escape("--tensorboard False")):
        Board(tmp_path)
    assert not list(tmp_path.iterdir())
