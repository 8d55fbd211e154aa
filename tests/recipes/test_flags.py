"""Options of the recipes: what has no effect is refused, what asks for nothing is not; compositions; no torch."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from recipes.flags import parse_recipe
from recipes.reproduce.__main__ import _table
from recipes.reproduce.flags import parse_reproduce
from recipes.steps import commands
from tests.conftest import PROJECT, one_line_error, quick_first
from tests.recipes.test_recipes import PRUNED, bash, options
from utils.errors import InputError

CIFAR100, IMAGENET = "shell_scrips/cifar-100-LT.sh", "shell_scrips/imagenet-res50-LT.sh"
# As their scripts begin.
SCRIPTS = {
    "cifar100": ["--dataset", "cifar100", "--prune_percent", "0.7", "--download", "True", "--"],
    "imagenet": ["--dataset", "imagenet", "--prune_percent", "0.7", "--linear_eval_seed", "1", "--"],
}


def steps(*words: str) -> list[list[str]]:
    """The commands of a recipe, as words after the interpreter."""
    return [command[1:] for command in commands(parse_recipe(words, ""))]


@pytest.mark.parametrize("words", ["--init simclr --method sdclr", "--epochs 5 -e 6"])
def test_two_spellings_of_a_setting_do_not_contradict_each_other(words):
    first, _, second, _ = words.split()
    with pytest.raises(InputError, match=f"{first} and {second} are one setting: give one of them"):
        parse_recipe(["--dataset", "digits", *words.split()], "")
    same = f"{first} 7 {second} 7" if "-e" in words else "--init simclr --method simclr"
    assert parse_recipe(["--dataset", "digits", *same.split()], "")


@pytest.mark.parametrize(
    ("data", "words", "said"),
    [
        ("cifar100", "--paper bcl --linear_epochs 5", "--linear_epochs has no effect with --paper bcl"),
        ("cifar100", "--paper bcl --few_shot_epochs 5", "--few_shot_epochs has no effect with --paper bcl"),
        ("cifar100", "--paper bcl --few_shot_lr 5", "--few_shot_lr has no effect with --paper bcl"),
        ("cifar100", "--method simclr --prune_percent 0.9", "--prune_percent has no effect with --method simclr: "),
        ("cifar100", "--prune_percent 0.9", "--prune_percent has no effect without --method: it is of sdclr, which"),
        ("cifar100", "--prune False --prune_dual_bn True", "--prune_dual_bn has no effect without --method"),
        ("cifar100", "--method sdclr --focal_gamma 2", "--focal_gamma has no effect with --method sdclr: it is of foc"),
        ("cifar100", "--focal_gamma 2", "--focal_gamma has no effect without --method: it is of focal"),
        ("cifar100", "--method focal --rand_k 2", "--rand_k has no effect with --method focal: it is of bcl"),
        ("cifar100", "--method focal --prune True", "--prune True contradicts --method focal"),
        ("cifar100", "--method bcl-d --prune False", "--prune False contradicts --method bcl-d"),
        ("cifar100", "--method untrained -e 5", "-e has no effect with --method untrained"),
        ("cifar100", "--on_bad_image skip", "--on_bad_image is of image files, not of cifar100"),
        ("cifar100", "--few_shot_split x", "--few_shot_split is of image files, not of cifar100"),
        ("cifar100", "-n 2 --rdzv a:1", "-n is of image files, not of cifar100"),
        ("cifar100", "--monitor_freq 3", "--monitor_freq has no effect without --monitor knn"),
        ("cifar100", "--protocols sdclr-linear,ce", "a table of its own: run sdclr-linear in another recipe"),
        ("cifar100", "--stage_decay 0.3", "--stage_decay has no effect without --scheduler two-stage"),
        ("cifar100", "--method dnc --dnc_prune 0.5", "--dnc_prune has no effect without --dnc_base sdclr"),
        ("cifar100", "--method bcl-i+ts --temp 0.5", "--temp has no effect with --method bcl-i+ts: its schedule sets"),
        ("imagenet", "--rdzv a:1", "--rdzv has no effect without -n 2 or more"),
        ("imagenet", "-n 1 --rdzv a:1", "--rdzv has no effect without -n 2 or more"),
        ("imagenet", "--download True", "--download is of images in memory, not of imagenet"),
        ("imagenet", "--paper bcl --linear_eval_seed 5", "--linear_eval_seed has no effect with --paper bcl"),
        ("imagenet", "--data a\nb", "is not text"),
        ("cifar100", "--protocols bcl-full,", "unknown protocol ''"),
        ("cifar100", "--protocols knn9", "unknown protocol 'knn9'"),
        ("cifar100", "--protocols bcl-full,bcl-full", "has one twice"),
        (
            "cifar100",
            "--protocols bcl-full --linear_epochs 3",
            "--linear_epochs has no effect with --protocols bcl-full",
        ),
        ("cifar100", "--protocols bcl-full --few_shot_only True", "leaves nothing of --protocols bcl-full"),
        ("cifar100", "--protocols bcl-full,sdclr-linear --test_only True", "train their classifier each time"),
        ("imagenet", "--protocols bcl-50shot", "imagenet has no lists for protocol bcl-50shot"),
    ],
)
def test_what_has_no_effect_is_refused(data, words, said):
    with pytest.raises(InputError, match=re.escape(said)):
        steps(*SCRIPTS[data], *words.split(" "))


def test_protocols_by_name():
    probes = steps(*SCRIPTS["cifar100"], "--protocols", "bcl-50shot,sdclr-linear", "--few_shot_only", "False")[1:]
    assert [words[1].partition("__")[2] for words in probes] == ["bcl-50shot", "f2layer4_d10d20_wd0_lr30_freezeBN"]


@pytest.mark.parametrize(("words", "temperature"), [(["--prune", "True"], "0.2"), (["--method", "sdclr"], "0.3"),
                                                    (["--prune", "True", "--temp", "0.3"], "0.3")])  # fmt: skip
def test_what_a_paper_sets_for_a_method_by_name_is_not_set_for_its_flag(words, temperature):
    """ImageNet-100: the authors' command gives the temperature besides (METHODS, section 14)."""
    script = "--dataset imagenet-100 --model res50 --lr 0.5 --temp 0.2 --prune_percent 0.3 --"
    words = [*script.split(" "), *words]
    training = steps(*words)[0]
    assert training[training.index("--temperature") + 1] == temperature
    assert training[training.index("--prune_percent") + 1] == "0.3" and f"temp{temperature}" in training[1]


@pytest.mark.parametrize("words", [["--method", "simclr", "--prune_percent", "0.9"], ["--few_shot_split", "x"]])
def test_a_refusal_is_one_line(project_copy, words):
    done = bash(project_copy, CIFAR100, *words, DRY_RUN="1")
    assert one_line_error(done, words[-2]) and done.stdout == ""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("cifar100", "--prune False --prune_dual_bn False --random_prune_percent 0"),
        ("cifar100", "--method simclr --prune False --prune_dual_bn False"),
        ("cifar100", "--nodes 1 --on_bad_image error --compile False --quiet False"),
        ("imagenet", "--download False --nodes 1"),
        ("imagenet", "--paper bcl --split ImageNet_LT_train"),
    ],
)
def test_what_asks_for_nothing_is_accepted(data, words):
    paper = ["--paper", "bcl"] if "bcl" in words else []
    assert steps(*SCRIPTS[data], *words.split()) == steps(*SCRIPTS[data], *paper)


def test_what_a_script_sets_is_never_refused():
    script = ["--dataset", "imagenet", "--linear_epochs", "9", "--prune_percent", "0.3", "--rdzv", "a:1"]
    for method in ("simclr", "bcl-i"):
        assert steps(*script, "--", "--paper", "bcl", "--method", method)
    with pytest.raises(InputError, match="--linear_epochs"):
        steps(*script, "--paper", "bcl")  # without --, all are the user's


def test_what_only_scripts_set_is_not_found(project_copy):
    for option in ("--dataset", "--resizeLower", "--output_ch"):
        done = bash(project_copy, CIFAR100, option, "1", DRY_RUN="1")
        assert done.returncode == 125 and done.stderr.startswith(f"{option} is not found"), done.stderr


def test_an_option_that_is_misspelled_is_answered_with_the_nearest(capsys):
    similar = {"--fewshot_epochs": "; there is --few_shot_epochs", "--metod": "; there is --method", "--zzz": ""}
    for word, answer in similar.items():
        with pytest.raises(SystemExit) as ended:
            parse_recipe(["--dataset", "digits", word, "1"], "")
        assert (ended.value.code, capsys.readouterr().err) == (125, f"{word} is not found{answer}\n")


def test_a_share_of_the_script_is_for_prune_true_alone():
    """`--prune True` is as the authors' script has it; a method by its name as its paper."""
    shares = {
        words: options(steps(*SCRIPTS["cifar100"], *words.split())[0])["--prune_percent"]
        for words in ("--prune True", "--method sdclr", "--method bcl-d", "--method sdclr --prune_percent 0.5")
    }
    assert list(shares.values()) == ["0.7", "0.9", "0.9", "0.5"]


# ---- compositions


def test_a_composition_is_passed_by_the_flags_of_its_lines():
    training, *_ = steps(*SCRIPTS["cifar100"], "--method", "focal+bcl", "--focal_gamma", "3", "--rand_k", "4")
    given = options(training)
    assert {name: given[name] for name in ("--focal", "--focal_gamma", "--bcl", "--rand_k")} == {
        "--focal": "True", "--focal_gamma": "3", "--bcl": "True", "--rand_k": "4"
    }  # fmt: skip
    assert training[1].endswith("_s10_focal3_bclK4") and "--method" not in given
    for name, same in (("simclr+bcl", "bcl-i"), ("sdclr+bcl", "bcl-d")):
        assert steps(*SCRIPTS["cifar100"], "--method", name) == steps(*SCRIPTS["cifar100"], "--method", same)


@pytest.fixture
def project(project_copy, tmp_path):
    """A copy with a wrapper that has no published flag, and a data set that has no script."""
    target = tmp_path / "project"
    ignore = shutil.ignore_patterns("tests", "benchmarks", "results", "docs", ".git")
    shutil.copytree(project_copy, target, ignore=ignore)
    for file, before, after in (
        ("methods/__init__.py", "WRAPPERS = {\n", '    "wide": Line("Wide", "methods.wide:Wide", (Part("_wideR{}", '
         '"rho"), Part("N", "noisy", "False")), {"rho": "0.05", "noisy": "False"}),\n'),
        ("data/sets/registry.py", "DATA_SETS = {\n", '    "tiles": "data.sets.tiles:TILES",\n'),
    ):  # fmt: skip
        text = (target / file).read_text()
        assert text.count(before) == 1
        (target / file).write_text(text.replace(before, before + after))
    (target / "data" / "sets" / "tiles.py").write_text(
        "from data.sets.base import MemorySet\n\n"
        'TILES = MemorySet("tiles", 4, 400, 16, True, 10, 60, 3, 10, "tiles_", None, shots=(20, 10))\n'
    )
    return target


def dry_in(project, script: str, *args: str) -> list[list[str]]:
    """The commands that a script prints, as dry has them, by the code of this project."""
    done = bash(project, script, *args, DRY_RUN="1")
    assert done.returncode == 0, done.stderr
    return [shlex.split(line)[1:] for line in done.stdout.splitlines()]


def test_a_method_without_a_flag_is_one_registry_line(project):
    words = ["--method", "sdclr+wide", "--rho", "0.1", "--noisy", "True", "--prune_percent", "0.6"]
    training, probe, _ = dry_in(project, CIFAR100, *words)
    given = options(training)
    assert {name: given[name] for name in ("--method", "--rho", "--noisy", "--prune_percent", "--prune_dual_bn")} == {
        "--method": "sdclr+wide", "--rho": "0.1", "--noisy": "True", "--prune_percent": "0.6", "--prune_dual_bn": "True"
    }  # fmt: skip
    assert "--prune" not in given
    assert training[1].endswith("_newNT_s10_pruneP0.6DualBN_wideR0.1N") and "--bnNameCnt" in probe
    training, *_ = dry_in(project, IMAGENET, "--method", "simclr+wide", "--weight_decay", "0")
    assert training[1].endswith("_batch256_wd0_wideR0.05") and options(training)["--noisy"] == "False"
    one_line_error(bash(project, CIFAR100, "--noisy", "maybe", DRY_RUN="1"), "--noisy takes True or False")
    one_line_error(bash(project, CIFAR100, "--rho", "1", DRY_RUN="1"), "--rho", "it is of wide")
    words = ["digits", "simclr+wide", "simclr", "--", "--rho", "0.2"]
    done = bash(project, "reproduce.sh", *words, DRY_RUN="1", SPLITS="2")
    assert done.returncode == 0, done.stderr
    commands = [shlex.split(line) for line in done.stdout.splitlines() if "train_simCLR.py" in line]
    assert [options(words[1:]).get("--rho") for words in commands] == ["0.2", None]


def test_a_data_set_without_a_script(project):
    """Its own defaults, and the general ones of its kind; without its images, as nothing runs."""
    env = {**os.environ, "DRY_RUN": "1", "PYTHON": "python"}
    words = ["-m", "recipes", "--dataset", "tiles", "--method", "sdclr", "-e", "3"]
    done = subprocess.run([sys.executable, *words], cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    training, linear, few = [shlex.split(line)[1:] for line in done.stdout.splitlines()]
    assert training[1] == (
        "res18_tiles_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b512_o128_twolayerProj_epoch3_tiles_split1_D_i_newNT_s10"
        "_pruneP0.9DualBN"
    )
    given = options(training)
    assert (given["--dataset"], given["--data"], given["--save-dir"]) == ("tiles", "datasets", "checkpoints_tiles")
    assert given["--trainSplit"] == "tiles_imbSub_with_subsets/tiles_split1_D_i.npy"
    assert options(linear)["--trainSplit"] == "tiles/tiles_trainIdxList.npy"
    assert options(few)["--trainSplit"] == "tiles_imbSub_with_subsets/tiles_split1_S_b.npy"
    done = bash(project, "reproduce.sh", "tiles", "bcl-i", "--", "--paper", "bcl", DRY_RUN="1", SPLITS="1 4")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^== (.*)$", done.stdout, re.M) == ["tiles, split 1, bcl-i", "tiles, split 4, bcl-i"]
    assert done.stdout.count("_tiles_split4_D_i_newNT_s10_bclK1__bcl-100shot ") == 1


# ---- reproduce


def test_a_method_gets_the_options_that_it_takes():
    words = ["digits", "untrained", "simclr", "focal", "--", "-e", "2", "--focal_gamma", "1", "--prune", "False"]
    wanted = parse_reproduce(words, "")
    assert wanted.methods == {
        "untrained": ["--prune", "False"], "simclr": ["-e", "2", "--prune", "False"],
        "focal": ["-e", "2", "--focal_gamma", "1", "--prune", "False"],
    }  # fmt: skip
    for words, said in (
        (["digits", "simclr", "sdclr", "--", "--rand_k", "2"], "--rand_k has no effect with --method simclr"),
        (["digits", "--", "--on_bad_image", "skip"], "--on_bad_image is of image files"),
        (["digits", "--", "--method", "focal"], "methods are named before --"),
        (["digits", "simclr+nothing"], "recipe's options go behind --"),
    ):
        with pytest.raises(InputError, match=re.escape(said)):
            parse_reproduce(words, "")


def test_each_table_has_folders_of_its_own(tmp_path):
    for name in ("photos", "other"):
        for label in "ab":
            (tmp_path / name / label).mkdir(parents=True)
            Image.new("RGB", (9, 9)).save(tmp_path / name / label / "1.png")
    words = [[], ["--paper", "bcl"], ["--supervised"]]
    wanted = [parse_reproduce(["cifar100", "simclr", "--", *more], "") for more in words]
    for name in ("photos", "other"):
        wanted.append(parse_reproduce(["folder", "simclr", "--", "--data", str(tmp_path / name)], ""))
    found = [[one.folder(kind).rpartition("/")[2] for kind in ("tables", "tail")] for one in wanted]
    assert found == [
        ["tables_cifar100", "tail_cifar100"], ["tables_cifar100_bcl", "tail_cifar100"],
        ["tables_cifar100_bcl_table3", "tail_cifar100"], ["tables_photos", "tail_photos"],
        ["tables_other", "tail_other"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("imageNet_100_LT_train", ["--LT", "True"]),
        ("imageNet_100_BL_train", ["--LT", "False"]),
    ],
)
def test_the_table_is_of_the_list_that_is_given(split, words):
    wanted = parse_reproduce(["imagenet100", "simclr", "--", "--data", "somewhere", "--split", split], "")
    command = _table(wanted, [1], ["run"])
    assert command[command.index("--LT") :][:2] == words


def test_tables_of_own_lists(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(30):
            Image.new("RGB", (9, 9)).save(tmp_path / label / f"{number}.png")

    def table(split: str, *more: str) -> list[str]:
        *_, last = steps("--dataset", "folder", "--data", str(tmp_path), "--split", split, *more)
        return last[last.index("--probe") :] if last[0] == "exp_analyse.py" else []

    shape = ["--shape", "pareto6_imb10"]
    assert table("split1_pareto6_imb10_D_i")[3:] == ["--splits", "1", "--LT", "True", *shape]
    assert table("split1_D_b")[3:] == ["--splits", "1", "--LT", "False"]
    learned = ["--paper", "bcl", "--table", "3"]
    assert table("split1_pareto6_imb10_D_i", "--supervised")[5:] == [*learned, "--splits", "1", *shape]
    assert table("all", "--supervised")[5:] == [*learned, "--shape", "all"]
    # BCL's table 3 is of long-tailed lists, and a list of another name is in no table.
    assert table("split1_D_b", "--supervised") == table("mylist") == []


@pytest.mark.parametrize("name", quick_first(["imagenet-100", "imagenet100", "imagenet", "places"]))
def test_a_data_set_of_one_split(project_copy, name):
    done = bash(project_copy, "reproduce.sh", name, "simclr", DRY_RUN="1", SPLITS="1 2 3")
    assert done.returncode == 0 and done.stdout.count("== ") == 1
    one_line_error(bash(project_copy, "reproduce.sh", "digits", DRY_RUN="1", SPLITS="one"), "SPLITS")


# ---- what is imported


@pytest.mark.parametrize(
    ("module", "words"),
    [
        *(("__main__", ["--dataset", name, "--", "--method", "bcl-d"]) for name in ("digits", "cifar100", "places")),
        ("reproduce.__main__", ["digits", "simclr", "focal+bcl"]),
    ],
)
def test_a_recipe_needs_no_torch(module, words):
    """What a recipe starts needs seconds for it; the recipe itself starts at once."""
    program = f"import sys; sys.argv = {['recipe', *words]}; from recipes.{module} import main; main()"
    program += "; print('loaded:', *sorted({'torch', 'torchvision', 'cv2', 'sklearn'} & sys.modules.keys()))"
    env = {**os.environ, "DRY_RUN": "1", "PYTHON": sys.executable, "SPLITS": "1"}
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:" and "train_simCLR.py" in done.stdout


# ---- names


LINEAR = "__f2layer4_d10d20_wd0_lr30_freezeBN"
NAMES = [  # of the authors' checkpoints and logs, and those of this project until now
    ("cifar-10", PRUNED, "res18_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b512_twolayerProj_epoch2000_split1_D_i_newNT_s10"
     "_pruneP0.9DualBN"),
    ("cifar-100", ["-s", "cifar100_split3_D_b"], "res18_cifar100_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b512_o128"
     "_twolayerProj_epoch2000_cifar100_split3_D_b_newNT_s10"),
    ("cifar-100", ["--method", "bcl-d", "--head_layers", "2", "--weight_decay", "3e-4", "--rand_strength", "20",
                   "--momentum_loss_beta", "0.9", "--random_prune_percent", "0.2"],
     "res18_cifar100_scheduling_sgd_temp0.2_wd3e-4_lr0.5_b512_o128_twolayerProj_epoch2000_cifar100_split1_D_i_newNT_s10"
     "_pruneP0.9DualBNRandomP0.2_head2_bclK2S20B0.9"),
    ("bcl-cifar-100", ["--method", "focal"], "res18_cifar100_scheduling_sgd_temp0.2_wd5e-4_lr0.5_b512_o128"
     "_twolayerProj_epoch2000_cifar100_split1_D_i_newNT_s10_focal2"),
    ("imagenet-100-res50", ["--method", "sdclr", "--weight_decay", "3e-4"],
     "imageNet_100_LT_train_res50_scheduling_sgd_lr0.5_temp0.3_epoch500_batch256_pruneP0.3DualBN_wd3e-4"),
    ("imagenet-res50", ["--method", "bcl-d", "--paper", "bcl"],
     "ImageNet_LT_train_res50_scheduling_sgd_lr0.5_temp0.2_epoch500_batch256_pruneP0.1DualBN_head2_bclK2"),
    ("places-res50", ["--method", "focal", "--weight_decay", "0", "--head_layers", "3"],
     "Places_LT_train_res50_scheduling_sgd_lr0.5_temp0.2_epoch500_batch256_wd0_head3_focal2"),
]  # fmt: skip


@pytest.mark.parametrize(("recipe", "words", "name"), NAMES)
def test_names_of_experiments(project_copy, recipe, words, name):
    training, *probes = dry_in(project_copy, f"shell_scrips/{recipe}-LT.sh", *words)
    assert training[1] == name
    assert probes and all(words[1].startswith(f"{name}__") for words in probes)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--dataset", "cub", "--data", "/"], "cub is for transfer, by cmds/shell_scrips/transfer.sh"),
        (["--dataset", "digits", "--protocols", "sgd-transfer"], "protocol sgd-transfer is not for digits"),
        (["--dataset", "digits", "--protocols", "bcl-transfer"], "protocol bcl-transfer is not for digits"),
        (["--dataset", "imagenet", "--protocols", "sgd-transfer"], "protocol sgd-transfer is not for imagenet"),
        (["--dataset", "digits", "--only_pretraining", "True", "--only_finetuning", "True"], "leave nothing to do"),
    ],
)
def test_what_no_recipe_can_do_is_refused_at_once(words, told):
    with pytest.raises(InputError, match=told):
        parse_recipe(words, "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-n", "2"], "--rdzv"), (["-g", "0"], "-g counts processes"),
        (["--protocols", "sdclr-linear"], "probes need labels"), (["--only_finetuning", "True"], "probes need labels"),
    ],
)  # fmt: skip
def test_images_without_labels_have_the_other_checks_too(tmp_path, words, told):
    for i in range(4):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    with pytest.raises(InputError, match=told):
        parse_recipe(["--dataset", "folder", "--data", str(tmp_path), *words], "")


def test_splits_of_reproduce_are_not_named_by_an_option():
    with pytest.raises(InputError, match="SPLITS in the environment"):
        parse_reproduce(["digits", "simclr", "--", "--split", "digits_split1_imb10_D_i"], "")


def test_the_few_shot_list_of_all_own_images(tmp_path):
    """That of the labelled training images, whatever is pre-trained on."""
    for name in ("a/0", "a/1", "b/0", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    for split, few in (("all", "train_S_b"), ("train", "train_S_b"), ("split2_D_i", "split2_S_b")):
        recipe = parse_recipe(["--dataset", "folder", "--data", str(tmp_path), "--split", split], "")
        assert recipe.few_shot_list == few
