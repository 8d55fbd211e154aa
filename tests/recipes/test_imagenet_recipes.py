"""The recipes for image files: published commands, real runs on small trees, several processes and machines."""

import json
import re
import shlex
import shutil
import socket
import subprocess

import pytest
import torch

from data.sets.registry import data_set
from models import build_classifier
from tests import warm
from tests.conftest import quick_first
from tests.recipes.test_recipes import bash, dry, options
from tests.trees import make_tree, names
from tests.warm import environment, free_port

LINEAR, FEW = "__lr30_wd0_epoch30_b512_d10d20", "__{}_lr30_fix2layer4_wd0_epoch30_b512_d10d20"
OURS = {"--print_freq", "--resume", "--on_bad_image"}  # no setting of the published procedure
SDCLR = ["--prune", "True", "--prune_percent", "0.3", "--prune_dual_bn", "True", "--temp", "0.3"]
EVALUATE = ["--only_finetuning", "True", "--test_only", "True"]
TINY = ["-w", "0", "-e", "1", "--image_size", "32", "--model", "res10", "--pretrain_batch_size", "60",
        "--linear_epochs", "1", "--few_shot_epochs", "1"]  # fmt: skip


PUBLISHED = [
    ("imagenet-100", "imageNet_100_BL_train", []), ("imagenet-100", "imageNet_100_LT_train", []),
    ("imagenet-100", "imageNet_100_LT_train", SDCLR), ("imagenet", "imageNet_BL_exp_train", []),
    ("imagenet", "imageNet_LT_exp_train", []), ("places", "Places_LT_train", []),
]  # fmt: skip


@pytest.mark.parametrize("evaluate", [False, True])
@pytest.mark.parametrize(("data", "split", "method"), PUBLISHED)
def test_published_commands(project_copy, data, split, method, evaluate):
    args = ["--data", "DIR", "-g", "2", "-p", "4867", "-w", "10", "--split", split, *method]
    commands = dry(project_copy, f"shell_scrips/{data}-res50-LT.sh", *args, *(EVALUATE if evaluate else []))
    folder = "checkpoints_places" if data == "places" else "checkpoints_imagenet"
    temp, suffix = ("0.3", "_pruneP0.3DualBN") if method else ("0.2", "")
    name = f"{split}_res50_scheduling_sgd_lr0.5_temp{temp}_epoch500_batch256{suffix}"
    few = data_set(data).few_shot
    linear = name + LINEAR + ("_s1" if data == "imagenet-100" else "")
    expected = [("train_imagenet.py", linear), ("train_imagenet.py", name + FEW.format(few))]
    if not evaluate:
        expected.insert(0, ("train_simCLR.py", name))
    launcher = ["-m", "recipes.launch", "--nproc_per_node=2", "--master_port=4867"]
    assert all(words[:4] == launcher for words in commands)
    commands = [words[4:] for words in commands]
    assert [(words[0], words[1]) for words in commands] == expected
    *pretrain, linear_words, few_words = commands
    if pretrain:
        wanted = {
            "--epochs": "500", "--batch_size": "256", "--output_ch": "128", "--lr": "0.5", "--temperature": temp,
            "--model": "res50", "--dataset": "imagenet-LT" if data == "imagenet" else data, "--save-dir": folder,
            "--imagenetCustomSplit": split, "--optimizer": "sgd", "--num_workers": "10", "--seed": "1",
            "--data": "DIR",
        }  # fmt: skip
        wanted |= {"--prune": "True", "--prune_percent": "0.3", "--prune_dual_bn": "True"} if method else {}
        assert {k: v for k, v in options(pretrain[0]).items() if k not in OURS} == wanted
    for words, train, epochs, falls, freq in (
        (linear_words, {"--fullset": "True"}, "30", "10,20", "2"),
        (few_words, {"--customSplit": few}, "100", "40,60", "10"),
    ):
        wanted = {
            "--decreasing_lr": falls, "--weight-decay": "0", "--epochs": epochs, "--lr": "30", "--batch-size": "512",
            "--model": "res50", "--save-dir": f"{folder}_tune", "--dataset": data, "--cvt_state_dict": "True",
            "--checkpoint": f"{folder}/{name}/model_500.pt", "--world_size": "2", "--port": "4867",
            "--num_workers": "10", "--test_freq": freq, "--seed": "1", "--data": "DIR", **train,
        }  # fmt: skip
        wanted |= ({"--bnNameCnt": "0"} if method else {}) | ({"--test_only": "True"} if evaluate else {})
        assert {k: v for k, v in options(words).items() if k not in OURS} == wanted


def test_other_options_reach_the_commands(project_copy):
    script = "shell_scrips/imagenet-100-res50-LT.sh"
    only = dry(project_copy, script, "--only_pretraining", "True", "--pretrain_lr", "0.1", "--seed", "7", "-s", "L")
    assert len(only) == 1 and options(only[0])["--lr"] == "0.1" and options(only[0])["--seed"] == "7"
    assert only[0][1] == "L_res50_scheduling_sgd_lr0.1_temp0.2_epoch500_batch256"
    few = dry(project_copy, script, "--only_few_shot", "True", "--few_shot_split", "mine", "--image_size", "64")
    assert len(few) == 1 and options(few[0])["--customSplit"] == "mine" and options(few[0])["--image_size"] == "64"
    linear = dry(project_copy, script, "--linear_eval_seed", "3", "--method", "sdclr")[1]
    assert linear[1].endswith(f"_temp0.3_epoch500_batch256_pruneP0.3DualBN{LINEAR}_s3")
    assert options(linear)["--seed"] == "3"
    for method, percent in (("sdclr", "0.1"), ("simclr", None)):
        first = dry(project_copy, "shell_scrips/imagenet-res50-LT.sh", "--method", method)[0]
        assert options(first).get("--prune_percent") == percent and options(first)["--temperature"] == "0.2"
    nodes = dry(project_copy, script, "-g", "8", "-n", "2", "--rdzv", "host:29400")
    starts = ["--nnodes=2", "--nproc_per_node=8", "--rdzv_backend=c10d", "--rdzv_endpoint=host:29400"]
    assert all(words[2:6] == starts for words in nodes)
    assert len({words[6] for words in nodes}) == 3 and all(words[6].startswith("--rdzv_id=") for words in nodes)
    assert nodes[1][nodes[1].index("--world_size") + 1] == "16"
    assert not any("--rdzv_conf" in word for words in nodes for word in words)
    nodes = dry(project_copy, script, "-g", "8", "-n", "2", "--rdzv", "host:29400", "--rdzv_wait", "60")
    assert all(words[7] == "--rdzv_conf=join_timeout=60" for words in nodes)


@pytest.mark.parametrize("recipe", quick_first(["imagenet-100", "imagenet", "places"]))
def test_option_mistakes(project_copy, recipe):
    script = f"shell_scrips/{recipe}-res50-LT.sh"
    done = bash(project_copy, script, "--nonsense", "1", DRY_RUN="1")
    assert done.returncode == 125 and done.stderr.startswith("--nonsense is not found")
    for args, word in ((["-n", "2"], "--rdzv"), (["-n", "0"], "-n"), (["--only_pretraining", "yes"], "True or False"),
                       (["--image_size", "x"], "--image_size"), (["--rdzv_wait", "9"], "-n 2"),
                       (["-g"], "needs a value")):  # fmt: skip
        done = bash(project_copy, script, *args, DRY_RUN="1")
        assert done.returncode == 2 and word in done.stderr and len(done.stderr.splitlines()) == 1
    done = bash(project_copy, "shell_scrips/cifar-10-LT.sh", "--nodes", "2", DRY_RUN="1")
    assert (done.returncode, done.stderr) == (2, "error: --nodes is of image files, not of cifar10\n")


def python(project, *words: str, **env: str) -> subprocess.CompletedProcess:
    command = [warm.python(), *map(str, words)]
    return subprocess.run(command, cwd=project, env=environment(**env), capture_output=True, text=True, timeout=400)


def make_lists(project, data: str, tree, scale: str) -> None:
    done = python(project, "-m", "split.make_splits", "--dataset", data, "--data", tree, "--scale", scale)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def project(project_copy, tmp_path_factory):
    """A project of its own, with a tree and lists of ImageNet-100 in small."""
    target = tmp_path_factory.mktemp("recipes") / "project"
    shutil.copytree(project_copy, target)
    make_tree(target / "tree", names(100), [130, 70, 55, 50] + [42] * 12 + [24] * 24 + [14] * 60)
    make_lists(target, "imagenet-100", "tree", "0.1")
    return target


@pytest.mark.slow
def test_the_published_recipe_for_real_on_two_processes(project):
    """Pre-train, probe, few-shot, tables, and evaluation only, on 1,221 long-tailed images."""
    port = str(free_port())
    args = ["--data", "tree", "-g", "2", "-p", port, "--split", "imageNet_100_LT_train", *SDCLR, *TINY]
    done = bash(project, "shell_scrips/imagenet-100-res50-LT.sh", *args)
    assert done.returncode == 0, done.stderr
    (experiment,) = (project / "checkpoints_imagenet").iterdir()
    name = "imageNet_100_LT_train_res10_scheduling_sgd_lr0.5_temp0.3_epoch1_batch60_pruneP0.3DualBN_px32"
    assert experiment.name == name
    assert {p.name for p in experiment.iterdir()} >= {"model.pt", "model_1.pt", "mask_1.pt", "log.txt", "bash_log.txt"}
    launched = (experiment / "bash_log.txt").read_text().splitlines()
    assert [shlex.split(line)[5] for line in launched] == ["train_simCLR.py", "train_imagenet.py", "train_imagenet.py"]
    results = [json.loads(p.read_text()) for p in (project / "checkpoints_imagenet_tune").glob("*/results.json")]
    by_protocol = {r["protocol"]: r for r in results}
    assert by_protocol.keys() == {"sdclr-linear", "sdclr-fewshot"}
    assert all(r["images"] == 200 and r["lists"]["group"]["source"] == "generated" for r in results)
    # Of the scaled counts 1 class has more than 100 images, 15 have 20 to 100.
    assert sum(n > 100 for n in results[0]["class_counts"]) == 1

    for probe, protocol in (([], "sdclr-linear"), (["--fewShot"], "sdclr-fewshot")):
        table = ["exp_analyse.py", "--dataset", "imagenet100", "--LT", "--prune", *probe]
        printed = python(project, *table)
        assert printed.returncode == 0, printed.stderr
        everything = by_protocol[protocol]["groups"]["All"]
        assert re.search(rf"^SDCLR +1 .* {everything:.2f}$", printed.stdout, re.M), printed.stdout
        published = {"sdclr-linear": "70.10.*66.48", "sdclr-fewshot": "48.31.*42.38"}[protocol]
        assert re.search(rf"^SDCLR \(published\) +1 +{published}$", printed.stdout, re.M)

    args[args.index("-g") + 1] = "1"  # the number of processes changes no result
    again = bash(project, "shell_scrips/imagenet-100-res50-LT.sh", *args, *EVALUATE)
    assert again.returncode == 0, again.stderr
    assert "train_simCLR.py" not in again.stdout and "Train Epoch" not in again.stdout
    assert python(project, *table).stdout == printed.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "folder", "classes", "split"),
    [
        ("imagenet", "checkpoints_imagenet", 1000, "imageNet_LT_exp_train"),
        ("places", "checkpoints_places", 365, "Places_BL_train"),
    ],
)
def test_the_other_recipes_for_real(project, tmp_path, data, folder, classes, split):
    """Two or three images of a class are enough for lists of a thousandth of the published counts."""
    make_tree(tmp_path / "tree", names(classes), [8] * 5 + [4] * 20 + [2] * (classes - 25), val=1, size=24)
    make_lists(project, data, tmp_path / "tree", "0.001")
    args = ["--data", tmp_path / "tree", "--split", split, *TINY, "--root", tmp_path, "--pretrain_batch_size", "200"]
    done = bash(project, f"shell_scrips/{data}-res50-LT.sh", *args)
    assert done.returncode == 0, done.stderr
    results = [json.loads(p.read_text()) for p in (tmp_path / f"{folder}_tune").glob("*/results.json")]
    assert sorted(r["protocol"] for r in results) == ["sdclr-fewshot", "sdclr-linear"]
    assert all(r["images"] == classes and r["dataset"] == data for r in results)
    kind = ["--LT"] if "LT" in split.split("_")[1] else []
    figure = tmp_path / "figures" / "groups.png"
    printed = python(project, "exp_analyse.py", "--dataset", data, *kind, "--root", tmp_path, "--plot", figure.parent)
    assert printed.returncode == 0, printed.stderr
    # No class has more than 100 images here: no number, no bar.
    assert re.search(r"^SimCLR +1 +- ", printed.stdout, re.M) and figure.stat().st_size > 10_000


@pytest.mark.slow
def test_evaluation_is_the_same_for_any_number_of_processes(project, tmp_path):
    """200 images in batches of 17: one process, three of the old launcher's, which is torchrun, two started by hand."""
    torch.manual_seed(0)
    model = build_classifier("res10", 100, "imagenet")
    with torch.no_grad():
        model.fc.weight.normal_(std=1.0)  # so that the classes guessed differ
    options = ["--dataset", "imagenet-100", "--data", "tree", "--model", "res10", "--image_size", "32", "--test_only",
               "--test-batch-size", "17", "--num_workers", "0", "--groupSplit", "imageNet_100_LT_train"]  # fmt: skip
    scores = []
    launchers = {
        "one": [],
        "three": ["-m", "torch.distributed.launch", "--nproc_per_node=3", f"--master_port={free_port()}"],
    }
    port = free_port()
    for name in (*launchers, "hand"):
        folder = tmp_path / name / "x"
        folder.mkdir(parents=True)
        torch.save({"epoch": 1, "state_dict": model.state_dict(), "best_prec1": 1.0}, folder / "best_model.pt")
        words = ["train_imagenet.py", "x", "--save-dir", str(tmp_path / name), *options]
        if name == "hand":
            words += ["--world_size", "2", "--port", str(port), "--local_rank"]
            other = subprocess.Popen([warm.python(), *words, "1"], cwd=project, stdout=subprocess.DEVNULL)
            done = python(project, *words, "0")
            assert other.wait(60) == 0
        else:
            done = python(project, *launchers[name], *words)
        assert done.returncode == 0, done.stderr
        scores.append(json.loads((folder / "results.json").read_text()))
    assert scores[0]["images"] == 200 and len(set(scores[0]["per_class"])) > 1
    for other in scores[1:]:
        assert all(other[key] == scores[0][key] for key in ("images", "top1", "top5", "per_class", "groups"))


@pytest.mark.slow
def test_a_bad_image_in_one_of_two_processes_is_one_line(project, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(project / "tree", tree)
    image = (project / "split/imagenet-100/imageNet_100_LT_train.txt").read_text().split()[0]
    (tree / image).write_bytes(b"no image")
    args = ["--data", str(tree), "-g", "2", "-p", str(free_port()), *TINY, "--root", str(tmp_path)]
    done = bash(project, "shell_scrips/imagenet-100-res50-LT.sh", *args)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if "lost the other processes" not in line]
    assert len(errors) == 1 and image in errors[0] and "line 1 of" in errors[0], done.stderr + done.stdout
    assert "Traceback" not in done.stderr and "train_imagenet.py" not in done.stdout


def test_a_port_in_use_is_one_line(project):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        base = ["--data", "tree", "-g", "2", "-p", port, *TINY, "--root", "port"]
        done = bash(project, "shell_scrips/imagenet-100-res50-LT.sh", *base)
        assert done.returncode == 2 and port in done.stderr and len(done.stderr.splitlines()) == 1
        words = ["train_imagenet.py", "x", "--dataset", "imagenet-100", "--data", "tree", "--save-dir", "port"]
        done = python(project, *words, "--world_size", "2", "--local_rank", "0", "--port", port)
        assert done.returncode == 2 and port in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_two_machines_meet(project, tmp_path):
    """The recipe on two 'machines' of one process each, which find each other through --rdzv."""
    args = ["--data", "tree", "-n", "2", "--rdzv", f"localhost:{free_port()}", *TINY, "--root", tmp_path]
    args += ["--only_pretraining", "True", "--split", "imageNet_100_sub_balance_train_0.01"]
    command = ["bash", str(project / "cmds/shell_scrips/imagenet-100-res50-LT.sh"), *map(str, args)]
    env = environment()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    both = [subprocess.Popen(command, cwd=project, env=env, **pipes) for _ in range(2)]
    printed = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert sum("2 process(es) on cpu" in text for text in printed) == 1
    assert len(list((tmp_path / "checkpoints_imagenet").glob("*/model_1.pt"))) == 1


def test_groups_of_the_authors_results_come_from_their_lists_alone(project, tmp_path):
    """A log of the authors: its validation lines are bare, too; generated lists here must not group its classes."""
    for data, base, classes in (
        ("imagenet100", "imageNet_100_LT_train", 100), ("imagenet", "imageNet_LT_exp_train", 1000),
    ):  # fmt: skip
        name = f"{base}_res50_scheduling_sgd_lr0.5_temp0.2_epoch500_batch256{LINEAR}" + "_s1" * (classes == 100)
        folder = tmp_path / "checkpoints_imagenet_tune" / name
        folder.mkdir(parents=True)
        lines = [f"acc per class is {'0.1 ' * classes}", f"acc per class is {'0.25 ' * classes}",
                 "test: Average loss: 1.0, Accuracy: top1 (25.00%) top5 (50.00%)",
                 "On the best_model, test top5 tacc is 50.0"]  # fmt: skip
        (folder / "log.txt").write_text("\n".join(lines) + "\n")
        printed = python(project, "exp_analyse.py", "--dataset", data, "--LT", "--root", tmp_path)
        if classes == 100:  # the published counts are known
            assert re.search(r"^SimCLR +1 +25.00 +25.00 +25.00 +0.00 +25.00$", printed.stdout, re.M), printed.stderr
        else:
            assert printed.returncode == 2 and "split.fetch_published --dataset imagenet" in printed.stderr
    own = tmp_path / "checkpoints_imagenet_tune" / f"imageNet_100_LT_train_mine_res50_x_epoch1_batch2{LINEAR}"
    own.mkdir()
    printed = python(project, "exp_analyse.py", "--dataset", "imagenet100", "--LT", "--root", tmp_path, "--epochs", "1")
    assert "missing: SimCLR" in printed.stdout  # a list of another name is not this one


def test_a_lost_process_is_said(project, tmp_path):
    script = tmp_path / "lost.py"
    script.write_text(
        "import os, sys, torch\nsys.path.insert(0, os.getcwd())\n"
        "from run.world import *\nfrom utils.distributed import *\nfrom utils.errors import run_main\n"
        "def main():\n    launched_by_hand(int(sys.argv[1]), 2, int(sys.argv[2]))\n"
        "    join(world := world_from_environment())\n    if world.rank: os._exit(9)\n    wait_for_all()\n"
        "run_main(main)\n"
    )
    port = str(free_port())
    other = subprocess.Popen([warm.python(), str(script), "1", port], cwd=project)
    done = python(project, script, "0", port)
    assert other.wait(60) == 9 and done.returncode == 2
    assert re.fullmatch(r"error \[rank 0\]: lost the other processes: .+\n", done.stderr), done.stderr
