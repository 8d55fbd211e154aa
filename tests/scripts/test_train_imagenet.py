"""train_simCLR.py and train_imagenet.py on a small tree of JPEG files: flags, files, results, bad images."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T

import probe.network
from data.sets.registry import data_set
from models import build_classifier
from models.published import from_published
from probe.flags import parse_imagenet
from run.folder import Run
from tests.conftest import interrupted_after, one_line_error, slow_but
from tests.oracles import hits_within
from tests.trees import take_lists_from

DATASET = data_set("imagenet-100")
TAILED = "imageNet_100_LT_train"
SMALL = ["--dataset", "imagenet-100", "--model", "res10", "--image_size", "32", "--num_workers", "0"]
PRETRAIN = [*SMALL, "--imagenetCustomSplit", TAILED, "--optimizer", "sgd", "--lr", "0.1", "--temperature", "0.2",
            "--output_ch", "16", "--batch_size", "48", "--epochs", "1"]  # fmt: skip
SDCLR = ["--prune", "--prune_percent", "0.3", "--prune_dual_bn"]
PROBE = [
    *SMALL,
    "--batch-size",
    "64",
    "--lr",
    "1",
    "--wd",
    "0",
    "--decreasing_lr",
    "2",
    "--customSplit",
    DATASET.few_shot,
]


@pytest.fixture
def run(call, images, monkeypatch):
    """Run a script on the tree, with its lists in the place of split/."""
    take_lists_from(images[1], monkeypatch.setattr)

    def run_script(name: str, *args: object, data=None):
        return call(name, *args, "--data", data or images[0])

    return run_script


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    return tmp_path_factory.mktemp("pretrained") / "experiment"


@pytest.fixture
def pretrained(run, tmp_path, trained_once):
    """An SDCLR checkpoint of one epoch, as a path; trained by the first test that needs it."""
    folder = tmp_path / "checkpoints" / f"{TAILED}_res10_x"
    if trained_once.exists():
        shutil.copytree(trained_once, folder)
    else:
        done = run("train_simCLR.py", folder.name, *PRETRAIN, *SDCLR)
        assert done.returncode == 0, done.stderr
        shutil.copytree(folder, trained_once)
    return folder / "model_1.pt"


def result(folder) -> dict:
    return json.loads((folder / "results.json").read_text())


def weights(path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_pretraining_files_and_network(pretrained, images):
    files = {path.name for path in pretrained.parent.iterdir()}
    assert files >= {"model.pt", "model_1.pt", "mask_1.pt", "log.txt", "metrics.jsonl"}
    state = weights(pretrained)
    assert state["module.conv1.weight"].shape == (64, 3, 7, 7)  # ImageNet's stem
    assert "module.fc.fc3.weight" in state and "module.bn1.bn_list.1.weight" in state
    counts = np.zeros(100, int)
    for line in (images[1] / DATASET.path(TAILED)).read_text().splitlines():
        counts[int(line.split()[1])] += 1
    log = (pretrained.parent / "log.txt").read_text()
    assert f"class distribution in training set is {counts.tolist()}" in log


@pytest.mark.slow
def test_model_is_saved_after_every_epoch(run, tmp_path):
    done = run("train_simCLR.py", "x", *PRETRAIN, "--epochs", 3, "--save_freq", 2, data=None)
    assert done.returncode == 0, done.stderr
    assert torch.load(tmp_path / "checkpoints/x/model.pt", weights_only=True)["epoch"] == 3
    assert (tmp_path / "checkpoints/x/model_2.pt").exists()


def test_linear_probe_files_lines_and_result(run, tmp_path, pretrained):
    name = f"{TAILED}_res10_x__lr1"
    options = [*PROBE[:-2], "--fullset", "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "0"]
    done = run("train_imagenet.py", name, *options, "--epochs", 3, "--test_freq", 2, "--augment", "pillow")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "checkpoints_imagenet_tune" / name
    before, after = weights(pretrained), weights(folder / "best_model.pt")
    assert all(key.startswith("module.") for key in after)
    assert torch.equal(after["module.conv1.weight"], before["module.conv1.weight"])
    assert torch.equal(after["module.bn1.running_var"], before["module.bn1.bn_list.0.running_var"])
    scores = result(folder)
    assert (scores["protocol"], scores["dataset"], scores["images"]) == ("sdclr-linear", "imagenet-100", 200)
    assert scores["departs"]["image_size"] == [32, 224] and scores["departs"]["epochs"] == [3, 30]
    assert set(scores["lists"]) == {"train", "val", "test", "group"}
    assert scores["lists"]["group"]["path"] == f"{TAILED}.txt"
    lines = (folder / "log.txt").read_text().splitlines()
    end = lines.index(f"On the best_model, test top5 tacc is {scores['top5']:.4f}")
    printed = [float(word) for word in lines[end - 2].removeprefix("acc per class is ").split()]
    assert printed == pytest.approx([a / 100 for a in scores["per_class"]], abs=1e-4)
    validated = [line.split()[1] for line in lines if "validation tacc" in line]
    assert validated == ["2", "3"]  # every second epoch, and the last
    assert np.mean(scores["per_class"]) == pytest.approx(scores["top1"])  # two images of each class


@pytest.mark.slow
def test_accuracy_equals_a_loop_over_images_through_pillow(run, tmp_path, pretrained, images):
    name = "plain"
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "1", "--augment", "pillow"]
    options += ["--precision", "fp32"]
    assert run("train_imagenet.py", name, *options, "--epochs", 2, "--test-batch-size", 7).returncode == 0
    folder = tmp_path / "checkpoints_imagenet_tune" / name
    model = build_classifier("res10", 100, "imagenet").eval()
    model.load_state_dict(from_published(weights(folder / "best_model.pt")))
    transform = T.Compose([T.Resize(36), T.CenterCrop(32), T.ToTensor()])
    logits, labels = [], []
    for line in (images[1] / DATASET.path(DATASET.test_list)).read_text().splitlines():
        path, label = line.split()
        with torch.no_grad():
            logits.append(model(transform(Image.open(images[0] / path).convert("RGB"))[None])[0].numpy())
        labels.append(int(label))
    scores = result(folder)
    # Two images of each class.
    least, most = (100 * np.bincount(labels, hits, 100) / 2 for hits in hits_within(logits, labels))
    assert (least <= scores["per_class"]).all() and (scores["per_class"] <= most).all()
    least, most = (100 * hits.mean() for hits in hits_within(logits, labels, 5))
    assert least - 1e-6 <= scores["top5"] <= most + 1e-6


@pytest.mark.slow
def test_the_rate_falls_after_the_epoch_and_the_best_top5_is_kept(run, tmp_path, pretrained, monkeypatch):
    scores = iter([{"top1": t1, "top5": t5, "per_class": [0.0] * 100, "images": 1}
                   for t1, t5 in ((50, 10), (10, 30), (90, 20), (1, 30), (7, 7))])  # fmt: skip
    monkeypatch.setattr(probe.network.Network, "evaluate", lambda *_: next(scores))
    monkeypatch.setattr("probe.stages.evaluate", lambda *_: next(scores))
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "0", "--decreasing_lr", "1,3"]
    done = run("train_imagenet.py", "x", *options, "--epochs", 4, "--lr", 10)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "checkpoints_imagenet_tune/x"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    # Published: the schedule moves at the end of an epoch, so milestone 1 holds from epoch 2 on.
    assert [row["lr"] for row in rows if "lr" in row] == pytest.approx([10, 1, 1, 0.1])
    best = torch.load(folder / "best_model.pt", weights_only=True)
    assert (best["epoch"], best["best_prec1"]) == (2, 30)
    assert result(folder)["top5"] == 7


@pytest.mark.slow
def test_interrupted_and_resumed_probe_equals_the_undisturbed_one(run, tmp_path, pretrained, monkeypatch):
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "0", "--epochs", 4]
    assert run("train_imagenet.py", "whole", *options).returncode == 0
    with interrupted_after(Run, 2):
        assert run("train_imagenet.py", "parts", *options).returncode == 1
    done = run("train_imagenet.py", "parts", *options, "--resume")
    assert done.returncode == 0 and "after epoch 2" in done.stdout
    folder = tmp_path / "checkpoints_imagenet_tune"
    for file in ("model.pt", "best_model.pt"):
        whole, parts = weights(folder / "whole" / file), weights(folder / "parts" / file)
        assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert result(folder / "whole")["per_class"] == result(folder / "parts")["per_class"]


@pytest.mark.parametrize("workers", slow_but(0, [0, 2]))
@pytest.mark.slow
def test_interrupted_within_an_epoch_of_image_files(run, tmp_path, pretrained, interrupted, workers):
    """Loaded by workers or not, boosted; the probe's batches are steps of their own."""
    options = [*PRETRAIN, "--epochs", 2, "--bcl", "--num_workers", workers, "--print_freq", 1]
    probe = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "0", "--epochs", 3]
    scripts = {"checkpoints": ("train_simCLR.py", options), "checkpoints_imagenet_tune": ("train_imagenet.py", probe)}
    for folder, (script, words) in scripts.items():
        assert run(script, "whole", *words).returncode == 0
        interrupted(2, 4)
        for _ in range(2):
            assert run(script, "parts", *words, "--resume").returncode == 143
        done = run(script, "parts", *words, "--resume")
        assert done.returncode == 0 and "resuming from" in done.stdout
        whole, parts = weights(tmp_path / folder / "whole/model.pt"), weights(tmp_path / folder / "parts/model.pt")
        assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.slow
def test_unfreezing_trains_the_backbone_but_not_its_statistics(run, tmp_path, pretrained):
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "0", "--epochs", 1]
    assert run("train_imagenet.py", "x", *options, "--unfreeze", "--lr", 0.01).returncode == 0
    before, after = weights(pretrained), weights(tmp_path / "checkpoints_imagenet_tune/x/model.pt")
    assert not torch.equal(after["module.conv1.weight"], before["module.conv1.weight"])
    assert torch.equal(after["module.bn1.running_mean"], before["module.bn1.bn_list.0.running_mean"])


@pytest.mark.slow
def test_protocol_by_list(run, tmp_path, pretrained):
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "1", "--epochs", 1]
    assert run("train_imagenet.py", "x", *options).returncode == 0
    scores = result(tmp_path / "checkpoints_imagenet_tune/x")
    assert scores["protocol"] == "sdclr-fewshot" and scores["departs"]["bnNameCnt"] == [1, 0]
    # The name tells no list, but the pre-training's is known.
    assert scores["lists"]["group"]["path"] == f"{TAILED}.txt" and scores["groups"]["Few"] >= 0
    assert (scores["pretraining"]["list"]["name"], scores["pretraining"]["split"]) == (TAILED, 1)
    assert run("train_imagenet.py", "random", *PROBE, "--epochs", 1).returncode == 0
    scores = result(tmp_path / "checkpoints_imagenet_tune/random")
    assert (scores["groups"], scores["class_counts"], scores["pretraining"]) == (None, None, None)
    other = run("train_imagenet.py", "y", *options[:-2], "--epochs", 1, "--customSplit", TAILED, "--groupSplit", TAILED)
    assert other.returncode == 0, other.stderr
    scores = result(tmp_path / "checkpoints_imagenet_tune/y")
    assert scores["protocol"] == "custom" and scores["groups"]["Many"] is None and scores["groups"]["Few"] >= 0
    assert scores["groups"]["Std"] is None


def test_published_defaults(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_imagenet.py", "x"])
    args = vars(parse_imagenet(""))
    published = {
        "model": "res50", "data": "", "dataset": "imagenet", "batch_size": 512, "test_batch_size": 512, "epochs": 10,
        "wd": 5e-4, "lr": 0.2, "momentum": 0.9, "checkpoint": "", "resume": False, "start_epoch": 0,
        "log_interval": 50, "decreasing_lr": [3, 6, 9], "cvt_state_dict": False, "fullset": False, "customSplit": "",
        "seed": 1, "num_workers": 10, "bnNameCnt": -1, "test_only": False, "unfreeze": False, "world_size": 1,
        "port": 4850, "test_freq": 1,
    }  # fmt: skip
    assert {key: args[key] for key in published} == published


# ---- bad images and bad input


@pytest.fixture
def damaged(images, tmp_path):
    """A copy of the tree with a missing training image, a truncated one, and a test image that is text."""
    root, lists = tmp_path / "damaged", images[1]
    shutil.copytree(images[0], root)
    train = [line.split()[0] for line in (lists / DATASET.path(TAILED)).read_text().splitlines()]
    test = [line.split()[0] for line in (lists / DATASET.path(DATASET.test_list)).read_text().splitlines()]
    (root / train[3]).unlink()
    (root / train[8]).write_bytes((root / train[8]).read_bytes()[:400])
    (root / test[5]).write_text("not an image")
    return root, train, test


def test_a_bad_image_ends_the_run_with_its_file_and_line(run, damaged):
    root, train, _ = damaged
    line = one_line_error(run("train_simCLR.py", "x", *PRETRAIN, data=root), "line ", "--on_bad_image skip")
    # Which of the two comes first depends on the shuffled order.
    wanted = [(str(root / train[i]), f"line {i + 1} of ", why) for i, why in ((3, "not exist"), (8, "not a whole"))]
    assert any(all(word in line for word in words) for words in wanted)


@pytest.mark.slow
def test_bad_images_are_left_out_counted_and_reported(run, damaged, tmp_path, pretrained):
    root, train, test = damaged
    done = run("train_simCLR.py", "y", *PRETRAIN, "--on_bad_image", "skip", data=root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("left out: ") == 2 and "images left out so far: 2" in done.stdout
    assert all(str(root / train[i]) in done.stdout for i in (3, 8))
    quiet = run("train_simCLR.py", "z", *PRETRAIN, "--on_bad_image", "skip", "--quiet", data=root)
    left_out = [line for line in done.stdout.splitlines() if "left out" in line]
    assert (quiet.returncode, quiet.stderr, quiet.stdout.splitlines()[:-1]) == (0, "", left_out)
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "0", "--epochs", 1]
    one_line_error(run("train_imagenet.py", "y", *options, data=root), test[5], "line 6 of ")
    done = run("train_imagenet.py", "y", *options, "--on_bad_image", "skip", "--resume", data=root)
    assert done.returncode == 0, done.stderr
    scores = result(tmp_path / "checkpoints_imagenet_tune/y")
    assert (scores["images"], scores["bad_images"]) == (199, 1) and test[5] in done.stdout


def test_a_bad_image_to_train_on_is_told_before_the_run_begins(run, images, tmp_path):
    """No folder and no log is left, and nothing was evaluated."""
    root = tmp_path / "bad"
    shutil.copytree(images[0], root)
    first = (images[1] / DATASET.path(DATASET.few_shot)).read_text().split()[0]
    (root / first).write_text("no image")
    one_line_error(run("train_imagenet.py", "y", *PROBE, data=root), first, "line 1 of ")
    assert not (tmp_path / "checkpoints_imagenet_tune").exists()


@pytest.mark.slow
def test_nothing_but_bad_images_is_one_line(run, images, tmp_path, pretrained):
    root = tmp_path / "bad"
    shutil.copytree(images[0], root)
    for path in root.glob("train/*/*"):
        path.write_text("no image")
    one_line_error(run("train_simCLR.py", "y", *PRETRAIN, "--on_bad_image", "skip", data=root), "tried in its place")
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "0", "--on_bad_image", "skip"]
    one_line_error(run("train_imagenet.py", "y", *options, data=root), "tried in its place")


def test_the_folder_of_another_data_set_is_noticed_at_once(run, images, tmp_path):
    (tmp_path / "empty").mkdir()
    line = one_line_error(run("train_simCLR.py", "x", *PRETRAIN, data=tmp_path / "empty"), "it is another folder")
    assert str(tmp_path / "empty") in line


@pytest.mark.slow
def test_an_evaluation_alone_reports_the_lists_of_the_training(run, tmp_path, pretrained):
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "0", "--epochs", 1]
    assert run("train_imagenet.py", "x", *options).returncode == 0
    before = result(tmp_path / "checkpoints_imagenet_tune/x")
    assert run("train_imagenet.py", "x", *SMALL, "--test_only").returncode == 0
    after = result(tmp_path / "checkpoints_imagenet_tune/x")
    assert after["lists"] == before["lists"] and after["lists"]["train"]["path"] == f"{DATASET.few_shot}.txt"
    assert (after["protocol"], after["per_class"]) == (before["protocol"], before["per_class"])
    line = one_line_error(run("train_imagenet.py", "x", *options[:-1], 0.5), "--epochs")
    assert "0.5" in line
    done = run("train_imagenet.py", "x", *options[:-1], 2, "--test_freq", 1, "--overwrite")
    assert done.returncode == 0
    one_line_error(run("train_imagenet.py", "x", *options, "--resume"), "epochs was 2, is 1")


@pytest.mark.slow
def test_a_quiet_probe_prints_its_result_alone(run, tmp_path, pretrained):
    name = f"{TAILED}_res10_x"
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "0", "--epochs", 2]
    for experiment, quiet in ((f"{name}__told", "False"), (f"{name}__quiet", "True")):
        done = run("train_imagenet.py", experiment, *options, "--quiet", quiet)
        assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "checkpoints_imagenet_tune"
    groups = "  ".join(f"{k} {v:.2f}" for k, v in result(folder / f"{name}__quiet")["groups"].items() if v is not None)
    wanted = f"probed {name}__quiet (sdclr-fewshot): "
    assert done.stdout.startswith(wanted) and done.stdout.count("\n") == 1
    assert all(part in done.stdout for part in groups.split("  "))
    assert done.stdout.endswith(f"log in {Path('checkpoints_imagenet_tune', f'{name}__quiet', 'log.txt')}\n")
    told, quiet = ((folder / f"{name}__{kind}" / "log.txt").read_text().splitlines() for kind in ("told", "quiet"))
    assert told[1:] == quiet[1:]  # below the command
    again = run("train_imagenet.py", f"{name}__quiet", *options, "--quiet", "--resume")
    assert again.stdout.startswith(f"probed {name}__quiet (sdclr-fewshot, finished before): ")


@pytest.mark.parametrize("name", [DATASET.val_list, DATASET.test_list])
def test_pretraining_on_held_out_images_is_refused(run, name):
    one_line_error(run("train_simCLR.py", "x", *PRETRAIN, "--imagenetCustomSplit", name), "shares", "images")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fullset"], ["--fullset and --customSplit"]),
        (["--dataset", "imagenet-200"], ["imagenet-200"]),
        (["--world_size", "2"], ["needs --local_rank 0 to 1"]),
        (["--world_size", "2", "--local_rank", "2"], ["needs --local_rank 0 to 1"]),
        (["--customSplit", "nonsense"], ["nonsense", TAILED]),
        (["--checkpoint", "gone.pt"], ["gone.pt"]),
        (["--batch-size", "0"], ["--batch-size"]),
        (["--start-epoch", "10"], ["--start-epoch"]),
        (["--test_only"], ["best_model.pt"]),
        (["--image_size", "x"], ["--image_size"]),
        (["--on_bad_image", "ignore"], ["--on_bad_image"]),
    ],
)
def test_mistakes_of_the_probe_are_one_line(run, options, words):
    one_line_error(run("train_imagenet.py", "x", *PROBE, "--epochs", 1, *options), *words)


def test_mistakes_in_pretraining_are_one_line(run, call, tmp_path):
    one_line_error(run("train_simCLR.py", "x", *PRETRAIN, data="nowhere"), "nowhere", "not a folder")
    one_line_error(call("train_simCLR.py", "x", *PRETRAIN), "--data", "not a folder")
    for text, words in (
        ("train/a/1.JPEG\n", ["line 1", "<path> <label>"]),
        ("train/a/1.JPEG 0\ntrain/a/2.JPEG 100\n", ["line 2", "out of range 0..99"]),
        ("../a/1.JPEG 0\n", ["line 1", "leaves the data folder"]),
        ("/etc/passwd 0\n", ["line 1", "absolute path", "not below the data folder"]),
        ("train/a/1.JPEG 0\n\ntrain/a/2.JPEG 0\n", ["line 2", "<path> <label>"]),
    ):
        (tmp_path / "mine.txt").write_text(text)
        done = run("train_simCLR.py", "x", *PRETRAIN, "--imagenetCustomSplit", tmp_path / "mine.txt")
        one_line_error(done, "mine.txt", *words)
    one_line_error(call("train_simCLR.py", "x", "--dataset", "digits", "--image_size", "4"), "--image_size")
    one_line_error(call("train_simCLR.py", "x", "--dataset", "digits", "--augment", "opencv"), "--augment opencv")
    assert not (tmp_path / "checkpoints").exists()
