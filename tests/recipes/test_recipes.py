"""The shell recipes: published commands and names with DRY_RUN, then real runs at a tiny size in a copy."""

import contextlib
import io
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import recipes.__main__
from recipes.running import logged
from tests.conftest import quick_first
from tests.warm import environment, python

CIFAR10 = "res18_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b512_twolayerProj_epoch2000_{}_newNT_s10"
CIFAR100 = "res18_cifar100_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b512_o128_twolayerProj_epoch2000_{}_newNT_s10"
PRUNED = ["--prune", "True", "--prune_percent", "0.9", "--prune_dual_bn", "True"]
OURS = {"--data", "--download", "--print_freq", "--resume"}  # no setting of the published procedure
EVALUATE = ["--only_finetuning", "True", "--test_only", "True"]


def bash(folder, script: str, *args: str, **env: str) -> subprocess.CompletedProcess:
    command = ["bash", str(folder / "cmds" / script), *map(str, args)]
    return subprocess.run(command, env=environment(**env), capture_output=True, text=True, timeout=400, cwd=folder)


def dry(folder, script: str, *args: str) -> list[list[str]]:
    """The commands that a script prints under DRY_RUN, as words after the interpreter.

    What the script hands to Python, Python gets here, without being started, which takes most of the time.
    """
    done = bash(folder, script, *args, PYTHON=str(Path(__file__).parent / "hand_over.sh"))
    assert done.returncode == 0, done.stderr
    kind, module, *words = done.stdout.split("\0")[:-1]
    assert (kind, module) == ("-m", "recipes")
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        patch.setenv("DRY_RUN", "1")
        patch.setattr(sys, "argv", [module, *words])
        recipes.__main__.main()
    return [shlex.split(line)[1:] for line in printed.getvalue().splitlines()]


def options(words: list[str]) -> dict[str, str]:
    pairs = words[2:]
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


@pytest.mark.parametrize("n", range(1, 6))
@pytest.mark.parametrize("kind", ["D_b", "D_i"])
@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("evaluate", [False, True])
@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_published_cifar_commands(project_copy, n, kind, pruned, evaluate, data):
    prefix = "" if data == "cifar10" else "cifar100_"
    split = f"{prefix}split{n}_{kind}"
    port = [] if data == "cifar10" else ["-p", "4867"]
    script = "shell_scrips/cifar-10-LT.sh" if data == "cifar10" else "shell_scrips/cifar-100-LT.sh"
    args = ["-g", "1", *port, "-w", "8", "--split", split, *(PRUNED if pruned else []), *(EVALUATE if evaluate else [])]
    commands = dry(project_copy, script, *args)
    name = (CIFAR10 if data == "cifar10" else CIFAR100).format(split) + ("_pruneP0.9DualBN" if pruned else "")
    folder = "checkpoints" if data == "cifar10" else "checkpoints_cifar100"
    few = f"{prefix}split{n}_S_b"
    linear_name = f"{name}__f2layer4_d10d20_wd0_lr30_freezeBN"
    few_name = f"{name}__{few}_f2layer4_d40d60_wd0_lr30_freezeBN"
    expected = [("train_cifar.py", linear_name), ("train_cifar.py", few_name)]
    if not evaluate:
        expected.insert(0, ("train_simCLR.py", name))
    assert [(c[0], c[1]) for c in commands] == expected

    *pretrain, linear, few_shot = commands
    if pretrain:
        o = options(pretrain[0])
        wanted = {
            "--save-dir": folder, "--dataset": "cifar" if data == "cifar10" else "cifar100", "--model": "res18",
            "--trainSplit": f"{data}_imbSub_with_subsets/{split}.npy", "--epochs": "2000", "--batch_size": "512",
            "--optimizer": "sgd", "--lr": "0.5", "--scheduler": "cosine", "--temperature": "0.2",
            "--output_ch": "128", "--seed": "10", "--num_workers": "8",
        }  # fmt: skip
        if pruned:
            wanted |= {"--prune": "True", "--prune_percent": "0.9", "--prune_dual_bn": "True"}
            wanted |= {"--random_prune_percent": "0"}
        assert {k: v for k, v in o.items() if k not in OURS} == wanted
    for words, train, epochs, steps, freq in (
        (linear, f"{data}/{prefix}trainIdxList.npy", "30", "10,20", "1"),
        (few_shot, f"{data}_imbSub_with_subsets/{few}.npy", "100", "40,60", "5"),
    ):
        o = options(words)
        wanted = {
            "--save-dir": f"{folder}_tune", "--dataset": data, "--trainSplit": train, "--epochs": epochs,
            "--valiSplit": f"{data}/{prefix}valIdxList.npy", "--decreasing_lr": steps, "--lr": "30", "--wd": "0",
            "--batch-size": "128", "--test_freq": freq, "--fixto": "layer4", "--fixbn": "True", "--seed": "1",
            "--checkpoint": f"{folder}/{name}/model_2000.pt", "--cvt_state_dict": "True", "--model": "res18",
            "--num_workers": "8",
        }  # fmt: skip
        wanted |= ({"--bnNameCnt": "0"} if pruned else {}) | ({"--test_only": "True"} if evaluate else {})
        assert {k: v for k, v in o.items() if k not in OURS} == wanted


def test_other_options_reach_the_commands_and_the_names(project_copy):
    commands = dry(
        project_copy, "shell_scrips/cifar-100-LT.sh", "-e", "10", "-s", "cifar100_split2_D_i", "-g", "2", "-p", "4999",
        "-w", "3", "--lr", "0.1", "--batch_size", "64", "--temp", "0.5", "--prune", "True", "--prune_percent", "0.7",
        "--random_prune_percent", "0.2", "--few_shot_lr", "10", "--few_shot_epochs", "50", "--data", "DIR",
    )  # fmt: skip
    name = (
        "res18_cifar100_scheduling_sgd_temp0.5_wd1e-4_lr0.1_b64_o128_twolayerProj_epoch10_cifar100_split2_D_i_newNT_s10"
    )
    name += "_pruneP0.7RandomP0.2"
    assert commands[0][:5] == ["-m", "recipes.launch", "--nproc_per_node=2", "--master_port=4999", "train_simCLR.py"]
    pretrain = options(commands[0][4:])
    assert commands[0][5] == name
    assert (pretrain["--lr"], pretrain["--batch_size"], pretrain["--temperature"]) == ("0.1", "64", "0.5")
    assert pretrain["--prune_dual_bn"] == "False" and pretrain["--random_prune_percent"] == "0.2"
    few_shot = options(commands[2])
    assert commands[2][1] == f"{name}__cifar100_split2_S_b_f2layer4_d40d60_wd0_lr10_freezeBN"
    assert (few_shot["--lr"], few_shot["--epochs"], few_shot["--data"]) == ("10", "50", "DIR")
    assert "--bnNameCnt" not in few_shot
    only = dry(project_copy, "shell_scrips/cifar-10-LT.sh", "--few_shot_only", "True")
    assert [c[1].split("__")[1] for c in only] == ["split1_S_b_f2layer4_d40d60_wd0_lr30_freezeBN"]


@pytest.mark.parametrize("paper", ["sdclr", "bcl"])
@pytest.mark.parametrize(
    ("recipe", "augment"), [("cifar-10", "pillow"), ("digits", "batched"), ("places-res50", "opencv")]
)
def test_how_to_compute_reaches_every_step_where_it_is_not_the_default(project_copy, recipe, augment, paper):
    """--compile is for pre-training alone; names of experiments stay."""
    script, more = f"shell_scrips/{recipe}-LT.sh", ["--data", "DIR", "--paper", paper]
    usual = dry(project_copy, script, *more)
    same = dry(project_copy, script, *more, "--precision", "auto", "--augment", "auto", "--compile", "False")
    assert same == usual and len(usual) >= 2
    # Its output is the same: DRY_RUN=1 is there to print the commands.
    quiet = dry(project_copy, script, *more, "--quiet", "True")
    assert [(words[:2], options(words)) for words in quiet] == [
        (words[:2], options(words) | {"--quiet": "True"}) for words in usual
    ]
    assert dry(project_copy, script, *more, "--quiet", "False") == usual
    pretraining = {"--compile": "True", "--monitor": "knn", "--monitor_freq": "7", "--tensorboard": "False"}
    new = {"--precision": "fp32", "--augment": augment, **pretraining}
    assert not new.keys() & {word for words in usual for word in words}
    changed = dry(project_copy, script, *more, *(word for pair in new.items() for word in pair))
    for words, before in zip(changed, usual, strict=True):
        assert words[:2] == before[:2]
        wanted = new if words[0] == "train_simCLR.py" else {k: v for k, v in new.items() if k not in pretraining}
        assert options(words) == options(before) | wanted
    done = bash(project_copy, script, "--compile", "maybe", DRY_RUN="1")
    assert done.returncode == 2 and done.stderr.splitlines() == ["error: --compile takes True or False, not 'maybe'"]


@pytest.mark.parametrize("script", ["reproduce.sh", "shell_scrips/digits-LT.sh", "shell_scrips/bcl-cifar-100-LT.sh"])
def test_help_is_the_comment_at_the_top(project_copy, script):
    """From any folder; no line of code is shown."""
    path = os.path.relpath(project_copy / "cmds" / script, project_copy.parent)
    done = subprocess.run(["bash", path, "--help"], cwd=project_copy.parent, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = (project_copy / "cmds" / script).read_text().splitlines()
    comment = [line[2:] for line in itertools.takewhile(lambda line: line.startswith("#"), lines[1:])]
    assert done.stdout.splitlines() == [*comment, "", "Options: docs/recipes.md"]


@pytest.mark.parametrize("recipe", quick_first(["cifar-10", "cifar-100", "digits", "fashion-mnist"]))
def test_option_mistakes(project_copy, recipe):
    script = f"shell_scrips/{recipe}-LT.sh"
    done = bash(project_copy, script, "--nonsense", "1", DRY_RUN="1")
    assert done.returncode == 125 and done.stderr.startswith("--nonsense is not found")
    for args, word in ((["-e"], "needs a value"), (["--prune", "maybe"], "True or False"), (["--method", "x"], "x"),
                       (["-g", "abc"], "abc"), (["-g", "0"], "-g"), (["--root", ""], "--root"),
                       (["--prune_dual_bn", "True"], "--prune True")):  # fmt: skip
        done = bash(project_copy, script, *args, DRY_RUN="1")
        assert done.returncode == 2 and word in done.stderr and len(done.stderr.splitlines()) == 1


def test_dry_run_writes_nothing_and_a_failing_step_stops_with_its_status(project_copy):
    before = sorted(project_copy.rglob("*"))
    dry(project_copy, "shell_scrips/digits-LT.sh", "--root", "nowhere")
    assert sorted(project_copy.rglob("*")) == before
    done = bash(project_copy, "shell_scrips/digits-LT.sh", "--temp", "-1", "--root", "failed")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["error: temperature must be positive, not -1.0"]
    assert "train_cifar.py" not in done.stdout
    assert not (project_copy / "failed").exists()


def test_a_refused_step_leaves_the_folders_of_others(tmp_path):
    """Of recipes that run at once below one folder, which the first of them has made."""
    folder, other = tmp_path / "root/checkpoints/A", tmp_path / "root/checkpoints/B"
    with pytest.raises(SystemExit), logged("first", folder):
        other.mkdir()
        (other / "model.pt").touch()
        raise SystemExit(2)
    assert (other / "model.pt").exists() and not folder.exists()
    with pytest.raises(SystemExit), logged("first", folder):
        shutil.rmtree(folder)
        raise SystemExit(2)


def test_the_commands_of_a_run_stay_where_the_run_has_left_something(tmp_path):
    other, folder = tmp_path / "other", tmp_path / "root/list/run"
    other.mkdir()
    (other / "log.txt").touch()
    for path in (other, folder):
        with pytest.raises(SystemExit), logged("first 1", path):
            raise SystemExit(2)
    assert (other / "bash_log.txt").read_text() == "first 1\n" and not (tmp_path / "root").exists()
    with logged("first 2", folder):
        (folder / "log.txt").touch()
    with pytest.raises(SystemExit), logged("second", folder):
        raise SystemExit(2)
    assert (folder / "bash_log.txt").read_text() == "first 2\nsecond\n"


TINY_CIFAR = """

def _tiny(dataset, root, train, download):
    rng = np.random.RandomState(train)
    labels = np.arange(dataset.train_images if train else 10 * dataset.classes // 2) % dataset.classes
    colours = np.random.RandomState(9).randint(0, 195, (dataset.classes, 3))
    return (rng.randint(0, 60, (len(labels), 32, 32, 3)) + colours[labels][:, None, None]).astype(np.uint8), labels


CIFAR10 = MemorySet("cifar10", 10, 400, 32, True, 4, 12, 2, 6, "", _tiny, published_name="CIFAR10")
CIFAR100 = MemorySet("cifar100", 100, 600, 32, True, 1, 4, 1, 5, "cifar100_", _tiny, published_name="CIFAR100")
"""


def test_the_published_recipe_for_real_on_a_tiny_cifar(project_copy, tmp_path):
    """Pre-train, probe, few-shot, table, and evaluation only: the published commands, on 400 images."""
    project = tmp_path / "project"
    shutil.copytree(project_copy, project)
    with (project / "data" / "sets" / "cifar.py").open("a") as file:
        file.write(TINY_CIFAR)
    args = ["-g", "1", "-w", "0", "--split", "split1_D_i", *PRUNED, "-e", "1", "--few_shot_epochs", "5"]
    done = bash(project, "shell_scrips/cifar-10-LT.sh", *args, "--model", "res20_s")
    assert done.returncode == 0, done.stderr
    assert "generated 17 lists of cifar10" in done.stdout
    (experiment,) = (project / "checkpoints").iterdir()
    assert experiment.name == (
        "res20_s_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b512_twolayerProj_epoch1_split1_D_i_newNT_s10_pruneP0.9DualBN"
    )
    assert {p.name for p in experiment.iterdir()} >= {"model.pt", "model_1.pt", "mask_1.pt", "log.txt", "bash_log.txt"}
    launched = (experiment / "bash_log.txt").read_text().splitlines()
    echoed = [line for line in done.stdout.splitlines() if line.startswith(python())]
    assert launched == list(dict.fromkeys(echoed))  # the scripts note their command in their logs, too
    assert [shlex.split(line)[1] for line in launched] == ["train_simCLR.py", "train_cifar.py", "train_cifar.py"]
    probes = sorted((project / "checkpoints_tune").iterdir())
    results = [json.loads((p / "results.json").read_text()) for p in probes]
    assert sorted(r["protocol"] for r in results) == ["sdclr-fewshot", "sdclr-linear"]
    (linear,) = (r for r in results if r["protocol"] == "sdclr-linear")
    # Classes differ by colour, which even this network tells apart better than chance.
    assert linear["top1"] > 20 and linear["departs"] == {}

    table = [python(), "exp_analyse.py", "--dataset", "cifar10", "--LT", "--prune"]
    first = subprocess.run(table, cwd=project, capture_output=True, text=True, timeout=120)
    assert first.returncode == 0, first.stderr
    assert re.search(rf"^SDCLR +1 .* {linear['groups']['All']:.2f}$", first.stdout, re.M), first.stdout
    assert re.search(r"^SDCLR \(published\) +5 +86\.44 ± 3\.12 .* 82\.00 ± 0\.68$", first.stdout, re.M)
    assert first.stdout.count("missing: SDCLR, split") == 4

    again = bash(project, "shell_scrips/cifar-10-LT.sh", *args, "--model", "res20_s", *EVALUATE)
    assert again.returncode == 0, again.stderr
    assert "train_simCLR.py" not in again.stdout and "Train Epoch" not in again.stdout
    second = subprocess.run(table, cwd=project, capture_output=True, text=True, timeout=120)
    assert second.stdout == first.stdout


@pytest.mark.slow
def test_the_published_balanced_recipe_for_real_on_a_tiny_cifar100(project_copy, tmp_path):
    """SimCLR on D_b: the other data set, the other kind of list, the other method."""
    project = tmp_path / "project"
    shutil.copytree(project_copy, project)
    with (project / "data" / "sets" / "cifar.py").open("a") as file:
        file.write(TINY_CIFAR)
    args = ["-g", "1", "-p", "4867", "-w", "0", "--split", "cifar100_split2_D_b", "-e", "1", "--few_shot_epochs", "5"]
    done = bash(project, "shell_scrips/cifar-100-LT.sh", *args, "--model", "res20_s")
    assert done.returncode == 0, done.stderr
    (experiment,) = (project / "checkpoints_cifar100").iterdir()
    assert experiment.name.endswith("_b512_o128_twolayerProj_epoch1_cifar100_split2_D_b_newNT_s10")
    results = [json.loads(file.read_text()) for file in (project / "checkpoints_cifar100_tune").glob("*/results.json")]
    assert sorted(r["protocol"] for r in results) == ["sdclr-fewshot", "sdclr-linear"]
    for result in results:
        # Grouped by the long-tailed list of the same split, as published, though pre-trained on the balanced one.
        assert result["lists"]["group"]["path"] == "cifar100_split2_D_i.npy"
        assert max(result["class_counts"]) == 5 and min(result["class_counts"]) == 1
    for probe in ([], ["--fewShot"]):
        table = [python(), "exp_analyse.py", "--dataset", "cifar100", *probe]
        printed = subprocess.run(table, cwd=project, capture_output=True, text=True, timeout=120)
        (result,) = (r for r in results if r["protocol"] == ("sdclr-fewshot" if probe else "sdclr-linear"))
        assert printed.returncode == 0 and "published" not in printed.stdout
        assert re.search(rf"^SimCLR +1 .* {result['groups']['All']:.2f}$", printed.stdout, re.M), printed.stdout


@pytest.mark.slow
def test_reproduce_goes_on_where_it_stopped_and_prints_the_tables(project_copy, tmp_path):
    args = ["digits", "simclr", "--", "-e", "1", "-w", "0", "--few_shot_epochs", "2", "--linear_epochs", "2"]
    args += ["--root", str(tmp_path)]
    done = bash(project_copy, "reproduce.sh", *args, SPLITS="2", TAIL="1")
    assert done.returncode == 0, done.stderr
    assert "digits, digits_split2_D_i: 405 images" in done.stdout and "\nFew against Many\n" in done.stdout
    assert {"tail.png", "loss_sheet.png"} < {p.name for p in (tmp_path / "tail_digits" / "simclr").iterdir()}
    tables = done.stdout[done.stdout.index("digits, pre-trained on D_i, sdclr-linear") :]
    assert re.search(r"^SimCLR +1 +\d+\.\d\d ", tables, re.M)
    assert "digits, pre-trained on D_i, sdclr-fewshot" in tables
    assert (tmp_path / "figures_digits" / "groups.png").stat().st_size > 10_000
    assert done.stdout.endswith(f"\nreport: {tmp_path}/report_digits/index.html\n")
    again = bash(project_copy, "reproduce.sh", *args, SPLITS="2")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("(finished)") == 3 and "Loss" not in again.stdout
    assert again.stdout[again.stdout.index("digits, pre-trained on D_i, sdclr-linear") :] == tables
    check_quiet(project_copy, tmp_path, args, tables)
    for bad in ([], ["mnist"], ["digits", "nonsense"], ["digits", "simclr", "-g", "2"]):
        done = bash(project_copy, "reproduce.sh", *bad, DRY_RUN="1")
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def check_quiet(project, root, args: list[str], tables: str) -> None:
    """A line for each step, the tables, the tail, and where everything is; the commands are in bash_log.txt."""
    (experiment,) = (root / "checkpoints_digits").iterdir()
    before = (experiment / "bash_log.txt").read_text().splitlines()
    done = bash(project, "reproduce.sh", *args, "--quiet", "True", SPLITS="2", TAIL="1")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "== digits, split 2, simclr"
    assert re.match(r"pre-trained \S+: 1 epoch, finished before, loss .*, log in \S+/log.txt$", lines[1])
    for line, protocol in zip(lines[2:4], ("sdclr-linear", "sdclr-fewshot"), strict=True):
        assert re.match(rf"probed \S+ \({protocol}, finished before\): Many .*, log in \S+/log.txt$", line)
    assert lines[4:6] == ["== tail of digits, simclr", "Few against Many"]
    told = [line for line in tables.splitlines() if not re.match("figure|table|report", line)]
    start = lines.index(told[0])
    assert lines[start - 1] == "" and lines[start : start + len(told)] == told and start <= 14
    assert lines[start + len(told) :] == [
        "",
        f"logs: log.txt in each folder of {root}/checkpoints_digits and {root}/checkpoints_digits_tune",
        f"tables: {root}/tables_digits; figures: {root}/figures_digits; tail: {root}/tail_digits",
        f"report: {root}/report_digits/index.html",
    ]
    page = (root / "report_digits" / "index.html").read_text()
    assert page.count("<img ") >= 3 and "python train_simCLR.py" in page and "not recorded" not in page
    assert (root / "tables_digits" / "tables.md").is_file()
    launched = (experiment / "bash_log.txt").read_text().splitlines()[len(before) :]
    assert launched == [f"{line} --quiet True" for line in before[-3:]]


@pytest.mark.parametrize("terminal", [False, True])
def test_make_demo_is_quiet_where_its_output_is_no_terminal(project_copy, tmp_path, terminal):
    shutil.copy(project_copy / "Makefile", tmp_path)
    (tmp_path / "cmds").mkdir()
    (tmp_path / "cmds" / "reproduce.sh").write_text('#!/bin/sh\necho "$SPLITS $TAIL $*"\n')
    (tmp_path / "cmds" / "reproduce.sh").chmod(0o755)
    command, wanted = ["make", "-o", ".venv/installed", "demo"], "1 1 digits simclr sdclr -- --root demo"
    # Under `make test` this make would be one within another, which prints the folders that it enters.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    if not terminal:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == (f"{wanted} --quiet True\n", "")
        return
    ours, theirs = os.openpty()
    try:
        assert subprocess.run(command, cwd=tmp_path, env=environment, stdout=theirs).returncode == 0
        assert os.read(ours, 4096).decode().strip() == wanted
    finally:
        os.close(ours)
        os.close(theirs)


def test_make_demo_runs_the_recipe(project_copy):
    done = subprocess.run(["make", "-n", "demo", "SPLITS=1 2"], cwd=project_copy, capture_output=True, text=True)
    assert 'SPLITS="1 2" TAIL=1 cmds/reproduce.sh digits simclr sdclr -- --root demo' in done.stdout


def called_from(folder, *command: str, **env: str) -> subprocess.CompletedProcess:
    variables = environment(DRY_RUN="1", **env)
    return subprocess.run(command, env=variables, capture_output=True, text=True, cwd=folder, timeout=60)


def test_relative_paths_are_of_the_callers_folder(project_copy, tmp_path):
    """And what the script has by itself is of the project's."""
    script, there = project_copy / "cmds/shell_scrips/cifar-10-LT.sh", tmp_path / "a folder"
    there.mkdir()
    done = called_from(there, "bash", str(script), "--data", "images", "--root", "../out", "-e", "3")
    assert done.returncode == 0, done.stderr
    for words in (options(shlex.split(line)[1:]) for line in done.stdout.splitlines()):
        assert Path(words["--data"]) == there / "images"
        assert os.path.normpath(words["--save-dir"]).startswith(str(tmp_path / "out" / "checkpoints"))
    plain = options(shlex.split(called_from(there, "bash", str(script)).stdout.splitlines()[0])[1:])
    assert (plain["--data"], plain["--save-dir"]) == ("datasets", "checkpoints")
    words = ["cifar10", "simclr", "--", "--data", "images"]
    done = called_from(there, "bash", str(project_copy / "cmds/reproduce.sh"), *words, SPLITS="1")
    assert done.returncode == 0 and f"--data '{there}/images'" in done.stdout, done.stderr


def test_cdpath_leads_nowhere_else(project_copy, tmp_path):
    (tmp_path / "cmds/shell_scrips").mkdir(parents=True)
    script = "cmds/shell_scrips/digits-LT.sh"
    done = called_from(project_copy, "bash", script, CDPATH=str(tmp_path))
    plain = called_from(project_copy, "bash", script)
    assert (done.returncode, done.stdout, done.stderr) == (0, plain.stdout, "") and plain.stdout


def test_a_safe_path_of_pythons_is_not_theirs(project_copy):
    """With PYTHONSAFEPATH, which some sites set for all, Python finds no package of the folder it is in."""
    here = {"PYTHON": sys.executable, "PYTHONSAFEPATH": "1"}
    done = called_from(project_copy, "bash", "cmds/shell_scrips/digits-LT.sh", **here)
    assert (done.returncode, done.stderr) == (0, "") and "train_simCLR.py" in done.stdout


@pytest.mark.skipif(not shutil.which("dash"), reason="no shell here that is not bash")
def test_another_shell_is_one_line(project_copy):
    scripts = [*(project_copy / "cmds/shell_scrips").glob("*-LT.sh"), project_copy / "cmds/reproduce.sh"]
    assert len(scripts) == 13
    for script in scripts:
        done = called_from(project_copy, "dash", str(script), "digits")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"error: this is a script for bash, run it by: bash {script}\n"
