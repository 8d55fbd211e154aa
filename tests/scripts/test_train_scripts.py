"""Pre-training and probe scripts on the embedded digits: files, logs, determinism, resuming, processes."""

import contextlib
import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios

import numpy as np
import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

import pretrain.flags
import probe.epoch
import probe.flags
import probe.network
from methods.build import build_method
from methods.sdclr import SDCLR as SDCLRMethod
from models import build_classifier, build_encoder
from models.published import from_published, load_state
from run.checkpoint import read_checkpoint
from run.compute import has_bf16
from run.folder import Run
from tests.conftest import PROJECT, interrupted_after, one_line_error, quick_first, slow_but
from tests.warm import free_port, spawn
from utils.errors import InputError

D_I = "digits_imbSub_with_subsets/digits_split1_D_i.npy"
S_B = "digits_imbSub_with_subsets/digits_split1_S_b.npy"
PRETRAIN = ["--dataset", "digits", "--trainSplit", D_I, "--model", "res20_s", "--batch_size", "256"]
PRETRAIN += ["--output_ch", "16", "--optimizer", "sgd", "--lr", "0.5", "--temperature", "0.2", "--num_workers", "0"]
SDCLR = ["--prune", "--prune_percent", "0.9", "--prune_dual_bn", "True"]
PROBE = ["--dataset", "digits", "--model", "res20_s", "--fixto", "layer4", "--fixbn", "--wd", "0", "--lr", "30"]
PROBE += ["--num_workers", "0", "--decreasing_lr", "10,20"]


def weights(folder, name="model.pt") -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / name)["state_dict"]


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_pretraining_leaves_the_published_files_and_lines(call, tmp_path):
    options = [*PRETRAIN, *SDCLR, "--epochs", 3, "--save_freq", 2, "--mask_save_freq", 1, "--print_freq", 1]
    done = call("train_simCLR.py", "run", *options)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "checkpoints" / "run"
    files = {
        "log.txt",
        "metrics.jsonl",
        "views.png",
        "model.pt",
        "model.previous.pt",
        "model_2.pt",
        "model_3.pt",
        "mask_1.pt",
        "mask_2.pt",
        "mask_3.pt",
        "tensorboard",
    }
    assert {p.name for p in folder.iterdir()} == files
    log = (folder / "log.txt").read_text()
    assert log == done.stdout
    assert re.search(r"^Epoch: \[3\]\[1/2\]\tLoss \d+\.\d+ \(\d+\.\d+\)\tdata_time: \d.*\ttrain_time: \d", log, re.M)
    assert re.search(r"^current lr is 0\.\d+$", log, re.M)
    assert re.search(r"^class distribution in training set is \[31, 16, 120, 22, 44, 6, 61, 11, 8, 86\]$", log, re.M)
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [e["epoch"] for e in epochs] == [1, 2, 3]
    # Warm-up over 10 epochs of 2 steps to lr 0.5: the last step of epoch e uses 0.05 e.
    assert [e["lr"] for e in epochs] == pytest.approx([0.05, 0.1, 0.15])
    content = read_checkpoint(folder / "model_3.pt")
    assert content["epoch"] == 3 and content["config"]["temperature"] == 0.2
    assert all(key.startswith("module.") for key in content["state_dict"])
    encoder = build_encoder("res20_s", 16, 3, prune=True, dual_bn=True)
    load_state(encoder, from_published(content["state_dict"]), "model_3.pt")
    mask = torch.load(folder / "mask_3.pt", weights_only=True)
    assert mask["epoch"] == 3 and mask["pruneMask"].keys() == {
        name for name, m in encoder.named_modules() if isinstance(m, torch.nn.Conv2d)
    }
    kept = sum(int(m.sum()) for m in mask["pruneMask"].values()) / sum(m.numel() for m in mask["pruneMask"].values())
    assert kept == pytest.approx(0.1, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", slow_but(SDCLR, [[], SDCLR]))
def test_one_seed_gives_identical_weights_whatever_the_workers(call, tmp_path, method):
    for name, workers in (("a", 0), ("b", 2)):
        done = call("train_simCLR.py", name, *PRETRAIN, *method, "--epochs", 2, "--num_workers", workers)
        assert done.returncode == 0, done.stderr
    call("train_simCLR.py", "c", *PRETRAIN, *method, "--epochs", 2, "--seed", 2)
    a, b, c = (weights(tmp_path / "checkpoints" / name) for name in "abc")
    assert same(a, b)
    assert not same(a, c)


@pytest.mark.slow
def test_interrupted_and_resumed_pretraining_equals_the_undisturbed_one(call, tmp_path, monkeypatch):
    options = [*PRETRAIN, *SDCLR, "--random_prune_percent", "0.2", "--epochs", 4]
    assert call("train_simCLR.py", "whole", *options).returncode == 0
    with interrupted_after(Run, 2):
        assert call("train_simCLR.py", "parts", *options).returncode == 1
    done = call("train_simCLR.py", "parts", *options, "--resume", "True")
    assert "resuming from" in done.stdout and "after epoch 2" in done.stdout
    folder = tmp_path / "checkpoints"
    assert same(weights(folder / "whole"), weights(folder / "parts"))
    again = call("train_simCLR.py", "parts", *options, "--resume", "True")
    assert again.returncode == 0 and "(finished)" in again.stdout
    assert same(weights(folder / "whole"), weights(folder / "parts"))


@pytest.mark.parametrize(
    "options",
    quick_first([["--optimizer", "adam", "--lr", "0.001"], ["--optimizer", "lars"], ["--scheduler", "constant"]]),
)
def test_optimizers_and_schedules_train(call, tmp_path, options):
    done = call("train_simCLR.py", "run", *PRETRAIN, "--epochs", 2, *options)
    assert done.returncode == 0, done.stderr
    before = call("train_simCLR.py", "start", *PRETRAIN, "--epochs", 0)
    assert before.returncode == 0
    assert not same(weights(tmp_path / "checkpoints/run"), weights(tmp_path / "checkpoints/start"))


def test_zero_epochs_save_the_untrained_network(call, tmp_path):
    call("train_simCLR.py", "run", *PRETRAIN, "--epochs", 0)
    torch.manual_seed(1)
    encoder = build_encoder("res20_s", 16, 2)
    stored = weights(tmp_path / "checkpoints/run", "model_0.pt")
    assert same(from_published(stored), encoder.state_dict())


def test_loss_that_is_not_finite_stops_the_run(call, tmp_path):
    done = call("train_simCLR.py", "run", *PRETRAIN, "--epochs", 9, "--lr", "4e9", "--scheduler", "constant")
    assert done.returncode == 2
    assert "the loss is" in done.stderr and "epoch" in done.stderr


@pytest.mark.slow
def test_a_probe_of_images_in_memory_is_the_same_for_any_number_of_processes(script, tmp_path):
    for processes in (1, 2):
        launch = ["-m", "recipes.launch", f"--nproc_per_node={processes}", f"--master_port={free_port()}"]
        options = [*PROBE, "--lr", "1", "--fixto", "layer4", "--fixbn", "--epochs", "2", "--precision", "fp32"]
        done = script(*launch, str(PROJECT / "train_cifar.py"), f"on{processes}", *options)
        assert done.returncode == 0, done.stderr
    one, two = (read_checkpoint(tmp_path / "checkpoints_tune" / f"on{n}" / "model.pt")["state_dict"] for n in (1, 2))
    assert one.keys() == two.keys()
    # Sums of gradients have another order: equal to the rounding of two epochs.
    for name in ("fc.weight", "fc.bias"):
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-3 * one[name].abs().max().item())
    images = [json.loads((tmp_path / f"checkpoints_tune/on{n}/results.json").read_text())["images"] for n in (1, 2)]
    assert images == [400, 400]


def test_torchrun_with_two_processes(script, tmp_path):
    launch = ["-m", "recipes.launch", "--nproc_per_node=2", f"--master_port={free_port()}"]
    program = str(PROJECT / "train_simCLR.py")
    done = script(*launch, program, "run", *PRETRAIN, *SDCLR, "--epochs", "1", "--print_freq", "1")
    assert done.returncode == 0, done.stderr
    assert "2 process(es) on cpu" in done.stdout
    assert done.stdout.count("batch statistics are per process") == 1
    # 405 images on two processes: 203 each, batches of 128 and 75.
    assert re.search(r"Epoch: \[1\]\[1/2\]", done.stdout)
    assert (tmp_path / "checkpoints/run/model_1.pt").exists()

    done = script(*launch, program, "odd", *PRETRAIN, "--batch_size", "255", "--epochs", "1")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["error: the batch of 255 images is not divisible by 2 processes"]
    assert not (tmp_path / "checkpoints/odd").exists()


@pytest.fixture
def pretrained(call, tmp_path):
    """An SDCLR checkpoint of one epoch, as a path."""
    assert call("train_simCLR.py", "x_digits_split1_D_i_newNT", *PRETRAIN, *SDCLR, "--epochs", 1).returncode == 0
    return tmp_path / "checkpoints/x_digits_split1_D_i_newNT/model_1.pt"


def test_linear_probe_files_lines_and_result(call, tmp_path, pretrained):
    name = "x_digits_split1_D_i_newNT__f2layer4"
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "0", "--epochs", 3]
    done = call("train_cifar.py", name, *options)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "checkpoints_tune" / name
    assert {p.name for p in folder.iterdir()} >= {"model.pt", "best_model.pt", "log.txt", "results.json"}
    log = (folder / "log.txt").read_text().splitlines()
    accuracies = [line for line in log if re.match(r"^Each class acc is (\d+\.\d\d ){10}$", line)]
    assert len(accuracies) == 1
    assert sum(line.startswith("Epoch: 2 Each class acc is ") for line in log) == 1
    result = json.loads((folder / "results.json").read_text())
    per_class = [float(word) for word in accuracies[0].split()[4:]]
    assert result["per_class"] == pytest.approx(per_class, abs=0.006)
    assert any(line == f"On the best_model, test tacc is {result['top1']:.2f}" for line in log)
    assert result["protocol"] == "sdclr-linear" and result["departs"] == {"epochs": [3, 30]}
    assert result["dataset"] == "digits" and result["seed"] == 1 and result["augment"] == "batched"
    assert result["precision"] == ("bf16" if has_bf16(torch.device("cpu")) else "fp32")
    told, settings = result["pretraining"], read_checkpoint(pretrained)["config"]
    assert told.pop("settings") == settings and settings["prune"] is True and settings["trainSplit"] == D_I
    made = told.pop("provenance")
    assert made["command"].startswith("python train_simCLR.py x_digits_split1_D_i_newNT --dataset digits ")
    assert set(made) >= {"git", "torch", "machine"}
    sha1 = result["lists"]["group"]["sha1"]
    assert told == {
        "experiment": "x_digits_split1_D_i_newNT", "method": settings.get("method"), "dataset": "digits", "split": 1,
        "list": {"name": D_I, "path": "digits_split1_D_i.npy", "sha1": sha1, "source": "generated"}, "epochs": 1,
        "precision": result["precision"], "augment": "batched",
    }  # fmt: skip
    assert result["class_counts"] == [31, 16, 120, 22, 44, 6, 61, 11, 8, 86]
    assert {k: v["source"] for k, v in result["lists"].items()} == dict.fromkeys(("train", "val", "group"), "generated")
    order = np.argsort(result["class_counts"])
    assert result["groups"]["Few"] == pytest.approx(np.mean([per_class[c] for c in order[:3]]), abs=0.01)
    assert result["groups"]["Many"] == pytest.approx(np.mean([per_class[c] for c in order[6:]]), abs=0.01)

    best = read_checkpoint(folder / "best_model.pt")
    assert not any(key.startswith("module.") for key in best["state_dict"])
    backbone = build_classifier("res20_s", 10)
    load_state(backbone, best["state_dict"], "best")
    source = weights(pretrained.parent)
    assert torch.equal(backbone.layer3[0].conv1.weight, source["module.layer3.0.conv1.weight"])
    assert torch.equal(backbone.bn1.running_mean, source["module.bn1.bn_list.0.running_mean"])

    again = call("train_cifar.py", name, *PROBE, "--test_only", "True")
    assert again.returncode == 0, again.stderr
    assert json.loads((folder / "results.json").read_text())["per_class"] == result["per_class"]


@pytest.mark.slow
def test_interrupted_and_resumed_probe_equals_the_undisturbed_one(call, tmp_path, pretrained, monkeypatch):
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "1", "--trainSplit", S_B]
    options += ["--epochs", 6, "--test_freq", 2]
    assert call("train_cifar.py", "whole", *options).returncode == 0
    with interrupted_after(Run, 3):
        assert call("train_cifar.py", "parts", *options).returncode == 1
    assert call("train_cifar.py", "parts", *options, "--resume").returncode == 0
    folder = tmp_path / "checkpoints_tune"
    for file in ("model.pt", "best_model.pt"):
        assert same(weights(folder / "whole", file), weights(folder / "parts", file))
    results = [json.loads((folder / name / "results.json").read_text()) for name in ("whole", "parts")]
    assert results[0]["protocol"] == "sdclr-fewshot"
    assert results[0]["per_class"] == results[1]["per_class"] and results[0]["best"] == results[1]["best"]


@pytest.mark.slow
def test_freezing_up_to_a_stage(call, tmp_path, pretrained):
    options = ["--dataset", "digits", "--model", "res20_s", "--lr", "0.1", "--num_workers", "0", "--epochs", "1"]
    options += ["--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "0", "--trainSplit", S_B, "--cosineLr"]
    assert call("train_cifar.py", "some", *options, "--fixto", "layer1", "--epochs", 2).returncode == 0
    before, after = weights(pretrained.parent), weights(tmp_path / "checkpoints_tune/some")
    assert torch.equal(after["layer1.2.conv2.weight"], before["module.layer1.2.conv2.weight"])
    assert not torch.equal(after["layer2.0.conv1.weight"], before["module.layer2.0.conv1.weight"])
    # Without --fixbn the statistics of frozen layers still follow the data.
    assert not torch.equal(after["bn1.running_mean"], before["module.bn1.bn_list.0.running_mean"])


def test_frozen_weights_that_move_are_noticed():
    model = build_classifier("res20_s", 10)
    frozen = probe.network.freeze(model, "layer4", fixbn=True)
    frozen.check(model)
    with torch.no_grad():
        model.bn1.running_mean += 1
    with pytest.raises(RuntimeError, match=r"bn1\.running_mean"):
        frozen.check(model)


def test_probe_of_the_pruned_network(call, tmp_path, pretrained):
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "1", "--trainSplit", S_B]
    done = call("train_cifar.py", "pruned", *options, "--epochs", 1, "--prune", "--prune_percent", "0.9")
    assert done.returncode == 0, done.stderr
    state = weights(tmp_path / "checkpoints_tune/pruned")
    convolutions = torch.cat([v.flatten() for k, v in state.items() if v.ndim == 4])
    assert (convolutions == 0).double().mean().item() == pytest.approx(0.9, abs=1e-3)


def test_untrained_network_is_a_checkpoint_like_any_other(tmp_path):
    with pytest.raises(InputError, match="lacks"):
        load_state(build_encoder("res20_s", 16, 3), build_encoder("res20_s", 16, 2).state_dict(), "file")


@pytest.mark.slow
def test_progress_bar_on_a_terminal(tmp_path):
    """On a terminal there is a bar with ETA, and the lines that it makes superfluous go to log.txt only."""
    program = [sys.executable, str(PROJECT / "train_simCLR.py"), "run", *PRETRAIN, "--epochs", "2", "--print_freq", "1"]
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(program, cwd=tmp_path, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    output = b""
    with contextlib.suppress(OSError):  # Linux answers the end of a terminal with an error.
        while chunk := os.read(ours, 4096):
            output += chunk
    os.close(ours)
    assert process.wait(60) == 0
    assert re.search(rb"100%.*810/810 \[\d\d:\d\d<\d\d:\d\d, [^]]* images/s, epoch=2, loss=\d\.\d+, lr=0", output), (
        output
    )
    assert b"data_time" not in output
    assert "data_time" in (tmp_path / "checkpoints/run/log.txt").read_text()


PUBLISHED_DEFAULTS = {
    "train_simCLR.py": """
        save-dir=checkpoints data= dataset=cifar num_workers=10 batch_size=512 epochs=1000 print_freq=50 save_freq=100
        checkpoint= resume=False optimizer=lars lr=5.0 scheduler=cosine model=res18 temperature=0.5 output_ch=512
        trainSplit=trainIdxList.npy imagenetCustomSplit= seed=1 local_rank=None strength=1.0 resizeLower=0.1
        testContrastiveAcc=False testContrastiveAccTest=False prune=False prune_percent=0.3 random_prune_percent=0.0
        prune_dual_bn=False mask_save_freq=100""",
    "train_cifar.py": """
        model=res18 dataset=cifar10 batch-size=128 test-batch-size=128 epochs=100 wd=0.0002 lr=0.1 momentum=0.9
        no-cuda=False seed=1 log-interval=10 save-freq=1 trainSplit=cifar10/trainIdxList.npy valiSplit= fixto=nothing
        fixbn=False bnNameCnt=-1 checkpoint= resume=False start-epoch=0 decreasing_lr=[75,90,95] cvt_state_dict=False
        save-dir=checkpoints_tune test_freq=1 test_only=False prune=False prune_percent=0.3 cosineLr=False""",
}


@pytest.mark.parametrize(
    ("script", "parse"), [("train_simCLR.py", pretrain.flags.parse), ("train_cifar.py", probe.flags.parse_cifar)]
)
def test_published_flags_have_their_published_defaults(script, parse, monkeypatch):
    monkeypatch.setattr(sys, "argv", [script, "name"])
    args = vars(parse(""))
    for pair in PUBLISHED_DEFAULTS[script].split():
        flag, value = pair.split("=")
        assert str(args[flag.replace("-", "_")]).replace(" ", "") == value, flag


def test_flags_do_not_swallow_the_experiment(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_simCLR.py", "--prune", "--resume", "name", "--prune_dual_bn", "False"])
    args = pretrain.flags.parse("")
    assert (args.experiment, args.prune, args.resume, args.prune_dual_bn) == ("name", True, True, False)


def test_fixed_batch_norm_is_that_of_the_frozen_stages(call, tmp_path, pretrained):
    options = ["--dataset", "digits", "--model", "res20_s", "--lr", "0.1", "--num_workers", "0", "--epochs", "1"]
    options += ["--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "0", "--trainSplit", S_B]
    assert call("train_cifar.py", "some", *options, "--fixto", "layer1", "--fixbn").returncode == 0
    before, after = weights(pretrained.parent), weights(tmp_path / "checkpoints_tune/some")
    frozen, trained = "layer1.2.bn2.{}running_mean", "layer2.0.bn1.{}running_mean"
    assert torch.equal(after[frozen.format("")], before["module." + frozen.format("bn_list.0.")])
    assert not torch.equal(after[trained.format("")], before["module." + trained.format("bn_list.0.")])


@pytest.mark.slow
def test_the_probe_notices_frozen_weights_that_move(call, pretrained, monkeypatch):
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "0", "--trainSplit", S_B]
    original = probe.epoch.train_epoch

    def move(training, *args):
        original(training, *args)
        with torch.no_grad():
            training.network.model.layer3[0].conv1.weight[0, 0, 0, 0] += 1

    monkeypatch.setattr("probe.stages.train_epoch", move)
    with pytest.raises(RuntimeError, match=r"layer3\.0\.conv1"):
        call("train_cifar.py", "moved", *options, "--epochs", 1)


@pytest.mark.slow
def test_a_probe_of_an_older_backbone_is_not_resumed(call, tmp_path, pretrained):
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "0", "--trainSplit", S_B]
    assert call("train_cifar.py", "probe", *options, "--epochs", 2).returncode == 0
    name = pretrained.parent.name
    assert call("train_simCLR.py", name, *PRETRAIN, *SDCLR, "--epochs", 1, "--seed", 7, "--overwrite").returncode == 0
    before = (tmp_path / "checkpoints_tune/probe/model.pt").read_bytes()
    done = call("train_cifar.py", "probe", *options, "--epochs", 2, "--resume")
    one_line_error(done, "of another backbone", "--overwrite True")
    assert (tmp_path / "checkpoints_tune/probe/model.pt").read_bytes() == before
    assert call("train_cifar.py", "probe", *options, "--epochs", 2, "--overwrite").returncode == 0
    conv = weights(tmp_path / "checkpoints_tune/probe")["layer3.0.conv1.weight"]
    assert torch.equal(conv, weights(pretrained.parent)["module.layer3.0.conv1.weight"])


@pytest.mark.slow
def test_results_tell_every_departure_and_evaluation_keeps_the_record(call, tmp_path, pretrained):
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "1", "--epochs", 2]
    options += ["--valiSplit", "test", "--cosineLr", "--prune", "--prune_percent", "0.5", "--batch-size", 256]
    assert call("train_cifar.py", "x_digits_split1_D_i", *options).returncode == 0
    file = tmp_path / "checkpoints_tune/x_digits_split1_D_i/results.json"
    first = json.loads(file.read_text())
    departs = {"valiSplit", "cosineLr", "prune", "bnNameCnt", "epochs", "batch_size"}
    assert set(first["departs"]) == departs and first["lists"]["val"] is None
    options = ["--dataset", "digits", "--model", "res20_s", "--test_only"]
    assert call("train_cifar.py", "x_digits_split1_D_i", *options).returncode == 0
    second = json.loads(file.read_text())
    same = ("departs", "checkpoint", "pretraining", "seed", "per_class", "protocol")
    assert {k: second[k] for k in same} == {k: first[k] for k in same}
    pretrained.unlink()
    assert call("train_cifar.py", "x_digits_split1_D_i", *options).returncode == 0
    assert json.loads(file.read_text())["pretraining"] is None


def test_cosine_probe_rate_falls_at_every_step_to_the_published_end(call, tmp_path, pretrained):
    options = [*PROBE, "--checkpoint", pretrained, "--cvt_state_dict", "--bnNameCnt", "0", "--epochs", 2]
    assert call("train_cifar.py", "cosine", *options, "--cosineLr").returncode == 0
    lines = (tmp_path / "checkpoints_tune/cosine/metrics.jsonl").read_text().splitlines()
    rates = [m["lr"] for m in map(json.loads, lines) if "lr" in m]
    # 10 steps an epoch; half a cosine from 30 to 1e-6 over 20 steps.
    assert rates == pytest.approx([(30 + 1e-6) / 2, 1e-6])


def test_pretraining_starts_from_given_weights(call, tmp_path):
    assert call("train_simCLR.py", "first", *PRETRAIN, "--epochs", 1).returncode == 0
    start = tmp_path / "checkpoints/first/model_1.pt"
    done = call("train_simCLR.py", "second", *PRETRAIN, "--epochs", 1, "--checkpoint", start, "--lr", 0)
    assert done.returncode == 0 and f"starting from the weights of {start}" in done.stdout
    first, second = weights(start.parent), weights(tmp_path / "checkpoints/second")
    assert torch.equal(first["module.conv1.weight"], second["module.conv1.weight"])


def test_heads_default_to_the_published_ones(monkeypatch):
    for options, layers in (([], 2), (["--prune"], 2), (SDCLR, 3), ([*SDCLR, "--head_layers", "2"], 2)):
        monkeypatch.setattr(sys, "argv", ["train_simCLR.py", "name", "--model", "res20_s", *options])
        assert build_method(pretrain.flags.parse(""), "cifar").encoder.fc.layers == layers


def test_two_processes_train_alike_and_end_with_one_network(tmp_path):
    """Every rank ends with the same weights: the gradient was shared."""
    spawn(train_a_little, (2, str(tmp_path)), 2)
    a, b = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def train_a_little(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/join", rank=rank, world_size=size)
    torch.manual_seed(rank)
    method = SDCLRMethod(build_encoder("res20_s", 16, 2, prune=True), 0.2, 0.5)
    model = DistributedDataParallel(method, broadcast_buffers=False)
    optimizer = torch.optim.SGD(method.parameters(), 0.1)
    for epoch in (1, 2):
        method.start_epoch(epoch)
        optimizer.zero_grad()
        model(torch.rand(4, 2, 3, 8, 8), torch.arange(4)).mean().backward()
        optimizer.step()
    torch.save([p.detach() for p in method.parameters()], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_more_processes_than_gpus_is_one_line(call, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    one_line_error(call("train_simCLR.py", "run", *PRETRAIN), "2 processes", "1 GPU")


def test_synchronised_batch_norm_keeps_weights_and_names():
    encoder = build_encoder("res20_s", 16, 3, prune=True, dual_bn=True)
    names, first = list(encoder.state_dict()), next(encoder.parameters())
    converted = torch.nn.SyncBatchNorm.convert_sync_batchnorm(encoder)
    assert converted is encoder and list(encoder.state_dict()) == names and next(encoder.parameters()) is first
    assert sum(isinstance(m, torch.nn.SyncBatchNorm) for m in encoder.modules()) == 2 * (19 + 3)
