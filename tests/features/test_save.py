"""Features: against loops over images, from several processes, in the file that features.save writes."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import features.extract
import split.lists
import split.open
from data.flags import Views
from data.sets.memory import load
from data.sets.registry import data_set
from features.extract import extract, images_of
from models import build_classifier
from models.frozen import FrozenBackbone
from run.bad_images import BadImages
from run.log import Log
from split.lists import read_path_list
from tests.conftest import one_line_error, quick_first, slow_but
from tests.probe.test_on_features import (
    alone,
    centre,
    choose,
    cropped,
    near,
    network,
    same,
    save,
    tensors,
)
from tests.trees import images_in_memory, make_tree, names
from tests.warm import free_port, spawn
from utils.distributed import World, gather_samples

CPU = torch.device("cpu")
PLACES, DIGITS = data_set("places"), data_set("digits")
S_B = DIGITS.split_list("digits_split1_S_b")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("split")


@pytest.fixture
def lists(root, monkeypatch):
    """The folder that takes the place of split/."""
    monkeypatch.setattr(split.lists, "ROOT", root)
    monkeypatch.setattr(split.open, "ROOT", root)
    return root


@pytest.fixture(scope="module")
def places(root, tmp_path_factory):
    """Images of four scenes, and lists of Places that name those only, in no order."""
    tree = make_tree(tmp_path_factory.mktemp("places"), names(4), [9, 7, 6, 5], val=4, size=24)
    rng = np.random.RandomState(1)
    (root / PLACES.folder).mkdir()
    for name, part, share in (
        (PLACES.test_list, "val", 16),
        (PLACES.train_list, "train", 20),
        (PLACES.few_shot, "train", 11),
    ):
        lines = [f"{path.relative_to(tree)} {label}\n" for label, scene in enumerate(names(4), 40)
                 for path in sorted(tree.glob(f"{part}/{scene}/*"))]  # fmt: skip
        (root / PLACES.path(name)).write_text("".join(rng.permutation(lines)[:share]))
    return tree


# ---- features


def test_features_in_memory_equal_a_loop_over_images():
    data = load(data_set("digits"), "", train=False)
    images, labels = data.images[::9], data.labels[::9]
    model = network("res20_s").train()
    before = copy.deepcopy(model.state_dict())
    batches = list(images_in_memory(type(data)(data.dataset, images, labels), 7))
    found = extract(FrozenBackbone(model), batches[::-1], CPU)
    assert same(before, model.state_dict()) and model.training
    assert found.ids.tolist() == list(range(45)) and found.labels.tolist() == labels.tolist()
    assert not found.values.requires_grad
    near(found.values, alone(model, tensors(images)))
    # In training mode they would be others, so the comparison tells.
    assert not torch.allclose(found.values, model.train().features(torch.stack(tensors(images))), atol=0.1)


class Means(nn.Module):
    """Mean colours in place of a network."""

    channels = 3

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def test_features_are_in_the_order_of_the_ids():
    x = torch.rand(5, 3, 4, 4)
    found = extract(Means(), [(x, torch.arange(5), torch.tensor([9, 3, 7, 1, 4]))], CPU)
    assert found.values.dtype == torch.float32 and found.ids.tolist() == [1, 3, 4, 7, 9]
    assert found.labels.tolist() == [3, 1, 4, 2, 0]
    torch.testing.assert_close(found.values, x.mean((2, 3))[[3, 1, 4, 2, 0]])
    nothing = extract(Means(), [], CPU)
    assert nothing.values.shape == (0, 3) and len(nothing.labels) == len(nothing.ids) == 0


@pytest.mark.parametrize("augmented", [False, True])
def test_features_of_files_equal_a_loop_over_images(places, root, tmp_path, augmented):
    chosen = read_path_list(root / PLACES.path(PLACES.train_list), PLACES)
    data, views = PLACES.open(str(places)), Views("pillow", size=16, seed=4, workers=0)
    loader = (data.labelled if augmented else data.plain)(chosen, views, 7, World(0, 1, CPU))
    model = network("res10", "imagenet").train()
    before = copy.deepcopy(model.state_dict())
    found = extract(FrozenBackbone(model), images_of(loader, BadImages("error", Log(tmp_path))), CPU)
    assert same(before, model.state_dict()) and model.training
    assert found.ids.tolist() == list(range(20)) and found.labels.tolist() == chosen.labels.tolist()
    views = cropped(places, chosen.paths, 16, seed=4) if augmented else centre(places, chosen.paths, 16)
    near(found.values, alone(model, views))


# ---- several processes


CASES = ((4, 0, 7), (0, 0, 5), (3, 3, 3), (0, 0, 0), (1, 6, 2), (2, 5, 0))  # rows of each process, of two the last two


def rows(case: tuple[int, ...]) -> list[tuple[torch.Tensor, ...]]:
    """Ids, which have gaps and no order, rows and labels of each process."""
    generator = torch.Generator().manual_seed(sum(case))
    ids = torch.randperm(3 * sum(case) + 1, generator=generator)[: sum(case)]
    values = torch.rand(sum(case), 2, 3, generator=generator)
    return list(zip(ids.split(case), values.split(case), (ids * 7).split(case), strict=True))


def check_gathered(found: tuple[torch.Tensor, ...], parts: list[tuple[torch.Tensor, ...]]) -> None:
    together = [row for part in parts for row in zip(*(t.tolist() for t in part), strict=True)]
    together.sort(key=lambda row: row[0])
    assert list(zip(*(t.tolist() for t in found), strict=True)) == together
    assert [t.dtype for t in found] == [torch.int64, torch.float32, torch.int64]
    assert found[1].shape == (len(together), 2, 3)


def gather(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/join", rank=rank, world_size=size)
    found = [gather_samples(*rows(case[-size:])[rank]) for case in CASES]
    images, share = colours(), torch.arange(11)[rank :: size - 1]
    # The last process has no image, the others have one batch.
    batches = [(images[share], 2 * share, share)] if rank < size - 1 else []
    torch.save((found, tuple(extract(Means(), batches, CPU))), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def colours() -> torch.Tensor:
    return torch.rand(11, 3, 2, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("processes", [2, 3])
def test_samples_of_all_processes_come_together_in_order(tmp_path, processes):
    spawn(gather, (processes, str(tmp_path)), processes)
    for rank in range(processes):
        found, (values, labels, ids) = torch.load(tmp_path / f"{rank}.pt")
        for case, gathered in zip(CASES, found, strict=True):
            check_gathered(gathered, rows(case[-processes:]))
        assert ids.tolist() == list(range(11)) and labels.tolist() == list(range(0, 22, 2))
        torch.testing.assert_close(values, colours().mean((2, 3)))


def test_samples_of_one_process_are_put_in_order():
    for count in (0, 1, 9):
        parts = rows((count,))
        check_gathered(gather_samples(*parts[0]), parts)


# ---- python -m features.save


@pytest.fixture
def features(call, lists, tmp_path):
    """Run features.save; returns the arrays of its file."""

    def run_features(*options: object) -> dict[str, np.ndarray]:
        out = tmp_path / "out/features.npz"
        done = call("features/save.py", *options, "--out", out, "--num_workers", 0, "--no-cuda")
        assert done.returncode == 0, done.stderr
        assert [path.name for path in out.parent.iterdir()] == [out.name]
        with np.load(out) as file:  # without pickle
            arrays = dict(file)
        values = arrays["features"]
        assert f"{out}: {values.shape[1]} features of each of {len(values)} images" in done.stdout
        assert [arrays[k].dtype for k in ("features", "labels", "ids")] == [np.float32, np.int64, np.int64]
        return arrays

    return run_features


@pytest.mark.parametrize(
    ("name", "file", "images"),
    [
        ("test", None, 400),
        ("train", DIGITS.train_list, 1200),
        ("val", DIGITS.val_list, 140),
        (S_B, S_B, 50),
        (DIGITS.shot_lists(20)[2], DIGITS.shot_lists(20)[2], 200),
    ],
)
def test_features_of_a_list_in_memory(features, root, tmp_path, name, file, images):
    model, data = network("res20_s"), load(data_set("digits"), "", train=file is not None)
    more = [] if name == "test" else ["--list", name]  # that is the default
    checkpoint = save(model, tmp_path / "model.pt")
    found = features("--dataset", "digits", "--model", "res20_s", "--checkpoint", checkpoint, *more)
    assert found.keys() == {"features", "labels", "ids"} and found["features"].shape == (images, 64)
    expected = np.arange(400) if file is None else np.load(root / file)
    assert found["ids"].tolist() == expected.tolist()
    assert found["labels"].tolist() == data.labels[expected].tolist()
    some = np.random.RandomState(0).permutation(images)[:40]
    near(torch.from_numpy(found["features"][some]), alone(model, tensors(data.images[expected[some]])))


@pytest.mark.parametrize("name", ["test", "train", PLACES.few_shot, "own.txt"])
def test_features_of_a_list_of_files(features, places, root, tmp_path, name):
    (tmp_path / "own.txt").write_text(f"val/{names(4)[2]}/{next(places.glob(f'val/{names(4)[2]}/*')).name} 364\n")
    model = network("res10", "imagenet")
    options = ["--dataset", "places", "--data", places, "--model", "res10", "--image_size", 16, "--augment", "pillow"]
    options += ["--checkpoint", save(model, tmp_path / "model.pt"), "--test-batch-size", 7]
    found = features(*options, "--list", name)
    there = {"test": PLACES.test_list, "train": PLACES.train_list}.get(name, name)
    path = tmp_path / name if name == "own.txt" else root / PLACES.path(there)
    lines = [line.split() for line in path.read_text().splitlines()]
    assert len(lines) == {"test": 16, "train": 20, "own.txt": 1}.get(name, 11)
    assert found["ids"].tolist() == list(range(len(lines)))
    assert found["paths"].tolist() == [line[0] for line in lines]
    assert found["labels"].tolist() == [int(line[1]) for line in lines]
    near(torch.from_numpy(found["features"]), alone(model, centre(places, [line[0] for line in lines], 16)))
    assert found.keys() == {"features", "labels", "ids", "paths"}


@pytest.mark.slow
def test_views_of_files_are_those_of_the_probes_by_default(features, places, tmp_path):
    """224 pixels, by OpenCV and torch, which differ from Pillow by a rounding here and there."""
    model = network("res10", "imagenet")
    checkpoint = save(model, tmp_path / "model.pt")
    found = features("--dataset", "places", "--data", places, "--model", "res10", "--checkpoint", checkpoint)
    expected = alone(model, centre(places, found["paths"].tolist(), 224)).numpy()
    assert np.abs(found["features"] - expected).mean() < 0.01 * expected.std()


def test_images_that_cannot_be_read_are_left_out(features, call, places, tmp_path, root):
    model, bad = network("res10", "imagenet"), tmp_path / "bad"
    checkpoint = save(model, tmp_path / "model.pt")
    lines = [line.split() for line in (root / PLACES.path(PLACES.test_list)).read_text().splitlines()]
    for i, (path, _) in enumerate(lines):
        (bad / path).parent.mkdir(parents=True, exist_ok=True)
        (bad / path).write_bytes(b"no image" if i in (2, 9) else (places / path).read_bytes())
    options = ["--dataset", "places", "--data", bad, "--model", "res10", "--image_size", 16, "--augment", "pillow"]
    options += ["--checkpoint", checkpoint, "--num_workers", 0, "--no-cuda"]
    done = call("features/save.py", *options, "--out", tmp_path / "none/f.npz")
    one_line_error(done, "line 3 of", lines[2][0], "--on_bad_image skip")
    assert not (tmp_path / "none").exists()
    done = call("features/save.py", *options, "--out", tmp_path / "some/f.npz", "--on_bad_image", "skip")
    assert done.returncode == 0 and "images left out so far: 2" in done.stdout
    found, kept = np.load(tmp_path / "some/f.npz"), [i for i in range(16) if i not in (2, 9)]
    assert found["ids"].tolist() == kept
    assert found["paths"].tolist() == [lines[i][0] for i in kept]
    assert found["labels"].tolist() == [int(lines[i][1]) for i in kept]
    near(torch.from_numpy(found["features"]), alone(model, centre(bad, [lines[i][0] for i in kept], 16)))


@pytest.mark.parametrize("dataset", slow_but("digits", ["places", "digits"]))
def test_features_by_two_processes_are_those_by_one(features, script, places, root, tmp_path, dataset):
    """Batches of files, of 6, 6 and 4 images, are dealt out; one process computes those in memory; one writes."""
    if dataset == "places":
        model, chosen = network("res10", "imagenet"), root / PLACES.path(PLACES.test_list)
        options = ["--data", places, "--model", "res10", "--image_size", 16, "--test-batch-size", 6]
    else:
        model, chosen, options = network("res20_s"), tmp_path / "list.npy", ["--model", "res20_s"]
        np.save(chosen, np.array([900, 3, 77, 12]))
    options += ["--dataset", dataset, "--checkpoint", save(model, tmp_path / "model.pt"), "--list", chosen]
    one = features(*options)
    assert len(one["ids"]) == {"places": 16, "digits": 4}[dataset]
    launch = [
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        f"--master_port={free_port()}",
        "-m",
        "features.save",
    ]
    done = script(*launch, *options, "--num_workers", 0, "--no-cuda", "--out", "two.npz")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"features of each of {len(one['ids'])} images") == 1
    two = dict(np.load(tmp_path / "two.npz"))
    assert two.keys() == one.keys()
    assert all(two[k].tolist() == one[k].tolist() for k in one if k != "features")
    near(torch.from_numpy(two["features"]), torch.from_numpy(one["features"]))


# ---- formats of checkpoints


def theirs(key: str) -> str:
    """What SDCLR's authors call it."""
    return key.replace("downsample.0.", "downsample.conv.").replace("downsample.1.", "downsample.bn.")


def bcl_simclr(key: str) -> str:
    """What BCL's authors call it in SimCLR and BCL-I."""
    return f"projector.{key.removeprefix('fc.')}" if key.startswith("fc.") else f"backbone.{key}"


FORMATS = {
    "ours": lambda key: f"module.{key}",
    "SDCLR": lambda key: f"module.{theirs(key)}",
    "BCL's SimCLR": bcl_simclr,
    "BCL's SDCLR": lambda key: f"backbone.{theirs(key)}",
    "bare": lambda key: key,
}


def rewrite(model: nn.Module, form: str, path):
    """The model's checkpoint in another format; returns its path."""
    state = {FORMATS[form](key): value for key, value in model.state_dict().items()}
    torch.save(state if form == "bare" else {"epoch": 1, "state_dict": state, "optim": {"state": {}}}, path)
    return path


KEYS = {  # one that tells each format from the others
    "ours": "module.layer2.0.downsample.1.running_var",
    "SDCLR": "module.layer2.0.downsample.bn.running_var",
    "BCL's SimCLR": "projector.bn2.bias",
    "BCL's SDCLR": "backbone.fc.fc1.weight",
    "bare": "fc.fc1.weight",
}


@pytest.mark.parametrize("form", slow_but("BCL's SDCLR", FORMATS))
def test_one_network_in_any_format_gives_its_features(features, root, tmp_path, form):
    model, data = network("res10"), load(data_set("digits"), "", train=True)
    checkpoint = rewrite(model, form, tmp_path / "file.pt")
    content = torch.load(checkpoint, weights_only=True)
    assert KEYS[form] in content.get("state_dict", content)
    found = features("--dataset", "digits", "--model", "res10", "--checkpoint", checkpoint, "--list", S_B)
    images = tensors(data.images[np.load(root / S_B)[::5]])
    near(torch.from_numpy(found["features"][::5]), alone(model, images))


@pytest.mark.parametrize(
    ("form", "branch"),
    quick_first([("ours", None), ("ours", 0), ("ours", 1), ("SDCLR", 0), ("SDCLR", 1), ("BCL's SDCLR", 1)]),
)
def test_dual_batch_norm_gives_the_branch_that_is_asked_for(features, root, tmp_path, form, branch):
    model, data = network("res10", dual_bn=True), load(data_set("digits"), "", train=True)
    checkpoint = rewrite(model, form, tmp_path / "file.pt")
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert any(".bn_list.1." in key for key in state)
    assert any("downsample.bn.bn_list.0." in key for key in state) == (form != "ours")
    more = [] if branch is None else ["--bnNameCnt", branch]
    found = features("--dataset", "digits", "--model", "res10", "--checkpoint", checkpoint, "--list", S_B, *more)
    images = tensors(data.images[np.load(root / S_B)[::5]])
    values = torch.from_numpy(found["features"][::5])
    near(values, alone(choose(model, branch or 0), images))
    assert not torch.allclose(values, alone(choose(model, 0 if branch else 1), images), atol=0.1)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_best_model_of_a_probe_gives_its_backbones_features(features, root, tmp_path, prefix):
    """train_cifar.py's has no prefix, train_imagenet.py's has; the classifier is left out."""
    model, data = network("res20_s"), load(data_set("digits"), "", train=True)
    probed = build_classifier("res20_s", 10)
    probed.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("fc.")}, strict=False)
    state = {f"{prefix}{k}": v for k, v in probed.state_dict().items()}
    assert f"{prefix}fc.weight" in state
    checkpoint = tmp_path / "best_model.pt"
    torch.save({"epoch": 3, "state_dict": state, "optim": {}, "best_prec1": 50.0}, checkpoint)
    found = features("--dataset", "digits", "--model", "res20_s", "--checkpoint", checkpoint, "--list", S_B)
    near(torch.from_numpy(found["features"]), alone(model, tensors(data.images[np.load(root / S_B)])))


def test_images_in_memory_and_files_have_their_usual_networks(features, places, tmp_path, monkeypatch):
    """Without --model: res18 and res50. The stem is the checkpoint's."""
    asked, stems = [], {"a.pt": "cifar", "b.pt": "imagenet"}
    monkeypatch.setattr(
        "features.encoder.read_content", lambda path: {"state_dict": network("res10", stems[path]).state_dict()}
    )
    monkeypatch.setattr("features.setup.backbone_of", lambda _, *args: asked.append(args) or network("res20_s"))
    features("--dataset", "digits", "--checkpoint", "a.pt", "--list", S_B)
    features("--dataset", "places", "--data", places, "--checkpoint", "b.pt", "--bnNameCnt", 1, "--image_size", 16)
    assert asked == [("res18", "cifar", "a.pt", None), ("res50", "imagenet", "b.pt", 1)]


# ---- bad input


def test_mistakes_are_one_line_and_leave_no_file(call, lists, places, tmp_path):
    model = network("res20_s")
    good, state = save(model, tmp_path / "good.pt"), model.state_dict()
    bad = {name: tmp_path / f"{name}.pt" for name in ("cut", "text", "masks", "list", "twice", "nan", "gone")}
    bad["cut"].write_bytes(good.read_bytes()[:5000])
    bad["text"].write_text("no checkpoint")
    torch.save({"epoch": 1, "pruneMask": {"conv1": torch.ones(2, dtype=torch.bool)}}, bad["masks"])
    torch.save([torch.ones(2)], bad["list"])
    twice = {**state, "backbone.conv1.weight": state["conv1.weight"]}
    torch.save({"state_dict": twice}, bad["twice"])
    torch.save({"state_dict": {**state, "conv1.weight": state["conv1.weight"] / 0}}, bad["nan"])
    before = set(tmp_path.iterdir())
    digits = ["--dataset", "digits", "--model", "res20_s", "--list", S_B]
    files = ["--dataset", "places", "--data", places, "--model", "res10", "--image_size", 16]
    for options, *words in (
        ([*digits, "--checkpoint", good, "--out", tmp_path / "out/f.npy"], "f.npy", ".npz"),
        ([*digits, "--checkpoint", good, "--out", tmp_path / "out"], ".npz"),
        ([*digits, "--checkpoint", good, "--model", "res32_s"], "good.pt", "another model", "layer1.3"),
        ([*digits, "--checkpoint", good, "--model", "res18"], "good.pt", "another model"),
        ([*digits, "--checkpoint", good, "--model", "res19"], "--model", "res18"),
        ([*digits, "--checkpoint", bad["cut"]], "cut.pt", "truncated or damaged"),
        ([*digits, "--checkpoint", bad["text"]], "text.pt", "truncated or damaged"),
        ([*digits, "--checkpoint", bad["masks"]], "masks.pt", "state_dict"),
        ([*digits, "--checkpoint", bad["list"]], "list.pt", "state_dict"),
        ([*digits, "--checkpoint", bad["twice"]], "two tensors for conv1.weight"),
        ([*digits, "--checkpoint", bad["nan"]], "nan.pt", "conv1.weight"),
        ([*digits, "--checkpoint", bad["gone"]], "gone.pt", "does not exist"),
        ([*digits, "--checkpoint", good, "--list", "digits/none.npy"], "digits/none.npy"),
        ([*digits, "--checkpoint", good, "--image_size", 4], "--image_size"),
        ([*digits, "--checkpoint", good, "--augment", "opencv"], "--augment opencv", "digits"),
        ([*digits, "--checkpoint", good, "--bnNameCnt", 2], "--bnNameCnt"),
        ([*digits, "--checkpoint", good, "--bnNameCnt", 1], "single batch norm", "bnNameCnt 1"),
        ([*digits, "--checkpoint", good, "--dataset", "mnist"], "--dataset"),
        (digits, "--checkpoint"),
        ([*files, "--checkpoint", good], "good.pt", "another model"),
        ([*files, "--checkpoint", good, "--model", "res20_s", "--list", "none"], "none", PLACES.train_list),
        ([*files, "--checkpoint", good, "--model", "res20_s", "--data", tmp_path / "gone"], "gone", "not a folder"),
    ):
        out = [] if "--out" in options else ["--out", tmp_path / "out/f.npz"]
        one_line_error(call("features/save.py", *options, *out, "--num_workers", 0, "--no-cuda"), *words)
        assert set(tmp_path.iterdir()) == before
    one_line_error(call("features/save.py", *digits, "--checkpoint", good), "--out")


@pytest.mark.parametrize("content", [torch.arange(3.0), torch.tensor([])])
def test_a_file_that_holds_one_tensor_is_no_checkpoint(call, tmp_path, content):
    torch.save(content, tmp_path / "tensor.pt")
    options = ["--dataset", "digits", "--model", "res20_s", "--checkpoint", tmp_path / "tensor.pt"]
    one_line_error(call("features/save.py", *options, "--out", tmp_path / "f.npz"), "tensor.pt")
