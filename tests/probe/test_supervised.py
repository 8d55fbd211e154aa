"""Supervised learning from long-tailed labels by train_cifar.py and train_imagenet.py: files, laws, bad input."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import probe.epoch
from data.sets.registry import data_set
from models import build_classifier
from probe.flags import parse_cifar, parse_imagenet
from probe.network import Network, freeze
from probe.protocols import PROTOCOLS, labelled_list
from probe.published import SCRIPTS
from probe.setup import Probe
from probe.supervised.training import WarmUpCosine, parameter_groups, sampler_of
from run.checkpoint import read_checkpoint
from run.compute import Compute
from run.flags import Precision
from run.optim import set_rate, sgd
from run.world import World
from tests.conftest import PROJECT, one_line_error
from tests.scripts.test_train_scripts import D_I, PRETRAIN, S_B, same
from tests.warm import free_port, spawn
from utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

DIGITS = ["--dataset", "digits", "--model", "res20_s", "--num_workers", "0"]
LEARN = [*DIGITS, "--trainSplit", D_I, "--epochs", "1"]
TUNED = "checkpoints_tune"


def result(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def state(folder: Path, name: str = "model.pt") -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / name)["state_dict"]


@pytest.fixture(scope="module")
def ce_once(tmp_path_factory):
    return tmp_path_factory.mktemp("ce") / "run"


@pytest.fixture
def ce(call, tmp_path, ce_once):
    """A finished run of protocol ce, of two epochs."""
    folder = tmp_path / TUNED / "before"
    if ce_once.exists():
        shutil.copytree(ce_once, folder)
    else:
        done = call("train_cifar.py", "before", *LEARN, "--protocol", "ce", "--epochs", "2", "--test_freq", "1")
        assert done.returncode == 0, done.stderr
        shutil.copytree(folder, ce_once)
    return folder


def after(protocol: str, ce: Path, *more: str) -> list[str]:
    words = [*DIGITS, "--protocol", protocol, "--ce", ce, *more]
    return [*words, "--epochs", "1"] if protocol == "crt" and "--epochs" not in more else words


def test_ce_leaves_the_files_of_other_probes(ce):
    assert {p.name for p in ce.iterdir()} >= {"model.pt", "best_model.pt", "results.json", "log.txt", "metrics.jsonl"}
    found = result(ce)
    assert found["protocol"] == "ce" and found["lists"]["train"]["path"] == Path(D_I).name
    assert found["groups"].keys() == {"Many", "Medium", "Few", "Std", "All"}
    assert found["class_counts"] == [31, 16, 120, 22, 44, 6, 61, 11, 8, 86]  # of the list that is learned from
    assert found["departs"] == {"epochs": [2, 200], "test_freq": [1, 10]}
    assert found["supervised"]["settings"]["nesterov"] is True and "chosen here" in found["supervised"]["note"]
    assert found["best"]["epoch"] == 2
    epochs = [json.loads(line) for line in (ce / "metrics.jsonl").read_text().splitlines()]
    assert [e["lr"] for e in epochs if "lr" in e] == pytest.approx([0.1 * 4 / 8, 0.1])  # within the warm-up of 5
    assert sum("val_top1" in e for e in epochs) == 2
    assert same(state(ce), state(ce, "best_model.pt"))


@pytest.mark.slow
def test_the_last_epoch_counts_unless_validation_is_asked_for(call, tmp_path, monkeypatch):
    scores = iter([50.0, 40.0, 50.0, 40.0])
    monkeypatch.setattr("probe.network.evaluate", lambda *_: {"top1": next(scores), "top5": 0.0, "per_class": [0.0]})
    for name in ("last", "val"):
        options = [*LEARN, "--epochs", "2", "--protocol", "ce", "--select", name, "--test_freq", "1"]
        assert call("train_cifar.py", name, *options).returncode == 0
    found = {name: result(tmp_path / TUNED / name) for name in ("last", "val")}
    assert [found[name]["best"] for name in found] == [{"epoch": 2, "val": 40.0}, {"epoch": 1, "val": 50.0}]
    assert found["val"]["departs"]["select"] == ["val", "last"]


def test_la_at_tau_0_is_ce_to_the_bit(call, tmp_path):
    for name, words in {"ce": ["ce"], "la": ["la", "--tau", "0"], "other": ["la"]}.items():
        assert call("train_cifar.py", name, *LEARN, "--protocol", *words).returncode == 0
    ce, la, other = (state(tmp_path / TUNED / name) for name in ("ce", "la", "other"))
    assert same(ce, la) and not same(ce, other)
    assert result(tmp_path / TUNED / "la")["departs"]["tau"] == [0.0, 1.0]


@pytest.mark.parametrize("statistics", ["fixed", "train"])
def test_crt_leaves_every_backbone_tensor_and_draws_a_new_linear_layer(call, tmp_path, ce, statistics):
    before = state(ce, "best_model.pt")
    done = call("train_cifar.py", "x", *after("crt", ce, "--crt_bn", statistics))
    assert done.returncode == 0, done.stderr
    now = state(tmp_path / TUNED / "x", "best_model.pt")
    moved = {name for name in before if not torch.equal(before[name], now[name])}
    drifting = {n for n in before if n.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert moved == {"fc.weight", "fc.bias"} | (drifting if statistics == "train" else set())
    found = result(tmp_path / TUNED / "x")
    assert {"ce_epochs", "ce_test_freq", "epochs"} <= found["departs"].keys()
    assert found["supervised"]["ce"] == str(ce)


def test_crt_begins_with_a_layer_that_knows_nothing(call, tmp_path, ce):
    """At a learning rate of 0 the layer is as it was drawn, by the run's seed, not that of ce."""
    assert call("train_cifar.py", "x", *after("crt", ce, "--lr", "0")).returncode == 0
    torch.manual_seed(1)
    drawn = build_classifier("res20_s", 10).fc.weight.detach()
    weight = state(tmp_path / TUNED / "x")["fc.weight"]
    assert torch.equal(weight, drawn) and not torch.equal(weight, state(ce)["fc.weight"])


def test_crt_learns_from_classes_in_equal_numbers(call, ce, monkeypatch):
    seen, original = [], probe.epoch.step

    def step(network, inputs, labels, *more, **how):
        seen.append(labels.clone())
        return original(network, inputs, labels, *more, **how)

    monkeypatch.setattr(probe.epoch, "step", step)
    assert call("train_cifar.py", "x", *after("crt", ce)).returncode == 0
    counts = torch.bincount(torch.cat(seen), minlength=10)
    assert counts.sum() == 405 and counts.max() - counts.min() <= 4


@pytest.mark.slow
def test_without_a_run_of_ce_one_comes_first(call, tmp_path, ce):
    options = [*DIGITS, "--trainSplit", D_I, "--protocol", "crt", "--epochs", "1", "--ce_epochs", "2"]
    assert call("train_cifar.py", "x", *options).returncode == 0
    first = tmp_path / TUNED / "x" / "ce"
    assert same(state(first), state(ce)) and result(first)["protocol"] == "ce"
    assert call("train_cifar.py", "y", *after("crt", ce)).returncode == 0
    assert same(state(tmp_path / TUNED / "x"), state(tmp_path / TUNED / "y"))
    one_line_error(call("train_cifar.py", "x", *options), "holds a run")
    again = call("train_cifar.py", "x", *options, "--resume")
    assert again.returncode == 0 and again.stdout.count("(finished)") == 2
    assert call("train_cifar.py", "x", *options, "--overwrite").returncode == 0
    assert same(state(tmp_path / TUNED / "x"), state(tmp_path / TUNED / "y"))
    alone = call("train_cifar.py", "x", *options, "--test_only")
    assert alone.returncode == 0, alone.stderr
    assert result(tmp_path / TUNED / "x")["protocol"] == "crt"


def test_post_hoc_adjustment_trains_nothing(call, tmp_path, ce):
    found = {}
    for tau in ("0", "1", "1000"):
        done = call("train_cifar.py", f"x{tau}", *after("la-posthoc", ce, "--tau", tau))
        assert done.returncode == 0, done.stderr
        assert {p.name for p in (tmp_path / TUNED / f"x{tau}").iterdir()} == {"results.json", "log.txt"}
        found[tau] = result(tmp_path / TUNED / f"x{tau}")
    assert found["0"]["per_class"] == result(ce)["per_class"]
    rarest = int(np.argmin(found["1"]["class_counts"]))
    assert found["1000"]["per_class"] == [100.0 * (c == rarest) for c in range(10)]
    assert found["1"]["protocol"] == "la-posthoc" and found["1"]["departs"].keys() == {"ce_epochs", "ce_test_freq"}


@pytest.mark.slow
def test_from_an_encoder_its_pretraining_is_told_also_behind_ce(call, tmp_path):
    pretraining = [*PRETRAIN, "--epochs", "1", "--save_freq", "1"]
    assert call("train_simCLR.py", "p", *pretraining).returncode == 0
    start = ["--checkpoint", "checkpoints/p/model_1.pt", "--cvt_state_dict"]
    assert call("train_cifar.py", "ce", *LEARN, "--protocol", "ce", *start, "--init_lr_scale", "0").returncode == 0
    assert call("train_cifar.py", "crt", *after("crt", Path(TUNED) / "ce")).returncode == 0
    for name in ("ce", "crt"):
        found = result(tmp_path / TUNED / name)
        assert found["pretraining"]["method"] == "simclr" and found["pretraining"]["split"] == 1
        assert found["checkpoint"] == "checkpoints/p/model_1.pt"
    # At a rate of 0 the backbone is the encoder's; only its batch statistics move.
    encoder, now = state(tmp_path / "checkpoints/p", "model_1.pt"), state(tmp_path / TUNED / "ce")
    weights = [k for k in now if not k.startswith("fc.") and "running" not in k and "num_batches" not in k]
    assert all(torch.equal(now[k], encoder[f"module.{k}"]) for k in weights)


def test_the_rate_of_the_backbone_is_scaled():
    model = build_classifier("res20_s", 10)
    optimizer = sgd(parameter_groups(model, 0.1), 0.5, 0.9, 0.0, nesterov=True)
    assert set_rate(optimizer, 2.0) == 2.0
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(model.fc.weight)] == 2.0 and rates[id(model.conv1.weight)] == pytest.approx(0.2)
    assert len(rates) == len(list(model.parameters()))
    assert all("momentum_buffer" in optimizer.state[p] for p in model.parameters())
    assert len(sgd(parameter_groups(model, 1.0), 0.5, 0.9, 0.0).param_groups) == 1


def test_a_run_shorter_than_its_warm_up_only_rises():
    rates = [WarmUpCosine(2, 1.0, 5).rate(epoch, step, 3) for epoch in (1, 2) for step in range(3)]
    assert rates == pytest.approx([(i + 1) / 6 for i in range(6)])


def test_defaults_are_the_protocols():
    for name in ("ce", "la", "crt", "la-posthoc"):
        for style, parse in (("cifar", parse_cifar), ("imagenet", parse_imagenet)):
            args = vars(parse("", ["x", "--protocol", name]))
            wanted = PROTOCOLS[name].settings[style]
            assert {k: args[k] for k in wanted} == wanted, (name, style)
    args = vars(parse_imagenet("", ["x", "--protocol", "ce", "--lr", "0.1", "--dataset", "places"]))
    assert (args["lr"], args["wd"], args["epochs"]) == (0.1, 5e-4, 90)


@pytest.mark.parametrize(
    ("dataset", "wanted"),
    [
        ("digits", "digits_imbSub_with_subsets/digits_split1_D_i.npy"),
        ("imagenet-100", "imageNet_100_LT_train"),
        ("imagenet", "ImageNet_LT_train"),
        ("places", "Places_LT_train"),
    ],
)
def test_the_list_is_the_long_tailed_one_of_the_first_split(dataset, wanted):
    assert labelled_list({"protocol": "ce"}, data_set(dataset)) == wanted


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--protocol", "ce", "--tau", "1"], ["--tau has no effect with --protocol ce"]),
        (["--tau", "1"], ["--tau is of --protocol la or la-posthoc"]),
        (["--nesterov"], ["--nesterov is of --protocol ce"]),
        (["--protocol", "la", "--ce", "x"], ["--ce has no effect"]),
        (["--protocol", "crt", "--ce", "nowhere"], ["nowhere holds no finished run of protocol ce"]),
        (["--protocol", "crt", "--ce", "x", "--checkpoint", "y"], ["leave that out", "--checkpoint"]),
        (["--protocol", "la-posthoc", "--epochs", "3"], ["--protocol la-posthoc trains nothing", "--epochs"]),
        (["--protocol", "la-posthoc", "--test_only"], ["trains nothing", "--test_only"]),
        (["--protocol", "ce", "--init_lr_scale", "0.1"], ["--init_lr_scale", "--checkpoint"]),
        (["--protocol", "ce", "--trainSplit", "none.npy"], ["none.npy"]),
        (["--protocol", "la-posthoc", "--lr", "0.5"], ["--lr has no effect with --protocol la-posthoc"]),
        (["--protocol", "la-posthoc", "--nesterov"], ["--nesterov has no effect with --protocol la-posthoc"]),
        (["--protocol", "la-posthoc", "--fixto", "layer2"], ["--fixto has no effect with --protocol la-posthoc"]),
        (["--protocol", "la-posthoc", "--ce", "x", "--seed", "5"], ["--seed has no effect with --protocol la-posthoc"]),
        (["--protocol", "ce", "--decreasing_lr", "5,6"], ["--decreasing_lr has no effect with --protocol ce"]),
        (["--protocol", "la", "--cosineLr"], ["--cosineLr has no effect with --protocol la"]),
        (["--protocol", "ce", "--momentum", "0"], ["--nesterov", "--momentum"]),
        (["--protocol", "ce", "--prune_percent", "0.5"], ["--prune_percent", "--prune"]),
    ],
)
def test_bad_options_are_one_line(call, tmp_path, options, words):
    one_line_error(call("train_cifar.py", "x", *DIGITS, *options), *words)
    assert not (tmp_path / TUNED).exists()


def test_a_list_without_images_of_a_class_is_refused(call, tmp_path):
    labels = data_set("digits").open("").train.labels
    ids = np.load(PROJECT / "split" / D_I)
    np.save(tmp_path / "short.npy", ids[~np.isin(labels[ids], [3, 5])])
    for protocol in ("ce", "la", "crt", "la-posthoc"):
        done = call("train_cifar.py", "x", *DIGITS, "--protocol", protocol, "--trainSplit", tmp_path / "short.npy")
        one_line_error(done, "short.npy has no image of 2 of 10 classes, 3 first")
        assert not list(tmp_path.rglob("*.pt"))


def test_what_was_trained_on_another_list_is_refused(call, tmp_path, ce):
    for protocol in ("crt", "la-posthoc"):
        done = call("train_cifar.py", "x", *after(protocol, ce, "--trainSplit", S_B))
        one_line_error(done, "another list than the run of protocol ce")
    (ce / "results.json").unlink()
    one_line_error(call("train_cifar.py", "x", *after("crt", ce)), "no finished run")
    assert not (tmp_path / TUNED / "x").exists()


def test_a_checkpoint_of_another_network_is_refused(call, tmp_path):
    torch.save({"state_dict": build_classifier("res18", 10).state_dict()}, tmp_path / "other.pt")
    done = call("train_cifar.py", "x", *LEARN, "--protocol", "ce", "--checkpoint", "other.pt", "--cvt_state_dict")
    one_line_error(done, "other.pt", "another model")
    assert not (tmp_path / TUNED).exists()


def test_a_balanced_list_departs(call, tmp_path):
    assert call("train_cifar.py", "x", *LEARN, "--protocol", "ce", "--trainSplit", S_B).returncode == 0
    assert result(tmp_path / TUNED / "x")["departs"]["list"] == [Path(S_B).name, "a long-tailed one"]


@pytest.mark.slow
def test_a_classifier_is_learned_anew_on_what_began_with_dual_batch_norm(call, tmp_path):
    """SDCLR's encoder has two batch norms in each place; the network that ce makes of it has one."""
    pretraining = [*DIGITS, "--epochs", "1", "--batch_size", "128", "--lr", "0.1", "--trainSplit", D_I]
    assert call("train_simCLR.py", "pre", *pretraining, "--method", "sdclr").returncode == 0
    encoder = ["--checkpoint", "checkpoints/pre/model_1.pt", "--cvt_state_dict", "--bnNameCnt", "0"]
    assert call("train_cifar.py", "ce", *LEARN, "--protocol", "ce", *encoder).returncode == 0
    for name, more in (("crt", []), ("crt0", ["--bnNameCnt", "0"]), ("la-posthoc", [])):
        done = call("train_cifar.py", name, *after(name.removesuffix("0"), tmp_path / TUNED / "ce", *more))
        assert done.returncode == 0, done.stderr
    ce, crt = (state(tmp_path / TUNED / name) for name in ("ce", "crt"))
    assert [key for key in ce if not torch.equal(ce[key], crt[key])] == ["fc.weight", "fc.bias"]


@pytest.mark.slow
def test_the_list_is_that_of_the_split_that_the_encoder_was_pretrained_on(call, tmp_path):
    pretraining = ["--dataset", "digits", "--model", "res20_s", "--epochs", "1", "--batch_size", "128", "--lr", "0.1"]
    second = D_I.replace("split1", "split2")
    done = call("train_simCLR.py", "pre", *pretraining, "--trainSplit", second, "--num_workers", "0")
    assert done.returncode == 0, done.stderr
    encoder = ["--checkpoint", "checkpoints/pre/model_1.pt", "--cvt_state_dict"]
    for name, more, wanted in (("two", [], second), ("one", ["--trainSplit", D_I], D_I)):
        words = [*DIGITS, "--epochs", "1", "--protocol", "ce", *encoder, *more]
        assert call("train_cifar.py", name, *words).returncode == 0
        lists = result(tmp_path / TUNED / name)["lists"]
        assert [Path(lists[kind]["path"]).name for kind in ("train", "group")] == [Path(wanted).name] * 2
    assert call("train_cifar.py", "crt", *after("crt", tmp_path / TUNED / "two")).returncode == 0
    assert Path(result(tmp_path / TUNED / "crt")["lists"]["train"]["path"]).name == Path(second).name


@pytest.mark.slow
def test_check_writes_nothing(call, tmp_path):
    for protocol in ("ce", "la", "crt", "la-posthoc"):
        done = call("train_cifar.py", "x", *DIGITS, "--protocol", protocol, "--check", "--quiet")
        assert done.returncode == 0, done.stderr
        assert f"checked x: {protocol}" in done.stdout
    assert not (tmp_path / TUNED).exists()


def shared_statistics(rank: int, size: int, folder: str) -> None:
    """One process: a training step on images of its own, then its statistics before and after they are shared."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/join", rank=rank, world_size=size)
    torch.manual_seed(0)
    model, device = build_classifier("res20_s", 10), torch.device("cpu")
    compute = Compute(Precision("fp32", "contiguous_format", tf32=False, deterministic=False), device)
    network = Network(model, {}, False, compute, World(rank, size, device))
    network.train()
    network.logits(torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(rank)))
    before = model.bn1.running_mean.clone()
    network.share_statistics()
    torch.save((before, model.bn1.running_mean, model.bn1.running_var), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_share_their_batch_statistics(tmp_path):
    spawn(shared_statistics, (2, str(tmp_path)), 2)
    (before0, mean0, variance0), (before1, mean1, variance1) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert not torch.equal(before0, before1)
    assert torch.equal(mean0, mean1) and torch.equal(variance0, variance1)
    torch.testing.assert_close(mean0, (before0 + before1) / 2)


@pytest.mark.slow
def test_two_processes_learn_as_one(script, tmp_path):
    """The classifier of cRT, whose backbone is frozen; all test images are counted once, also by ce."""
    options = [*DIGITS, "--trainSplit", "digits/digits_trainIdxList.npy", "--epochs", "2", "--precision", "fp32"]
    for processes in (1, 2):
        launch = ["-m", "recipes.launch", f"--nproc_per_node={processes}", f"--master_port={free_port()}"]
        program = [*launch, str(PROJECT / "train_cifar.py")]
        done = script(*program, f"ce{processes}", *options, "--protocol", "ce")
        assert done.returncode == 0, done.stderr
        done = script(*program, f"crt{processes}", *options, "--protocol", "crt", "--ce", f"{TUNED}/ce1")
        assert done.returncode == 0, done.stderr
    one, two = (state(tmp_path / TUNED / f"crt{n}") for n in (1, 2))
    for name in one:
        if name.startswith("fc."):
            torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-3 * one[name].abs().max().item())
        else:
            assert torch.equal(one[name], two[name])
    assert [result(tmp_path / TUNED / f"{name}{n}")["images"] for name in ("ce", "crt") for n in (1, 2)] == [400] * 4


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["ce", "la", "crt"])
def test_in_bf16_the_first_step_is_that_of_fp32_rounded_and_resuming_is_exact(
    call, tmp_path, interrupted, ce, protocol
):
    more = ["--ce", ce] if protocol == "crt" else []
    one_step = [*LEARN, "--protocol", protocol, *more, "--batch-size", "405"]
    losses = []
    for precision in ("fp32", "bf16"):
        done = call("train_cifar.py", precision, *one_step, "--precision", precision)
        assert done.returncode == 0, done.stderr
        folder = tmp_path / TUNED / precision
        assert result(folder)["precision"] == precision
        epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        losses += [e["loss"] for e in epochs if "loss" in e]
    # Each of 20 layers rounds weights and activations to 8 binary digits, of either sign.
    assert len(losses) == 2 and losses[0] != losses[1] == pytest.approx(losses[0], rel=20 * 2**-8)
    options = [*LEARN, "--protocol", protocol, *more, "--precision", "bf16"]
    assert call("train_cifar.py", "whole", *options).returncode == 0
    interrupted(1, 1)
    for code in (143, 143, 0):
        assert call("train_cifar.py", "parts", *options, "--resume").returncode == code
    for name in ("model.pt", "best_model.pt"):
        assert same(*(state(tmp_path / TUNED / run, name) for run in ("whole", "parts")))


def test_unfreeze_contradicts_a_frozen_backbone():
    with pytest.raises(InputError, match="--unfreeze contradicts"):
        parse_imagenet("", ["x", "--protocol", "crt", "--unfreeze"])


@pytest.mark.slow
def test_an_evaluation_alone_groups_by_the_list_of_the_training(call, tmp_path):
    """Without the list on its command line, and without the protocol."""
    third = D_I.replace("split1", "split3")
    assert call("train_cifar.py", "x", *LEARN, "--protocol", "ce", "--trainSplit", third).returncode == 0
    before = result(tmp_path / TUNED / "x")
    assert before["lists"]["group"]["path"] == Path(third).name
    for protocol in (["--protocol", "ce"], []):
        done = call("train_cifar.py", "x", *DIGITS, *protocol, "--test_only")
        assert done.returncode == 0, done.stderr
        again = result(tmp_path / TUNED / "x")
        same_as_before = ("lists", "groups", "class_counts", "per_class", "departs")
        assert {key: again[key] for key in same_as_before} == {key: before[key] for key in same_as_before}
    given = ["--groupSplit", D_I.replace("split1", "split2")]
    assert call("train_cifar.py", "x", *DIGITS, "--protocol", "ce", "--test_only", *given).returncode == 0
    assert result(tmp_path / TUNED / "x")["lists"]["group"]["path"] == "digits_split2_D_i.npy"


class Labels(SimpleNamespace):
    """Images of which a sampler asks no more than their labels."""

    def __len__(self) -> int:
        return len(self.labels)


@pytest.mark.parametrize(("processes", "images"), [(1, 9), (2, 17), (2, 18)])
def test_no_batch_that_trains_batch_norm_has_one_image(processes, images):
    """Batches of four in a process; of which the last would have one."""
    data, cpu = Labels(labels=np.arange(images) % 3), torch.device("cpu")

    def drawn(protocol: str, rank: int, fixbn: bool = False) -> list[int]:
        settings = SimpleNamespace(protocol=protocol, batch_size=4 * processes, fixbn=fixbn)
        sampler = sampler_of(settings, data, World(rank, processes, cpu), 1)
        sampler.set_epoch(1)
        ids = [i for _, i, *_ in sampler]
        assert len(ids) == len(sampler)
        return ids

    for rank in range(processes):
        plain = drawn("", rank)
        assert len(plain) == 9 and drawn("ce", rank)[:9] == drawn("la", rank)[:9] == plain
        assert len(drawn("ce", rank)) == len(drawn("crt", rank)) == 10
        assert len(drawn("crt", rank, fixbn=True)) == 9 and drawn("crt", rank)[:9] == drawn("crt", rank, fixbn=True)
    with pytest.raises(InputError, match="a batch of one image"):
        sampler_of(SimpleNamespace(protocol="ce", batch_size=2, fixbn=False), data, World(0, 2, cpu), 1)


@pytest.mark.slow
def test_a_last_batch_of_one_image_is_learned_from_at_the_smallest_map(call, tmp_path):
    """405 images in batches of 101; the last map of this network is of one pixel."""
    small = ["--dataset", "digits", "--model", "res10", "--trainSplit", D_I, "--image_size", "8", "--epochs", "1"]
    for protocol in (["ce"], ["crt", "--ce", Path(TUNED) / "ce", "--crt_bn", "train"]):
        done = call("train_cifar.py", protocol[0], *small, "--batch-size", "101", "--protocol", *protocol)
        assert done.returncode == 0, done.stderr


def test_synchronised_batch_norm_stays_fixed():
    """Two GPUs exchange the batch norms; the stem's, too, keeps its running statistics."""
    model, device = build_classifier("res20_s", 10), torch.device("cuda")
    settings = SimpleNamespace(protocol="ce", fixto="layer2", fixbn=True, batch_size=8, epochs=1, lr=0.1, warmup=0)
    fake = SimpleNamespace(
        settings=settings, script=SCRIPTS["cifar"], world=World(0, 2, device), model=model, optimizer=None, counts=[1],
        dataset=SimpleNamespace(at_once=1), sources=SimpleNamespace(training=lambda _: None),
        compute=SimpleNamespace(distributed=lambda trained, _: trained),
    )  # fmt: skip
    freeze(model, "layer2", True)
    network = Probe.training(fake).network
    network.train()
    modes = {name: m.training for name, m in network.model.named_modules() if isinstance(m, torch.nn.SyncBatchNorm)}
    assert not modes["bn1"] and not modes["layer1.0.bn1"] and modes["layer3.0.bn1"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"dataset": ["digits"]}, ["unknown data set"]),
        ({"epochs": None}, ["damaged settings", "--ce_epochs"]),
        ({"trainSplit": 5}, ["list 5"]),
        ({"model": "none"}, ["damaged settings", "--model"]),
        ({"image_size": {}}, ["damaged settings", "--image_size"]),
    ],
)
def test_damaged_settings_of_a_run_of_ce_are_one_line(call, tmp_path, ce, damage, words):
    content = read_checkpoint(ce / "best_model.pt")
    content["config"] = {k: v for k, v in (content["config"] | damage).items() if k != "epochs" or v is not None}
    torch.save(content, ce / "best_model.pt")
    for protocol in ("crt", "la-posthoc"):
        one_line_error(call("train_cifar.py", "x", *after(protocol, ce)), *words)
    assert not (tmp_path / TUNED / "x").exists()


@pytest.mark.parametrize(
    "option", [["--batch-size", "64"], ["--start-epoch", "2"], ["--seed", "5"]], ids=lambda words: words[0]
)
def test_post_hoc_adjustment_refuses_what_only_training_reads(call, tmp_path, ce, option):
    done = call("train_cifar.py", "x", *after("la-posthoc", ce, *option))
    one_line_error(done, f"{option[0]} has no effect with --protocol la-posthoc")
    assert parse_cifar("", ["x", "--protocol", "la-posthoc", *option])  # of the run of ce that comes first


def test_fullset_and_a_list_replace_each_other(tmp_path, monkeypatch):
    """--fullset, the list of an encoder's pre-training and that of a run of ce."""
    config = {"dataset": "imagenet-LT", "temperature": 0.2, "epochs": 5}
    torch.save({"state_dict": {"a": torch.zeros(1)}, "config": config}, tmp_path / "m.pt")
    encoder = ["x", "--protocol", "ce", "--dataset", "imagenet", "--checkpoint", str(tmp_path / "m.pt")]
    encoder += ["--cvt_state_dict"]
    assert parse_imagenet("", encoder).customSplit == "ImageNet_LT_train"
    args = parse_imagenet("", [*encoder, "--fullset"])
    assert args.fullset and labelled_list(vars(args), data_set("imagenet")) == "ImageNet_train"
    with pytest.raises(InputError, match="--fullset and --customSplit"):
        parse_imagenet("", [*encoder, "--fullset", "--customSplit", "x"])
    after_ce = ["x", "--protocol", "crt", "--dataset", "imagenet", "--ce", "y"]
    for trained, words, wanted in (
        ({"customSplit": "x"}, ["--fullset"], "ImageNet_train"),
        ({"fullset": True}, ["--customSplit", "x"], "x"),
    ):
        found = {"epochs": 90, "customSplit": "", "fullset": False, **trained}
        monkeypatch.setattr("probe.supervised.flags.settings_of_ce", lambda *_, found=found: found)
        assert labelled_list(vars(parse_imagenet("", [*after_ce, *words])), data_set("imagenet")) == wanted
