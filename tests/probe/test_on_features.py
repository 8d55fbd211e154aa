"""BCL's probes: the classifier against Adam written out, and both scripts against loops over images."""

import json
import math
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as T

import split.flags
import split.lists
import split.make_splits
import split.open
from data.sets.memory import load
from data.sets.registry import data_set
from features.extract import Features, extract
from models import build_encoder
from models.batch_norm import DualBatchNorm
from models.frozen import FrozenBackbone
from probe import on_features
from probe.on_features import fit
from split.lists import read_path_list
from tests.conftest import one_line_error, quick_first
from tests.trees import make_tree, names
from tests.warm import free_port
from utils.distributed import World
from utils.errors import InputError

PLACES = data_set("places")
D_I = "x_digits_split1_D_i_newNT"
COUNTS = [31, 16, 120, 22, 44, 6, 61, 11, 8, 86]  # of the classes in that list
PLAIN = ["--no-cuda", "--precision", "fp32"]  # as the loops over images compute
SMALL = ["--dataset", "places", "--model", "res10", "--image_size", "16", "--test-batch-size", "200", *PLAIN]
SCORES = {"top1": 1.0, "top5": 1.0, "per_class": [1.0] * 10, "images": 1}

pytestmark = pytest.mark.usefixtures("one_thread")
FOUR_EPOCHS = partial(on_features.linear, epochs=4)


def network(name: str, stem: str = "cifar", dual_bn: bool = False) -> nn.Module:
    """An encoder, not trained, whose batch norms have neither the statistics nor the weights that they start with."""
    torch.manual_seed(5)
    model = build_encoder(name, 16, 2, stem, prune=dual_bn, dual_bn=dual_bn).train()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                module.momentum = 0.9
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.2, 0.2)
        for branch in (1, 0) if dual_bn else (0,):
            choose(model, branch)
            model(torch.rand(16, 3, 16, 16) ** (branch + 1))
    return model.eval()


def choose(model: nn.Module, branch: int) -> nn.Module:
    """Compute with this branch's batch norms."""
    for module in model.modules():
        if isinstance(module, DualBatchNorm):
            module.branch = branch
    return model


def save(model: nn.Module, path):
    """A checkpoint as pre-training writes it; returns its path."""
    torch.save({"epoch": 1, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, path)
    return path


@torch.no_grad()
def alone(model: nn.Module, images) -> torch.Tensor:
    """Features of tensors [3, H, W] in [0, 1], one image at a time, in evaluation mode."""
    return torch.cat([model.eval().features(image[None]) for image in images])


def tensors(images: np.ndarray) -> list[torch.Tensor]:
    """Images [N, H, W, 3] uint8 one by one as tensors [3, H, W] in [0, 1]."""
    return [torch.tensor(image.astype(np.float64).transpose(2, 0, 1) / 255, dtype=torch.float32) for image in images]


def centre(tree, paths: list[str], size: int) -> list[torch.Tensor]:
    """Centre crops by Pillow."""
    transform = T.Compose([T.Resize(size * 256 // 224), T.CenterCrop(size), T.ToTensor()])
    return [transform(Image.open(tree / path).convert("RGB")) for path in paths]


def cropped(tree, paths: list[str], size: int, seed: int) -> list[torch.Tensor]:
    """One random crop and flip of each by Pillow; the draws belong to the seed, epoch 0 and the line's number."""
    transform = T.Compose([T.RandomResizedCrop(size), T.RandomHorizontalFlip(), T.ToTensor()])
    views = []
    for i, path in enumerate(paths):
        torch.manual_seed(int(np.random.SeedSequence((seed, 0, i)).generate_state(1, np.uint64)[0]))
        views.append(transform(Image.open(tree / path).convert("RGB")))
    return views


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def near(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal but for the order of sums: a batch is not computed as an image alone."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("split")


def put_in_place_of_split(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (split.lists, split.flags, split.open):
        monkeypatch.setattr(module, "ROOT", root)
    return root


@pytest.fixture
def lists(root, monkeypatch):
    """The folder that takes the place of split/, the same for all tests of this file."""
    return put_in_place_of_split(root, monkeypatch)


@pytest.fixture
def own_lists(tmp_path, monkeypatch):
    """A folder in place of split/ that no other test sees."""
    return put_in_place_of_split(tmp_path / "split", monkeypatch)


@pytest.fixture(scope="module")
def places(root, tmp_path_factory):
    """Places in small, its lists below `root`: a labelled image and a test image of each of 365 classes."""
    tree = make_tree(tmp_path_factory.mktemp("places"), names(365), [8] * 5 + [4] * 20 + [2] * 340, val=1, size=24)
    options = ["--dataset", "places", "--data", str(tree), "--scale", "0.001", "--out", str(root)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["make_splits", *options])
        patch.setattr(split.lists, "ROOT", root)
        split.make_splits.main()
    return tree


def result(folder) -> dict:
    return json.loads((folder / "results.json").read_text())


# ---- the classifier


def slow_fit(values, labels, classes: int, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases after Adam (Kingma and Ba, ICLR 2015, algorithm 1) with L2 decay, in float64."""
    x, y = np.asarray(values, np.float64), np.asarray(labels)
    bound = 1 / math.sqrt(x.shape[1])
    weight = torch.empty(classes, x.shape[1]).uniform_(-bound, bound)
    bias = torch.empty(classes, 1).uniform_(-bound, bound)
    both = torch.cat([weight, bias], 1).double().numpy()
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    first, second, step = np.zeros_like(both), np.zeros_like(both), 0
    for epoch in range(epochs):
        rate = 1e-2 * 1e-4 ** (epoch / epochs)
        order = torch.randperm(len(x)).numpy()
        for start in range(0, len(x), 1000):
            rows = order[start : start + 1000]
            logits = x[rows] @ both.T
            error = np.exp(logits - logits.max(1, keepdims=True))
            error /= error.sum(1, keepdims=True)
            error[np.arange(len(rows)), y[rows]] -= 1
            gradient = error.T @ x[rows] / len(rows) + 5e-6 * both
            step += 1
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            both -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return both[:, :-1], both[:, -1]


def random_features(images: int, channels: int, classes: int, seed: int, signal: float = 1.0) -> Features:
    rng = np.random.RandomState(seed)
    labels = rng.randint(0, classes, images)
    directions = np.random.RandomState(0).normal(size=(classes, channels))
    values = rng.normal(size=(images, channels)) + signal * directions[labels]
    return Features(torch.tensor(values, dtype=torch.float32), torch.tensor(labels), torch.arange(images))


def test_the_classifier_is_that_of_adam_written_out():
    train = random_features(2300, 6, 4, seed=1)
    train.values[:, 2] = 0  # there the decay is all that Adam sees
    torch.manual_seed(3)
    layer = fit(train, 4, 6)
    torch.manual_seed(3)
    weight, bias = slow_fit(train.values, train.labels, 4, 6)
    assert np.abs(layer.weight.detach().numpy() - weight).max() < 3e-6
    assert np.abs(layer.bias.detach().numpy() - bias).max() < 3e-6


def slow_scores(train: list[Features], test: Features, classes: int, epochs: int, seed: int) -> dict:
    torch.manual_seed(seed)
    scores = []
    for features in train:
        weight, bias = slow_fit(features.values, features.labels, classes, epochs)
        logits = test.values.double().numpy() @ weight.T + bias
        own = logits[np.arange(len(logits)), test.labels.numpy()][:, None]
        assert np.sort(np.abs(logits - own), 1)[:, 1].min() > 1e-4  # no image hangs on rounding
        scores.append(slow_count(logits, test.labels.tolist(), classes))
    return mean_scores(scores)


def slow_count(logits, labels: list[int], classes: int) -> dict:
    """Accuracies counted image by image; None for a class without one."""
    right, five, images = [0] * classes, 0, [0] * classes
    for row, label in zip(np.asarray(logits).tolist(), labels, strict=True):
        better = sum(value > row[label] for value in row)
        images[label] += 1
        right[label] += better == 0
        five += better < 5
    per_class = [100 * r / n if n else None for r, n in zip(right, images, strict=True)]
    return {"top1": 100 * sum(right) / len(labels), "top5": 100 * five / len(labels), "per_class": per_class}


def mean_scores(scores: list[dict]) -> dict:
    rows = list(zip(*(s["per_class"] for s in scores), strict=True))
    per_class = [None if None in row else sum(row) / len(row) for row in rows]
    return {**{k: sum(s[k] for s in scores) / len(scores) for k in ("top1", "top5")}, "per_class": per_class}


def check_scores(scores: dict, expected: dict) -> None:
    assert all(scores[k] == pytest.approx(expected[k]) for k in ("top1", "top5"))
    assert len(scores["per_class"]) == len(expected["per_class"])
    for accuracy, wanted in zip(scores["per_class"], expected["per_class"], strict=True):
        assert accuracy == (wanted if wanted is None else pytest.approx(wanted))


def test_accuracies_are_means_over_the_sets_and_the_seed_is_set_once():
    a, b, c = (random_features(n, 8, 7, seed, 0.3) for n, seed in ((30, 1), (50, 2), (40, 3)))
    test = random_features(200, 8, 7, 4, 0.3)
    keep = test.labels != 5  # a class without a test image
    test = Features(*(part[keep] for part in test))
    scores = on_features.evaluate_classifier([a, b, c], test, 7, FOUR_EPOCHS, seed=10)
    check_scores(scores, slow_scores([a, b, c], test, 7, 4, 10))
    assert scores["images"] == int(keep.sum()) and scores["per_class"][5] is None and scores["top5"] < 100
    torch.manual_seed(99)  # whatever was drawn before
    assert on_features.evaluate_classifier([a, b, c], test, 7, FOUR_EPOCHS, seed=10) == scores
    check_scores(
        on_features.evaluate_classifier([a, b, c], test, 7, FOUR_EPOCHS, seed=11),
        slow_scores([a, b, c], test, 7, 4, 11),
    )
    # Only the first set starts from the seed: the others' classifiers go on with the draws.
    apart = mean_scores([on_features.evaluate_classifier([x], test, 7, FOUR_EPOCHS, seed=10) for x in (a, b, c)])
    assert apart["per_class"] != scores["per_class"]
    once, twice = (on_features.evaluate_classifier([a] * n, test, 7, FOUR_EPOCHS, seed=10) for n in (1, 2))
    assert twice["per_class"] != once["per_class"]


def test_sets_without_an_image_are_refused():
    full = random_features(20, 3, 2, 1)
    none = Features(full.values[:0], full.labels[:0], full.ids[:0])
    for train, test in (([full, none], full), ([none], full), ([full], none)):
        with pytest.raises(InputError, match="no image"):
            on_features.evaluate_classifier(train, test, 2, partial(on_features.linear, epochs=1), seed=10)


# ---- train_cifar.py


@pytest.fixture
def checkpoint(tmp_path):
    return save(network("res20_s"), tmp_path / "model_1.pt")


@pytest.fixture
def digits(call, lists, checkpoint, tmp_path):
    """Run train_cifar.py on digits; returns results.json."""

    def run_digits(name: str, *options: object) -> dict:
        base = ["--dataset", "digits", "--model", "res20_s", "--checkpoint", checkpoint, "--cvt_state_dict"]
        done = call("train_cifar.py", name, *base, "--num_workers", 0, *PLAIN, *options)
        assert done.returncode == 0, done.stderr
        return result(tmp_path / "checkpoints_tune" / name)

    return run_digits


PROTOCOLS = [("bcl-full", 0, {}), ("bcl-100shot", 20, {"shots": [20, 100]}), ("bcl-50shot", 10, {"shots": [10, 50]})]


@pytest.mark.parametrize(("protocol", "shots", "departs"), quick_first(PROTOCOLS))
def test_probe_on_digits(digits, root, checkpoint, tmp_path, monkeypatch, protocol, shots, departs):
    before, models, used, original = checkpoint.read_bytes(), [], [], extract
    monkeypatch.setattr(
        "models.frozen.FrozenBackbone", lambda model, *a: models.append(model) or FrozenBackbone(model, *a)
    )

    def noted(body, *rest):
        used.append((body, original(body, *rest)))
        return used[-1][1]

    monkeypatch.setattr("probe.stages.extract", noted)
    scores = digits(D_I, "--protocol", protocol, "--epochs", 60)
    folder = tmp_path / "checkpoints_tune" / D_I

    files = [f"digits_split{i}_test_{shots}shot.npy" for i in range(1, 6)] if shots else ["digits_trainIdxList.npy"]
    trained = {f"train{i}": file for i, file in enumerate(files, 1)}
    assert {k: v["path"] for k, v in scores["lists"].items()} == {"group": "digits_split1_D_i.npy", **trained}
    assert {v["source"] for v in scores["lists"].values()} == {"generated"}
    assert (scores["protocol"], scores["seed"], scores["images"]) == (protocol, 10, 400)
    assert scores["departs"] == {"epochs": [60, 500], **departs}
    assert scores["best"] == {"epoch": None, "val": None} and scores["checkpoint"] == str(checkpoint)

    # Nothing of the network is trained, and nothing of it is written.
    assert checkpoint.read_bytes() == before and not list(folder.glob("*.pt"))
    model = network("res20_s")
    own = {k: v for k, v in model.state_dict().items() if not k.startswith("fc.")}
    assert len(used) == 1 + len(files) and len({body for body, _ in used}) == len(models) == 1
    assert same(own, {k: v for k, v in models[0].state_dict().items() if not k.startswith("fc.")})

    data, test = load(data_set("digits"), "", train=True), load(data_set("digits"), "", train=False)
    sets = [np.load(next(root.glob(f"*/{file}"))) for file in files]
    *seen, unseen = (features for _, features in used)
    with torch.no_grad():
        near(unseen.values, model.features(torch.stack(tensors(test.images))))
    # Of the features as they are: after 60 epochs, their last bits may decide about an image.
    torch.manual_seed(10)
    expected = []
    for features, indices in zip(seen, sets, strict=True):
        assert np.bincount(data.labels[indices]).tolist() == [shots or 120] * 10
        with torch.no_grad():
            near(features.values, model.features(torch.stack(tensors(data.images[indices]))))
        layer = fit(Features(features.values, torch.tensor(data.labels[indices]), torch.arange(len(indices))), 10, 60)
        expected.append(slow_count(layer(unseen.values).tolist(), test.labels.tolist(), 10))
    check_scores(scores, mean_scores(expected))
    assert 15 < scores["top1"] < 99  # better than guessing

    order, per_class = np.argsort(COUNTS), scores["per_class"]
    assert scores["class_counts"] == COUNTS
    for group, classes in (("Few", order[:3]), ("Medium", order[3:6]), ("Many", order[6:])):
        assert scores["groups"][group] == pytest.approx(np.mean([per_class[c] for c in classes]))
    log = (folder / "log.txt").read_text().splitlines()
    assert log.count(f"On the best_model, test tacc is {scores['top1']:.2f}") == 1
    assert log.count("Each class acc is " + "".join(f"{accuracy:.2f} " for accuracy in per_class)) == 1


@pytest.mark.slow
def test_a_probe_run_again_gives_the_same_numbers(digits):
    options = ["--protocol", "bcl-50shot", "--epochs", 9]
    first, again = digits(D_I, *options), digits(D_I, *options, "--resume")
    workers = digits("no_split", *options, "--num_workers", 2)
    other = digits(D_I, *options, "--seed", 3, "--overwrite")
    assert all(first[k] == again[k] == workers[k] for k in ("top1", "top5", "per_class"))
    assert first["groups"] == again["groups"]
    assert (workers["groups"], workers["class_counts"], workers["lists"]["group"]) == (None, None, None)
    assert other["seed"] == 3 and other["departs"] == {"epochs": [9, 500], "seed": [3, 10], "shots": [10, 50]}
    assert other["per_class"] != first["per_class"]


@pytest.mark.slow
def test_the_protocols_own_settings_are_no_departure(digits):
    scores = digits(D_I, "--protocol", "bcl-50shot")
    assert scores["departs"] == {"shots": [10, 50]} and scores["seed"] == 10
    assert digits(D_I, "--protocol", "bcl-50shot", "--epochs", 3, "--overwrite")["top1"] < scores["top1"]


@pytest.mark.slow
def test_the_pruned_branch_and_the_pruned_network_are_departures(digits, tmp_path, monkeypatch):
    model, found = network("res20_s", dual_bn=True), []
    monkeypatch.setattr(
        "probe.stages.evaluate_classifier", lambda train, test, *_: found.append(test.values[:20]) or SCORES
    )
    options = ["--protocol", "bcl-full", "--checkpoint", save(model, tmp_path / "dual.pt"), "--bnNameCnt"]
    assert digits("dense", *options, 0)["departs"] == {}
    assert digits("pruned", *options, 1)["departs"] == {"bnNameCnt": [1, 0]}
    assert digits("masked", *options, 0, "--prune", "--prune_percent", 0.9)["departs"] == {"prune": [True, False]}
    images = tensors(load(data_set("digits"), "", train=False).images[:20])
    for branch in (0, 1):
        near(found[branch], alone(choose(model, branch), images))
    assert not torch.allclose(found[0], found[1], atol=0.1) and not torch.allclose(found[0], found[2], atol=0.1)


# ---- train_imagenet.py


@pytest.fixture
def options(places, tmp_path) -> list[str]:
    """Of train_imagenet.py on Places in small."""
    checkpoint = save(network("res10", "imagenet"), tmp_path / "model_1.pt")
    return [*SMALL, "--data", str(places), "--checkpoint", str(checkpoint), "--cvt_state_dict", "--num_workers", "0"]


@pytest.fixture
def imagenet(call, lists, options, tmp_path):
    """Run train_imagenet.py with these; returns results.json."""

    def run_imagenet(name: str, *more: object) -> dict:
        done = call("train_imagenet.py", name, *options, *more)
        assert done.returncode == 0, done.stderr
        return result(tmp_path / "checkpoints_imagenet_tune" / name)

    return run_imagenet


@pytest.mark.slow
def test_probe_of_files_is_the_same_for_any_number_of_processes(imagenet, options, script, root, tmp_path):
    """365 labelled and 365 test images in batches of 200: the third process has none."""
    name, more = "Places_LT_train_res10_x", ["--protocol", "bcl-100shot", "--epochs", "40"]
    one = imagenet(name, *more)
    folder = tmp_path / "checkpoints_imagenet_tune" / name
    log = (folder / "log.txt").read_text().splitlines()
    assert log.count(f"On the best_model, test top5 tacc is {one['top5']:.4f}") == 1
    assert not list(folder.glob("*.pt"))
    workers = imagenet(name, *more, "--num_workers", 2, "--resume")
    program = tmp_path / "program.py"
    program.write_text(
        "from pathlib import Path\nimport split.open, train_imagenet\nfrom utils.errors import run_main\n"
        f"split.open.ROOT = Path({str(root)!r})\nrun_main(train_imagenet.main)\n"
    )
    launch = ["-m", "torch.distributed.run", "--nproc_per_node=3", f"--master_port={free_port()}", program]
    # The same batches in one thread each, as here: the features are equal to the bit, and so is all that follows.
    done = script(*launch, name, *options, *more, "--save-dir", "three", env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("3 process(es) on cpu") == 1
    three = result(tmp_path / "three" / name)
    for other in (workers, three):
        assert all(other[k] == one[k] for k in ("top1", "top5", "per_class", "images", "groups", "departs"))
    assert one["images"] == 365 and one["bad_images"] == 0
    assert one["top1"] > 5 * 100 / 365  # better than guessing
    assert {k: v["path"] for k, v in three["lists"].items()} == {
        "test": "Places_val.txt", "train1": "Places_split1_test_100shot.txt", "group": "Places_LT_train.txt",
    }  # fmt: skip
    assert (one["protocol"], one["seed"], one["groups"]["Many"]) == ("bcl-100shot", 10, None)
    assert one["departs"] == {"epochs": [40, 500], "image_size": [16, 224], "shots": [1, 100]}


@pytest.mark.slow
def test_labelled_images_are_cropped_at_random_and_test_images_are_not(imagenet, places, root, monkeypatch):
    found = []
    monkeypatch.setattr("probe.stages.evaluate_classifier", lambda *args: found.append(args) or SCORES)
    more = ["--protocol", "bcl-100shot", "--augment", "pillow"]
    assert imagenet("a", *more)["departs"] == {"image_size": [16, 224], "shots": [1, 100]}
    assert imagenet("b", *more, "--seed", 11)["departs"] == {
        "image_size": [16, 224], "seed": [11, 10], "shots": [1, 100]
    }  # fmt: skip
    model = network("res10", "imagenet")
    labelled, unseen = (read_path_list(root / PLACES.path(n), PLACES) for n in (PLACES.hundred_shot, PLACES.test_list))
    for ((train,), test, *settings), seed in zip(found, (10, 11), strict=True):
        classes, classifier, *settings = settings
        assert (classes, classifier.keywords, settings) == (365, {"epochs": 500}, [seed, True])
        assert train.labels.tolist() == labelled.labels.tolist() and test.labels.tolist() == unseen.labels.tolist()
        near(train.values[:30], alone(model, cropped(places, labelled.paths[:30], 16, seed)))
        near(test.values[:30], alone(model, centre(places, unseen.paths[:30], 16)))
    assert not torch.allclose(found[0][0][0].values, found[1][0][0].values, atol=0.1)
    assert torch.equal(found[0][1].values, found[1][1].values)


@pytest.mark.slow
def test_the_full_probe_of_files_is_on_the_whole_training_list(imagenet, root, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        "probe.stages.evaluate_classifier", lambda train, *_: sizes.extend(len(f.ids) for f in train) or SCORES
    )
    scores = imagenet("x", "--protocol", "bcl-full")
    assert scores["lists"].keys() == {"test", "group", "train1"} and scores["lists"]["group"] is None
    assert scores["lists"]["train1"]["path"] == "Places_train.txt" and scores["departs"] == {"image_size": [16, 224]}
    assert sizes == [7 * 5 + 3 * 20 + 340]  # all but one of each class, which is for validation


# ---- bad input


@pytest.mark.parametrize("protocol", ["bcl-full", "bcl-100shot", "bcl-50shot"])
@pytest.mark.parametrize(
    ("script", "given"),
    [
        *(("train_cifar.py", flags) for flags in ("--test_only", "--trainSplit a.npy", "--valiSplit test")),
        *(("train_imagenet.py", flags) for flags in ("--test_only", "--fullset", "--valiSplit a")),
        ("train_imagenet.py", "--customSplit a"),
    ],
)
def test_what_the_other_probes_take_is_refused(call, lists, tmp_path, script, given, protocol):
    name = "digits" if script == "train_cifar.py" else "places"
    done = call(script, "x", "--dataset", name, "--data", tmp_path, "--protocol", protocol, *given.split())
    one_line_error(done, protocol, f"leave out {given.split()[0]}")
    assert not list(tmp_path.glob("checkpoints*"))


@pytest.mark.parametrize(
    ("name", "protocol", "others"),
    [
        ("imagenet", "bcl-50shot", "bcl-full, bcl-100shot"),
        ("places", "bcl-50shot", "bcl-full, bcl-100shot"),
        ("imagenet-100", "bcl-100shot", "bcl-full"),
        ("imagenet-100", "bcl-50shot", "bcl-full"),
    ],
)
def test_a_protocol_without_lists_is_one_line(call, own_lists, tmp_path, name, protocol, others):
    dataset = data_set(name)
    path = own_lists / dataset.path(dataset.test_list)
    path.parent.mkdir(parents=True)
    path.write_text("val/n10000000/1.JPEG 0\n")
    done = call("train_imagenet.py", "x", "--dataset", name, "--data", tmp_path, "--protocol", protocol)
    line = one_line_error(done, f"{name} has no lists", protocol)
    assert line.endswith(f"only for {others}")


def test_other_mistakes_of_the_probe_are_one_line(call, lists, checkpoint, tmp_path):
    base, gone = ["--dataset", "digits", "--model", "res20_s", "--protocol", "bcl-50shot"], tmp_path / "gone.pt"
    for more, word in (
        (["--checkpoint", checkpoint], "--cvt_state_dict"),
        (["--checkpoint", gone, "--cvt_state_dict"], str(gone)),
        (["--epochs", 0], "--epochs"),
        (["--protocol", "bcl-10shot"], "bcl-10shot"),
    ):
        one_line_error(call("train_cifar.py", "x", *base, *more), word)
    assert not list(tmp_path.glob("checkpoints*"))


def test_labelled_images_that_are_all_bad_are_one_line(call, lists, options, places, tmp_path):
    """Left out one by one, they leave nothing to probe."""
    for path in places.glob("train/*/*"):
        bad = tmp_path / "bad" / path.relative_to(places)
        bad.parent.mkdir(parents=True, exist_ok=True)
        bad.write_text("no image")
    (tmp_path / "bad/val").symlink_to(places / "val")
    more = ["--data", tmp_path / "bad", "--protocol", "bcl-100shot"]
    one_line_error(call("train_imagenet.py", "x", *options, *more), "not a whole image", "--on_bad_image skip")
    done = call("train_imagenet.py", "x", *options, *more, "--on_bad_image", "skip")
    one_line_error(done, "no image of a list")
    assert "images left out so far: 365" in done.stdout
    assert not list(tmp_path.glob("checkpoints*/*/results.json"))


@pytest.mark.parametrize("given", ["--lr 3", "--wd 0.1", "--batch-size 7", "--momentum 0.5", "--decreasing_lr 5,6"])
def test_what_the_classifier_has_no_use_for_is_refused(call, own_lists, tmp_path, given):
    """It is Adam's, with settings of the protocol."""
    done = call("train_cifar.py", "x", "--dataset", "digits", "--protocol", "bcl-full", *given.split())
    one_line_error(done, f"{given.split()[0]} has no effect with --protocol bcl-full")
    assert not list(tmp_path.glob("checkpoints*"))


def test_check_of_a_process_without_a_test_batch(call, tmp_path, monkeypatch):
    """The second of two, where one batch has all 400 test images."""
    second = World(1, 2, torch.device("cpu"))
    monkeypatch.setattr("probe.setup.world_from_environment", lambda *_: second)
    monkeypatch.setattr("probe.check.join", lambda _: None)
    words = ["--dataset", "digits", "--model", "res20_s", "--protocol", "bcl-100shot", "--test-batch-size", "400"]
    done = call("train_cifar.py", "x", *words, "--check", "--checkpoint", "later.pt", "--untrained", *PLAIN)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "checkpoints_tune").exists()
