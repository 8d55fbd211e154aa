"""DnC: its phases, clusters and losses against scikit-learn, loops and hand-worked cases; resumed to the bit."""

import copy
import json
import math
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.cluster import KMeans
from torch import nn

from data.sets.memory import load
from data.sets.registry import data_set
from methods import choose, method_in
from methods.bcl import BCL
from methods.clusters import cosine_k_means, join_small
from methods.dnc import Distillation, Division, Experts, _regressor
from methods.epochs import parts_of, share_out
from methods.simclr import SimCLR
from models import build_encoder
from models.heads import ProjectionHead
from pretrain.epoch import step
from pretrain.setup import trained_encoders
from recipes.settings import settle
from run.checkpoint import read_checkpoint
from run.compute import Compute
from run.flags import Precision
from split.open import Lists
from tests.conftest import PROJECT, one_line_error, slow_but
from tests.pretrain.test_hooks import batch, noted_steps, training_of
from tests.run.test_resume import SMALL, equal
from tests.scripts.test_folder import photographs
from tests.scripts.test_train_scripts import PROBE, S_B, same
from tests.warm import free_port, spawn
from utils.distributed import World
from utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN = ["--precision", "fp32"]
FIVE = [*SMALL, "--epochs", "5", "--method", "dnc", "--dnc_clusters", "3", "--dnc_min", "4"]  # of 1, 3 and 1 epochs


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_encoder("res20_s", 8, 2)


# ---- clusters


def blobs(sizes: list[int], d: int = 6, spread: float = 0.05, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows around directions that are at right angles, of any length, and the blob of each."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(len(sizes)), sizes)
    rng.shuffle(of)
    rows = np.eye(d)[of] + spread * rng.standard_normal((len(of), d))
    return (rows * rng.uniform(0.1, 10, (len(of), 1))).astype(np.float32), of


def as_sets(clusters) -> set[frozenset[int]]:
    """A partition whatever its numbers."""
    clusters = np.asarray(clusters)
    return {frozenset(np.flatnonzero(clusters == k).tolist()) for k in np.unique(clusters)}


@pytest.mark.parametrize("most", [1000, 40])
def test_blobs_are_found_and_are_those_of_scikit_learn(most):
    rows, of = blobs([40, 30, 20, 10])
    found, centres = cosine_k_means(rows, 4, most, seed=3)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    theirs = KMeans(4, n_init=10, random_state=0).fit_predict(unit)
    assert as_sets(found) == as_sets(theirs) == as_sets(of)
    assert np.allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-6)
    for k in range(4):
        assert (unit[found == k] @ centres.T).argmax(1).tolist() == [k] * int((found == k).sum())
    again, _ = cosine_k_means(rows * 3, 4, most, seed=3)
    assert np.array_equal(found, again)


def test_fewer_different_rows_than_clusters_leave_some_empty():
    rows = np.repeat(np.eye(2), 5, 0)
    found, _ = cosine_k_means(rows, 4, 100, seed=0)
    assert as_sets(found) == as_sets([0] * 5 + [1] * 5)
    zeros, _ = cosine_k_means(np.zeros((4, 3)), 2, 100, seed=0)
    assert len(set(zeros.tolist())) == 1


def test_small_clusters_join_their_nearest_the_smallest_first():
    """By hand: 3 (one row) joins 2, which then has enough; 1 (three rows) joins 0."""
    centres = np.array([[1, 0, 0], [0.9, 0.436, 0], [0, 0, 1], [0, 0.6, 0.8]], np.float32)
    clusters = np.array([0] * 6 + [1] * 3 + [2] * 3 + [3])
    found, joined = join_small(clusters, centres, 4)
    assert joined == [(3, 1, 2), (1, 3, 0)] and found.tolist() == [0] * 9 + [2] * 4
    found, joined = join_small(clusters, centres, 100)
    assert len(set(found.tolist())) == 1 and len(joined) == 3  # one is left, however small
    found, joined = join_small(clusters, centres, 1)
    assert joined == [] and np.array_equal(found, clusters)


# ---- the budget


@pytest.mark.parametrize(
    ("epochs", "split", "lengths"),
    [(100, "1:3:1", [20, 60, 20]), (1000, "200:600:200", [200, 600, 200]), (2000, "1000:1500:500", [667, 1000, 333]),
     (4500, "1000:3000:500", [1000, 3000, 500]), (5, "1:3:1", [1, 3, 1]), (3, "1:3:1", [1, 1, 1]),
     (6, "1:3:1", [1, 4, 1]), (4, "1:100:1", [1, 2, 1])],
)  # fmt: skip
def test_the_budget_is_shared(epochs, split, lengths):
    assert share_out(epochs, parts_of(split)) == lengths


@given(st.integers(3, 400), st.lists(st.floats(0.01, 100), min_size=3, max_size=3))
def test_the_whole_budget_is_used_and_each_phase_has_some(epochs, parts):
    lengths = share_out(epochs, parts)
    assert sum(lengths) == epochs and min(lengths) >= 1
    for length, part in zip(lengths, parts, strict=True):
        exact = epochs * part / sum(parts)
        assert abs(length - exact) <= 1 or exact < 1 or min(epochs * p / sum(parts) for p in parts) < 1.5


# ---- the loss of distillation


def distillation(k: int, seed: int = 0) -> Distillation:
    """In double precision and evaluation mode, with K experts; every third image is of a cluster of its own."""
    teachers = [network(10 + i) for i in range(k + 1)]
    method = Distillation(network(seed), teachers, torch.arange(9) % k)
    return method.double().eval()


def test_the_loss_equals_its_equation():
    method, x = distillation(3), torch.rand(6, 2, 3, 8, 8, dtype=torch.float64)
    index = torch.tensor([8, 0, 4, 3, 1, 7])
    losses = method(x, index).detach().numpy()

    def unit(values) -> np.ndarray:
        values = values.detach().numpy()[0]
        return values / math.sqrt(sum(v * v for v in values))

    for i, image in enumerate(index.tolist()):
        expert, total = 1 + image % 3, 0.0
        for view in (0, 1):
            one = x[i, view][None]
            z = torch.from_numpy(unit(method.encoder(one)))[None]
            for teacher in (0, expert):
                told = method.regressors[teacher](z).detach().numpy()[0]
                target = unit(method.teachers[teacher](one))
                total += 0.5 * sum((a - b) ** 2 for a, b in zip(told, target, strict=True))
        assert losses[i] == pytest.approx(total / 2, rel=1e-9)
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    torch.testing.assert_close(method(x[order], index[order]), torch.from_numpy(losses)[order])


def test_the_gradient_is_the_students_and_the_regressors():
    method, x = distillation(2), torch.rand(4, 2, 3, 8, 8, dtype=torch.float64)
    index = torch.tensor([0, 1, 2, 2])
    method(x, index).mean().backward()
    assert all(p.grad is None and not p.requires_grad for p in method.teachers.parameters())
    trained = [p for p in method.parameters() if p.requires_grad]
    norm, found = torch.cat([p.grad.flatten() for p in trained]).norm(), []
    for far in (1e-5, -1e-5):
        with torch.no_grad():
            for p in trained:
                p += far / norm * p.grad
            found.append(method(x, index).mean().item())
            for p in trained:
                p -= far / norm * p.grad
    assert (found[0] - found[1]) / 2e-5 == pytest.approx(norm.item(), rel=1e-5)


def test_a_regressor_is_a_head_without_its_last_batch_norm():
    torch.manual_seed(0)
    student = network()
    student.fc = student.fc.of_width(24)
    method = Distillation(student, [student, student], torch.zeros(3, dtype=torch.long))
    shapes = {k: tuple(v.shape) for k, v in method.regressors[1].named_parameters()}
    assert shapes == {"fc1.weight": (24, 8), "fc1.bias": (24,), "bn1.weight": (24,), "bn1.bias": (24,),
                      "fc2.weight": (8, 24)}  # fmt: skip


@pytest.mark.parametrize("layers", [2, 3])
def test_a_regressor_begins_with_outputs_as_long_as_the_targets(layers):
    torch.manual_seed(0)
    regressor = _regressor(ProjectionHead(64, 128, layers, False, 96)).train()
    out = regressor(F.normalize(torch.randn(500, 128), dim=1))
    assert 0.8 < out.norm(dim=1).mean() < 1.2


def identity(teacher: nn.Module, student: nn.Module) -> Distillation:
    """One cluster, base and expert the same, and regressors that do nothing."""
    method = Distillation(student, [teacher, copy.deepcopy(teacher)], torch.zeros(9, dtype=torch.long))
    method.regressors = nn.ModuleList([nn.Identity(), nn.Identity()])
    return method


def test_with_one_cluster_and_identities_the_teachers_weights_have_no_loss():
    teacher, x = network(1).double(), torch.rand(6, 2, 3, 8, 8, dtype=torch.float64)
    method = identity(teacher, copy.deepcopy(teacher).requires_grad_(True)).eval()
    assert method(x, torch.arange(6)).abs().max() < 1e-20


class Head(nn.Module):
    """A head of six numbers, in place of a network."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = ProjectionHead(6, 8, 2, False, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x)


def test_with_one_cluster_and_identities_other_weights_come_to_the_teachers():
    """The loss falls a hundredfold; in evaluation mode, so that both sides normalise alike."""
    torch.manual_seed(0)
    method, images = identity(Head(), Head()).eval(), batch(6)._replace(views=torch.randn(6, 2, 6))
    training = training_of(method, lr=0.3)
    losses = [step(training, images).losses.mean().item() for _ in range(400)]
    assert losses[0] > 0.1 and losses[-1] < losses[0] / 100


# ---- experts


def experts(k: int = 3) -> Experts:
    learners = [SimCLR(network(i + 1), 0.2) for i in range(k)]
    return Experts(network(), learners, Division(k, 1, 100, 0), 9)


def test_a_step_is_one_experts_and_the_others_rest():
    """Weights, momentum and batch statistics; the first step of each gives all of them a momentum."""
    method = experts().train()
    method.cluster.copy_(torch.arange(9) % 3)
    training = training_of(method)
    state = training.optimizer.state
    for turn in range(6):
        before = [{k: v.clone() for k, v in x.state_dict().items()} for x in method.learners]
        momenta = [[state[p]["momentum_buffer"].clone() for p in x.parameters()] for x in method.learners]
        images = batch(3)._replace(index=torch.arange(9)[torch.arange(9) % 3 == turn % 3])
        expected = method.learners[turn % 3](images.views, images.index).detach()
        method.learners[turn % 3].load_state_dict(before[turn % 3])  # whose batch statistics have moved
        assert torch.equal(step(training, images).losses, expected)
        for k, learner in enumerate(method.learners):
            rests = same(learner.state_dict(), before[k])
            unmoved = all(
                torch.equal(state[p]["momentum_buffer"], m)
                for p, m in zip(learner.parameters(), momenta[k], strict=True)
            )
            assert rests == unmoved == (k != turn % 3)
    assert all(p.grad is None and not p.requires_grad for p in method.encoder.parameters())


def test_images_that_cannot_be_read_are_of_no_cluster():
    method = experts()
    features = torch.rand(9, 64)
    features[[2, 5]] = torch.nan
    method.start_epoch(1, lambda: features)
    assert (method.cluster < 0).nonzero()[:, 0].tolist() == [2, 5] and sum(method.sizes()) == 7
    assert sorted(torch.cat(method.subset()).tolist()) == [0, 1, 3, 4, 6, 7, 8]
    clusters = method.cluster.clone()
    method.start_epoch(2, None)  # clusters stay, and no features are asked for
    assert torch.equal(method.cluster, clusters) and method.news() is None
    few = experts()
    features[2:] = torch.nan
    with pytest.raises(InputError, match="2 images can be read, fewer than the 3 clusters"):
        few.start_epoch(1, lambda: features)


def test_the_networks_that_are_compiled_are_those_that_train():
    learner = SimCLR(network(), 0.2)
    assert trained_encoders(learner) == [learner.encoder]
    method = experts()
    assert trained_encoders(method) == [each.encoder for each in method.learners]
    distillation = Distillation(network(), [network(), network()], torch.zeros(9, dtype=torch.long))
    assert trained_encoders(distillation) == [distillation.encoder]
    assert trained_encoders(BCL(learner, 9)) == [learner.encoder]


def test_images_of_no_cluster_are_of_the_largest_ones_expert():
    method = experts()
    method.cluster.copy_(torch.tensor([-1, -1, 0, 2, 2, 2, 1, 1, 0]))
    views = batch(2).views
    method(views, torch.tensor([0, 1]))
    assert method.running == 2
    method(views, torch.tensor([0, 6]))  # one of the batch tells
    assert method.running == 1
    distillation = Distillation(network(), [network() for _ in range(4)], method.cluster)
    assert distillation.experts_of(torch.arange(9)).tolist() == [2, 2, 0, 2, 2, 2, 1, 1, 0]


# ---- whole trainings


def phase_of(training) -> tuple[str]:
    return (training.method.measures()["phase"],)


def test_the_phases_of_a_run(call, tmp_path, monkeypatch):
    """Clusters by scikit-learn on a plain forward of the network that the base left; who sees which images."""
    options = [*SMALL, *PLAIN, "--epochs", "5", "--method", "dnc", "--dnc_clusters", "3", "--dnc_min", "9"]
    steps = noted_steps(call, monkeypatch, phase_of, "run", *options, "--save_freq", "1", "--batch_size", "16")
    folder = tmp_path / "checkpoints/run"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    phases = ["base", "clusters", *["experts"] * 3, "distillation"]
    assert [(line["epoch"], line["phase"]) for line in lines] == list(zip([1, 2, 2, 3, 4, 5], phases, strict=True))

    base = read_checkpoint(folder / "model_1.pt")["state_dict"]
    encoder = build_encoder("res20_s", 16, 2).eval()
    encoder.load_state_dict({k.removeprefix("module."): v for k, v in base.items()})
    images, ids = load(data_set("digits"), "", train=True), Lists().open_training(S_B, data_set("digits").open("")).ids
    x = torch.from_numpy(np.asarray(images.images[ids])).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        h = encoder.features(x)
        h = torch.relu(encoder.fc.bn1(encoder.fc.fc1(h)))
    unit = F.normalize(h.double(), dim=1).numpy()
    kmeans = KMeans(3, n_init=10, random_state=1).fit(unit)
    centres = kmeans.cluster_centers_ / np.linalg.norm(kmeans.cluster_centers_, axis=1, keepdims=True)
    expected, joined = join_small((unit @ centres.T).argmax(1), centres, 9)
    content = read_checkpoint(folder / "model.pt")
    cluster = content["memory"]["method.cluster"]
    assert as_sets(cluster) == as_sets(expected)
    sizes = [lines[1][f"cluster_{k}"] for k in range(3)]
    assert sizes == torch.bincount(cluster, minlength=3).tolist() and sum(sizes) == 50
    log = (folder / "log.txt").read_text()
    assert f"images of the clusters: {', '.join(map(str, sizes))}" in log
    assert log.count("joins cluster") == len(joined)

    # Base and distillation see all images once an epoch; so do the experts, each batch of one cluster.
    count = {phase: sum(p == phase for p, _ in steps) for phase in phases}
    an_epoch = sum(-(-n // 16) for n in sizes)
    assert count == {"base": 4, "clusters": 0, "experts": 3 * an_epoch, "distillation": 4}
    for phase in ("base", "distillation"):
        assert sorted(sum((ids for p, ids in steps if p == phase), [])) == list(range(50))
    of_experts = [ids for p, ids in steps if p == "experts"]
    for epoch in range(3):
        batches = of_experts[epoch * an_epoch : (epoch + 1) * an_epoch]
        assert sorted(sum(batches, [])) == list(range(50))
        assert all(len({int(cluster[i]) for i in ids}) == 1 for ids in batches)
        assert all(len(ids) <= min(16, sizes[int(cluster[ids[0]])]) for ids in batches)

    # The result is a network like any other, and not the base's; what phases no longer need is gone.
    assert content["state_dict"].keys() == base.keys()
    assert not torch.equal(content["state_dict"]["module.conv1.weight"], base["module.conv1.weight"])
    experts = read_checkpoint(folder / "model_4.pt")
    assert same(experts["state_dict"], base | {k: v for k, v in experts["state_dict"].items() if "running" in k})
    kept = {phase: {k.split(".")[1] for k in read_checkpoint(folder / f"model_{e}.pt")["memory"]}
            for phase, e in (("base", 1), ("experts", 4), ("distillation", 5))}  # fmt: skip
    assert kept == {"base": {"average"}, "experts": {"learners", "cluster"},
                    "distillation": {"teachers", "regressors", "cluster"}}  # fmt: skip


def test_separable_images_are_clustered_by_what_they_show(call, tmp_path, monkeypatch):
    """Images of four colours and their noise: each cluster is a colour."""
    images = tmp_path / "colours"
    counts = {"red": 30, "green": 24, "blue": 18, "white": 12}
    colours = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220), "white": (235, 235, 235)}
    rng = np.random.default_rng(0)
    for name, n in counts.items():
        (images / name).mkdir(parents=True)
        for i in range(n):
            pixels = (np.array(colours[name]) + rng.integers(-10, 10, (12, 12, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(images / name / f"{i:02d}.png")
    monkeypatch.setattr("models.resnet.SmallResNet.features", by_colour)
    words = ["--dataset", "folder", "--data", images, "--model", "res20_s", "--batch_size", "16", "--optimizer", "sgd"]
    words += ["--lr", "0.001", "--output_ch", "8", "--num_workers", "0", *PLAIN, "--epochs", "3", "--method", "dnc"]
    done = call("train_simCLR.py", "run", *words, "--dnc_clusters", "4", "--dnc_min", "2")
    assert done.returncode == 0, done.stderr
    cluster = read_checkpoint(tmp_path / "checkpoints/run/model.pt")["memory"]["method.cluster"]
    of = np.repeat(sorted(counts), [counts[name] for name in sorted(counts)])
    assert (
        as_sets(cluster) == as_sets(of) and f"{tuple(sorted(torch.bincount(cluster).tolist()))}" == "(12, 18, 24, 30)"
    )


def by_colour(self, x: torch.Tensor) -> torch.Tensor:
    """Features that tell colours, and depend on a weight."""
    mean = self.normalize(x).mean((2, 3)) * (1 + 0 * self.conv1.weight.sum())
    return F.pad(mean, (0, self.channels - 3))


# A base, and after how many steps and epochs a run of it is interrupted: one ends each step, epoch and phase.
WITHIN = [("moclr", [5, 3]), ("moclr", [2]), ("moclr", [3]), ("moclr", [4]), ("moclr", [-2]), ("moclr", [-1, 1]),
          ("simclr", [4, 1, 1, 1, 1, 1]), ("sdclr", [5, 2])]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("base", "steps"), slow_but(WITHIN[0], WITHIN))
def test_a_run_is_resumed_to_the_bit_in_each_phase(call, tmp_path, interrupted, base, steps):
    options, folder = [*FIVE, "--dnc_base", base], tmp_path / "checkpoints"
    assert call("train_simCLR.py", "whole", *options).returncode == 0
    sizes = json.loads((folder / "whole/metrics.jsonl").read_text().splitlines()[1])
    an_epoch = sum(-(-sizes[f"cluster_{k}"] // 20) for k in range(3))
    # Signals are asked for after each step and each epoch: 3 steps of the base, the experts', 3 of the distillation.
    end = (3 + 1) + 3 * (an_epoch + 1) + 3
    interrupted(*(n if n > 0 else end + n for n in steps))
    for _ in steps:
        done = call("train_simCLR.py", "parts", *options, "--resume")
        assert done.returncode == 143, done.stderr
    done = call("train_simCLR.py", "parts", *options, "--resume")
    assert done.returncode == 0, done.stderr
    assert equal(folder / "whole", folder / "parts")


@pytest.mark.slow
@pytest.mark.parametrize("more", [["--optimizer", "adam", "--lr", "0.01"], ["--optimizer", "lars"],
                                  ["--precision", "bf16", "--bcl", "--method", "dnc+bcl"]])  # fmt: skip
def test_optimizers_precision_and_a_wrapper_are_resumed_to_the_bit(call, tmp_path, interrupted, more):
    options, folder = [*FIVE, *more], tmp_path / "checkpoints"
    assert call("train_simCLR.py", "whole", *options).returncode == 0
    interrupted(5, 6)
    for _ in range(2):
        assert call("train_simCLR.py", "parts", *options, "--resume").returncode == 143
    assert call("train_simCLR.py", "parts", *options, "--resume").returncode == 0
    assert equal(folder / "whole", folder / "parts")


@pytest.mark.slow
def test_a_probe_takes_the_result_and_small_clusters_join_with_a_line(call, tmp_path):
    options = [*SMALL, "--epochs", "3", "--method", "dnc", "--dnc_clusters", "4", "--dnc_min", "50"]
    done = call("train_simCLR.py", "run", *options)
    assert done.returncode == 0, done.stderr
    joined = [line for line in done.stdout.splitlines() if "joins cluster" in line]
    assert len(joined) == 3 and joined[0].startswith("cluster ")
    assert "images of the clusters: " in done.stdout
    sizes = json.loads((tmp_path / "checkpoints/run/metrics.jsonl").read_text().splitlines()[1])
    assert sorted(sizes[f"cluster_{k}"] for k in range(4)) == [0, 0, 0, 50]
    words = [*PROBE, "--trainSplit", S_B, "--epochs", "1", "--checkpoint", tmp_path / "checkpoints/run/model.pt"]
    done = call("train_cifar.py", "probe", *words, "--cvt_state_dict")
    assert done.returncode == 0, done.stderr


# ---- several processes


def of_processes(rank: int, size: int, folder: str) -> None:
    """One process of `size`: gradients of its share of a global batch, and what an expert's step leaves the others."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/join{size}", rank=rank, world_size=size)
    torch.save(gradients(rank, size), f"{folder}/{size}_{rank}.pt")
    torch.distributed.destroy_process_group()


def gradients(rank: int, size: int) -> dict[str, list[torch.Tensor | None]]:
    """Of experts, of cluster 1 and then 2, and of distillation: .grad of all that is trained; networks as in use."""
    views = torch.rand(9, 2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = {}
    for name, method, each in (("experts", experts(), ([1, 4, 7, 1], [2, 5, 8, 2])),
                               ("distillation", distillation(3), ([0, 4, 8, 3],))):  # fmt: skip
        if name == "experts":
            method.cluster.copy_(torch.arange(9) % 3)
        model = Compute(Precision("fp32", "contiguous_format", False, False), torch.device("cpu")).distributed(
            method.double().eval(), World(rank, size, torch.device("cpu")), method.static_graph
        )
        for index in each:
            model.zero_grad()
            mine = torch.tensor(index[rank::size])
            model(views[mine], mine).mean().backward()
            trained = [p for p in method.parameters() if p.requires_grad]
            found[f"{name} {index}"] = [None if p.grad is None else p.grad.clone() for p in trained]
    return found


@pytest.mark.slow
def test_several_processes_give_the_gradient_of_one(tmp_path):
    spawn(of_processes, (2, str(tmp_path)), 2)
    one = gradients(0, 1)
    assert len(one) == 3
    for rank in (0, 1):
        for name, found in torch.load(tmp_path / f"2_{rank}.pt").items():
            assert [g is None for g in found] == [g is None for g in one[name]]
            both = [(g, h) for g, h in zip(found, one[name], strict=True) if g is not None]
            error = torch.cat([(g - h).flatten() for g, h in both]).norm()
            assert len(both) > 0 and error < 1e-8 * torch.cat([h.flatten() for _, h in both]).norm()


@pytest.mark.slow
def test_two_processes_go_through_all_phases_and_are_resumed(script, tmp_path):
    def launch(name: str, epochs: int, *more: str) -> None:
        start = ["-m", "recipes.launch", "--nproc_per_node=2", f"--master_port={free_port()}"]
        options = [*FIVE, "--epochs", epochs, "--precision", "fp32", *more]
        done = script(*start, PROJECT / "train_simCLR.py", name, *options)
        assert done.returncode == 0, done.stdout + done.stderr

    launch("whole", 5, "--save_freq", "1")
    folder = tmp_path / "checkpoints"
    for epoch in (1, 2, 4):
        (folder / "parts").mkdir(exist_ok=True)
        shutil.copy(folder / f"whole/model_{epoch}.pt", folder / "parts/model.pt")
        lines = (folder / "whole/metrics.jsonl").read_text().splitlines(keepends=True)
        (folder / "parts/metrics.jsonl").write_text("".join(lines))
        launch("parts", 5, "--resume")
        assert same(*(read_checkpoint(folder / name / "model.pt")["state_dict"] for name in ("whole", "parts")))


# ---- names and bad input


def test_names_and_options():
    assert choose("dnc").label == "DnC"
    recipe = settle({"dataset": "digits"}, {"method": "dnc"})
    assert recipe.experiment.endswith("_dncK5") and method_in("_dncK5") == "dnc"
    said = {"dnc_clusters": "10", "dnc_split": "1000:3000:500", "dnc_base": "sdclr", "dnc_prune": "0.5"}
    recipe = settle({"dataset": "cifar10"}, {"method": "dnc", "epochs": "4500", **said})
    assert recipe.experiment.endswith("_dncK10sdclrS1000-3000-500P0.5")
    assert method_in("_head3_dncK10sdclrS1000-3000-500P0.5_bclK1") == "dnc+bcl"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--dnc_clusters", "51"], "there are 50 images, fewer than the 51 clusters"),
        (["--dnc_sample", "2"], "there are 2 images for k-means, fewer than the 3 clusters"),
        (["--epochs", "2"], "not 2 epochs"),
        (["--dnc_split", "1:3"], "three positive numbers"),
        (["--dnc_split", "1:0:1"], "three positive numbers"),
        (["--dnc_split", "1:x:1"], "three positive numbers"),
        (["--dnc_clusters", "0"], "--dnc_clusters"),
        (["--dnc_min", "0"], "--dnc_min"),
        (["--dnc_prune", "1"], "--dnc_prune"),
        (["--dnc_base", "focal"], "--dnc_base"),
        (["--method", "moclr"], "--dnc_clusters needs a --method with DnC"),
        (["--scheduler", "two-stage", "--stage_epochs", "2"], "stage_epochs 2 leaves none of a phase's 1 epochs"),
    ],
)
def test_bad_input_is_one_line(call, words, told):
    one_line_error(call("train_simCLR.py", "run", *FIVE, *words), told)


def test_a_run_is_not_resumed_with_other_phases(call, interrupted):
    interrupted(5)
    assert call("train_simCLR.py", "run", *FIVE).returncode == 143
    done = call("train_simCLR.py", "run", *FIVE, "--dnc_split", "3:1:1", "--resume")
    one_line_error(done, "dnc_split was '1:3:1', is '3:1:1'")
    done = call("train_simCLR.py", "run", *FIVE, "--dnc_split", "3:1:1", "--resume", "--accept_changes")
    one_line_error(done, "cannot resume from", "its optimizer is another one, or for other weights")


def test_without_epochs_the_untrained_network_is_saved(call, tmp_path):
    done = call("train_simCLR.py", "run", *FIVE, "--epochs", "0")
    assert done.returncode == 0, done.stderr
    content = read_checkpoint(tmp_path / "checkpoints/run/model.pt")
    assert content["state_dict"].keys() == {f"module.{k}" for k in build_encoder("res20_s", 16, 2).state_dict()}


@pytest.mark.slow
def test_bad_images_are_left_out_and_a_check_goes_on_among_small_clusters(call, tmp_path, interrupted):
    images = photographs(tmp_path / "images", {"a": 16, "b": 14})
    (images / "a/03.png").write_bytes(b"not an image")
    words = ["--dataset", "folder", "--data", images, "--model", "res20_s", "--batch_size", "20", "--output_ch", "8"]
    words += ["--optimizer", "sgd", "--lr", "0.01", "--num_workers", "0", *PLAIN, "--epochs", "5", "--method", "dnc"]
    words += ["--dnc_clusters", "3", "--dnc_min", "2", "--on_bad_image", "skip", "--cache", "none"]
    interrupted(5)
    assert call("train_simCLR.py", "run", *words).returncode == 143
    done = call("train_simCLR.py", "run", *words, "--resume", "--check")
    assert done.returncode == 0 and "checked run" in done.stdout + done.stderr or "nothing was written" in done.stdout
    done = call("train_simCLR.py", "run", *words, "--resume")
    assert done.returncode == 0, done.stderr
    cluster = read_checkpoint(tmp_path / "checkpoints/run/model.pt")["memory"]["method.cluster"]
    assert (cluster < 0).nonzero()[:, 0].tolist() == [3] and len(cluster) == 30
