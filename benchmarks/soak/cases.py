"""The kinds of bad input for benchmarks/soak/input.py: each function prepares a folder and returns a command."""

import gzip
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.soak import files, people
from benchmarks.soak.words import CONTRADICTIONS, EXPERIMENTS, FLAG, IN_SPLIT, OPTIONS, SPLIT

NAME = "res20_s_scheduling_sgd_epoch1_digits_split1_D_i_newNT_s1__f2layer4_d10d20_wd0_lr30_freezeBN"
SMALL = ["--num_workers", "0", "--precision", "fp32"]
DIGITS = ["--dataset", "digits", "--model", "res20_s", *SMALL]
FILES = ["--dataset", "imagenet-100", "--model", "res10", "--image_size", "32", *SMALL]


@dataclass(frozen=True)
class Pool:
    """Good files to damage: a copy of the project, a tree of images, its training list, a checkpoint (res20_s)."""

    project: Path
    tree: Path
    lines: str
    checkpoint: Path

    def good_run(self) -> list[str]:
        """The command that makes the good checkpoint."""
        return ["train_simCLR.py", "run", *DIGITS, "--trainSplit", SPLIT, "--output_ch", "16", "--epochs", "0"]

    def command(self, script: str) -> list[str]:
        """A right and quick command of a script."""
        scripts = {
            "train_simCLR.py": [*DIGITS, "--trainSplit", SPLIT, "--output_ch", "16", "--epochs", "0"],
            "train_cifar.py": [*DIGITS, "--trainSplit", f"{IN_SPLIT}/digits_split1_S_b.npy", "--epochs", "1"],
            "train_imagenet.py": [*FILES, "--data", str(self.tree), "--epochs", "1", "--batch-size", "8"],
            "exp_analyse.py": ["--dataset", "digits", "--LT"],
            "recipes.pretrained": ["list"],
            "features.save": [*DIGITS, "--checkpoint", str(self.checkpoint), "--out", "f.npz"],
            "features.embed": [*DIGITS, "--checkpoint", str(self.checkpoint), "--method", "pca", "--out", "f.png"],
            "tail": ["--checkpoint", str(self.checkpoint), "--scores", "disagreement", "--out", "ranks"],
            "features.export": ["--checkpoint", str(self.checkpoint), "--out", "e.pt"],
            "split.make_splits": ["--dataset", "digits", "--out", "lists"],
            "split.verify": ["--dataset", "digits"],
            "split.fetch_published": ["--server", "http://127.0.0.1:9", "--out", "lists"],
            "recipes.launch": ["--nproc_per_node=1", "--master_port=29999"],
            "data.imagenet_extract": ["--out", "images"],
        }
        positional = ["run"] if script.startswith("train_") else []
        return [script, *positional, *scripts[script]]


def _surroundings(folder: Path) -> None:
    """Make a folder, a file and a pipe, to which bad paths of a command may lead."""
    (folder / "folder").mkdir()
    (folder / "file").write_bytes(b"what was here")
    os.mkfifo(folder / "fifo")


def command_line(rng: random.Random, folder: Path, pool: Pool) -> list[str]:
    """A right command with one thing made wrong."""
    _surroundings(folder)
    script = rng.choice(list(OPTIONS))
    words, mistake = pool.command(script), rng.choice(["value"] * 5 + ["unknown", "missing", "junk", "extra", "twice"])
    option = rng.choice([o for o, values in OPTIONS[script].items() if values])
    if mistake == "unknown":
        unknown = rng.choice(
            ["--nonsense", "--epoch", "-z", "---", "--Epochs", "--lr\u2028x", "--=", "--\x1b[2J", "-é"]
        )
        return [*words, unknown, *rng.choice([[], ["1"]])]
    if mistake == "missing":
        return [*words, option + "=" if option in ("--LT", "--overwrite") else option] if (
            OPTIONS[script][option] is not FLAG) else [*words, f"{option}="]  # fmt: skip
    if mistake == "junk":
        return [*words, f"{option}={_junk(rng)}"]
    if mistake == "extra":
        return [*words, _junk(rng), _junk(rng)]
    value = rng.choice(OPTIONS[script][option])
    return [*words, f"{option}={value}"] if value.startswith("-") or rng.random() < 0.5 else [*words, option, value]


def _junk(rng: random.Random) -> str:
    letters = [*files.JUNK[1:], os.fsdecode(b"\xff"), "a", "0", "-", "\x85", "\x9b", "\U0001f600"]
    return "".join(rng.choices(letters, k=rng.choice([1, 3, 20, 2000])))


def contradiction(rng: random.Random, folder: Path, pool: Pool) -> list[str]:
    """Flags that contradict each other, or need what is not there."""
    _surroundings(folder)
    script, *flags = rng.choice(CONTRADICTIONS)
    return [*pool.command(script), *(str(pool.checkpoint) if word == "CHECKPOINT" else word for word in flags)]


def experiment(rng: random.Random, folder: Path, pool: Pool) -> list[str]:
    """A name of an experiment that leads out of --save-dir, or is not allowed."""
    script = rng.choice(["train_simCLR.py", "train_cifar.py", "train_imagenet.py"])
    words = pool.command(script)
    words[1] = rng.choice(EXPERIMENTS)
    return words


def index_list(rng: random.Random, folder: Path, pool: Pool) -> list[str]:
    """A bad .npy list."""
    file = folder / "list.npy"
    file.write_bytes(files.npy(rng, 1397))
    script, *options = rng.choice([
        ["train_simCLR.py", "--trainSplit", "list.npy"], ["train_cifar.py", "--trainSplit", "list.npy"],
        ["train_cifar.py", "--valiSplit", "list.npy"], ["train_cifar.py", "--groupSplit", "list.npy"],
        ["features.save", "--list", "list.npy"], ["split.verify", "--root", "lists"],
        ["split.verify", "--labels", "list.npy"],
    ])  # fmt: skip
    if "lists" in options:
        (folder / "lists" / "digits").mkdir(parents=True)
        file.replace(folder / "lists" / "digits" / "digits_valIdxList.npy")
    return [*pool.command(script), *options]


def path_list(rng: random.Random, folder: Path, pool: Pool) -> list[str]:
    """A bad list of image files."""
    file = folder / "list.txt"
    file.write_bytes(files.path_list(rng, pool.lines))
    if rng.random() < 0.2:
        file = folder / "lists" / "imagenet-100" / "ImageNet_100_val.txt"
        file.parent.mkdir(parents=True)
        (folder / "list.txt").replace(file)
        return ["split.verify", "--dataset", "imagenet-100", "--root", "lists", "--data", str(pool.tree)]
    return _on_files(rng, "list.txt", pool.tree, pool)


def _on_files(rng: random.Random, name: str, data: Path, pool: Pool) -> list[str]:
    """A command that trains on the image files of a list."""
    script = rng.choice(["train_simCLR.py", "train_imagenet.py", "train_imagenet.py"])
    words = [script, "run", *FILES, "--data", str(data), "--epochs", "1", "--augment", rng.choice(["opencv", "pillow"])]
    if script == "train_simCLR.py":
        return [*words, "--imagenetCustomSplit", name, "--batch_size", "8", "--output_ch", "16", "--lr", "0.1"]
    return [*words, "--batch-size", "8", "--customSplit", name]


def image(rng: random.Random, folder: Path, pool: Pool) -> list[str]:
    """A bad image file in the training or the validation list."""
    shutil.copytree(pool.tree, folder / "tree")
    (folder / "list.txt").write_text(pool.lines)
    words = _on_files(rng, "list.txt", Path("tree"), pool)
    held_out = (pool.project / "split" / "imagenet-100" / "ImageNet_100_val.txt").read_text()
    lines = held_out if words[0] == "train_imagenet.py" and rng.random() < 0.5 else pool.lines
    file = folder / "tree" / rng.choice(lines.splitlines()).split()[0]
    content = files.image(rng, file.read_bytes())
    file.unlink()
    draw = rng.random()
    if draw < 0.02:
        file.mkdir()
    elif draw < 0.04:
        os.mkfifo(file)
    elif draw < 0.06:
        file.symlink_to(rng.choice(["none", file.name, "/dev/zero", "/dev/random"]))
    elif draw > 0.08:  # else it is missing
        file.write_bytes(content)
    return words


def checkpoint(rng: random.Random, folder: Path, pool: Pool) -> list[str]:
    """A bad checkpoint to start from, to resume, to evaluate, or to extract features with."""
    make = people.checkpoint if rng.random() < 0.4 else files.checkpoint
    (folder / "c.pt").write_bytes(make(rng, pool.checkpoint))
    script = rng.choice(
        ["train_simCLR.py", "train_simCLR.py resume", "train_cifar.py", "train_cifar.py probe", "features.save"]
    )
    words = pool.command(script.split()[0])
    if "resume" in script:
        return [*words, "--resume", "--epochs", "1", "--checkpoint", "c.pt"]
    if "probe" in script:
        probe = folder / "checkpoints_tune" / "run" / rng.choice(["model.pt", "best_model.pt"])
        probe.parent.mkdir(parents=True)
        (folder / "c.pt").replace(probe)
        return [*words, "--resume" if probe.name == "model.pt" else "--test_only"]
    return [*words, "--checkpoint", "c.pt", *(["--cvt_state_dict"] if "cifar" in script else [])]


def archive(rng: random.Random, folder: Path, pool: Pool) -> list[str]:
    """A bad archive of pretrained checkpoints, a bad ledger of those, or a bad archive of images."""
    (folder / "a.zip").write_bytes(files.archive(rng))
    if rng.random() < 0.3:
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "pretrained.tsv").write_bytes(
            rng.choice([b"sdclr-cifar10\n", b"sdclr-cifar10\tx\n", b"\xff\t\0"])
        )
    if rng.random() < 0.2:
        return ["data.imagenet_extract", "--train", "a.zip", "--out", "images"]
    return ["recipes.pretrained", "get", "sdclr-cifar10", "--from", "a.zip", "--root", ".", "--max_gb", "0.001"]


def results(rng: random.Random, folder: Path, pool: Pool) -> list[str]:
    """A bad results.json or log.txt of a probe."""
    run = folder / "checkpoints_digits_tune" / NAME
    run.mkdir(parents=True)
    good = {"protocol": "sdclr-linear", "per_class": [50.0] * 10, "class_counts": [*range(10)],
            "departs": {}, "lists": {"train": {"source": "own"}}}  # fmt: skip
    values = [None, [], {}, "x", 1e999, float("nan"), -1, [None] * 10, ["x"] * 10, [float("nan")] * 10, [101] * 10,
              True, [1e308] * 10, [[1]] * 10, {"a": 1},
              {"a": [1]}, {"a": "xyz"}, [{}], 10**400, ["1"] * 11]  # fmt: skip
    texts = [json.dumps({**good, rng.choice(list(good)): rng.choice(values)}), "[" * 100_000, "{", "null", "1" * 5000,
             json.dumps({**good, "departs": {"\ud800": [1, 2]}, "per_class": []}),
             '{"per_class": ' + "[" * 99_999]  # fmt: skip
    mistake = rng.choice(["json", "json", "damaged", "junk", "log", "fifo"])
    numbers = rng.choices(["1", "x", "nan", "1e999", "-3", "²"], k=rng.choice([9, 10]))
    log = f"Each class acc is {' '.join(numbers)}\n"
    if mistake == "fifo":
        os.mkfifo(run / rng.choice(["results.json", "log.txt"]))
    elif mistake == "log":
        (run / "log.txt").write_text(log + "On the best_model, test tacc is 1\n")
    else:
        contents = {"json": rng.choice(texts).encode(), "damaged": files.damaged(rng, json.dumps(good).encode()),
                    "junk": files.junk(rng)}  # fmt: skip
        (run / "results.json").write_bytes(contents[mistake])
    return ["exp_analyse.py", "--dataset", "digits", "--LT"]


def image_tree(rng: random.Random, folder: Path, pool: Pool) -> list[str]:
    """An image tree that a user or another program has changed."""
    return people.image_tree(rng, folder, pool.tree)


def variables(rng: random.Random, folder: Path, pool: Pool) -> list[str]:
    """Invalid environment variables of a launcher."""
    return people.variables(rng, pool.command(rng.choice(["train_simCLR.py", "train_imagenet.py", "train_cifar.py"])))


def data_set(rng: random.Random, folder: Path, pool: Pool) -> list[str]:
    """A bad folder of Fashion-MNIST or CIFAR."""
    content = files.idx(rng)
    separator, target = rng.choice("-."), folder / rng.choice([".", "raw", "FashionMNIST/raw"])
    target.mkdir(parents=True, exist_ok=True)
    for part in (f"train-images{separator}idx3-ubyte", f"train-labels{separator}idx1-ubyte"):
        packed = rng.random() < 0.5
        (target / (part + ".gz" * packed)).write_bytes(gzip.compress(content, 1) if packed else content[: 1 << 20])
    (folder / "cifar-10-batches-py").mkdir()
    for i in range(1, 6):
        (folder / "cifar-10-batches-py" / f"data_batch_{i}").write_bytes(files.junk(rng))
    name = rng.choice(["fashion_mnist", "fashion_mnist", "cifar10"])
    script = rng.choice(["train_simCLR.py", "train_cifar.py", "split.make_splits"])
    name = "cifar" if script == "train_simCLR.py" and name == "cifar10" else name
    data = rng.choice([".", "cifar-10-batches-py"]) if name.startswith("cifar") else "."
    return [*pool.command(script), "--dataset", name, "--data", data]


Kind = Callable[[random.Random, Path, Pool], list[str]]
KINDS: dict[str, Kind] = {
    "command line": command_line, "index list": index_list, "image": image, "path list": path_list,
    "checkpoint": checkpoint, "command line 2": command_line, "image 2": image, "contradiction": contradiction,
    "experiment": experiment, "index list 2": index_list, "archive": archive, "results": results, "data set": data_set,
    "image tree": image_tree, "variables": variables,
}  # fmt: skip
