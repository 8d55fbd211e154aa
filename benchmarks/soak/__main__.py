"""Stress tests from a seed: runs that are killed, damaged checkpoints, bad input; and whether memory grows.

    python -m benchmarks.soak [--quick] [--seed 0] [--only kills ...] [--out FILE]      or     make soak

- kills: a pre-training on digits (SimCLR, SDCLR, BCL-I, BCL-D; with random --seed and --save_steps) is ended by SIGKILL
  at a random moment and resumed. Its weights, optimizer state and memory of losses must equal those of an undisturbed
  run bit for bit.
- pairs: the same with two processes. Either both are killed, or the main one, and the launcher ends the other.
- damage: checkpoints are truncated or have bytes changed. Either the previous checkpoint is used and the run ends like
  the undisturbed one, or the error message names the damaged file.
- input: benchmarks/soak/input.py.
- memory: resident memory in 300 epochs; the mean of the last quarter is compared with that of the second.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import torch

from benchmarks.compare import machine
from run.checkpoint import read_checkpoint
from run.made import provenance
from tests.warm import environment, python
from utils.cli import Parser, natural
from utils.distributed import cores
from utils.errors import InputError, run_main

PROJECT = Path(__file__).resolve().parents[2]
D_I = "digits_imbSub_with_subsets/digits_split1_D_i.npy"
SDCLR = ["--prune", "--prune_percent", "0.9", "--prune_dual_bn", "--random_prune_percent", "0.1"]
METHODS = {"simclr": [], "sdclr": SDCLR, "bcl-i": ["--bcl"], "bcl-d": [*SDCLR, "--bcl", "--rand_k", "2"]}
COMMON = ["--dataset", "digits", "--trainSplit", D_I, "--model", "res20_s", "--batch_size", "128", "--output_ch", "16"]
COMMON += ["--optimizer", "sgd", "--lr", "0.5", "--temperature", "0.2", "--print_freq", "1", "--save_freq", "1000"]
PROBE = ["--dataset", "digits", "--model", "res20_s", "--cvt_state_dict", "--epochs", "1", "--fixto", "layer4"]
Outcome = str  # what is wrong with a case; "" if nothing is


def start(folder: Path, *words: str) -> subprocess.Popen:
    """Start a script of the project in `folder`, with one thread in each process."""
    variables = environment(PYTHONPATH=str(PROJECT), OMP_NUM_THREADS="1")
    return subprocess.Popen(
        [python(), *words], cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(folder: Path, *words: str) -> tuple[int, str]:
    """Run a script to its end; its exit code and stderr."""
    process = start(folder, *words)
    _, stderr = process.communicate(timeout=300)
    return process.returncode, stderr


def processes(folder: Path) -> list[int]:
    """The ids of the processes that run in a folder."""
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").resolve() == folder:
                pids.append(int(entry.name))
    return pids


def end(folder: Path, only: int | None = None) -> None:
    """Send SIGKILL to the processes that run in a folder, or to one of them; returns when they are gone.

    A launcher may start another process before it dies, which would outlive it; so they are searched for repeatedly.
    """
    while pids := [pid for pid in processes(folder) if only in (None, pid)]:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def difference(a: Path, b: Path) -> Outcome:
    """What differs in the model.pt of two folders: weights, optimizer, BCL's memory, random number states."""
    first, second = (read_checkpoint(path / "model.pt") for path in (a, b))
    compared = ("epoch", "state_dict", "optim", "memory", "random")
    names = {name for name in compared if not same(first.get(name), second.get(name))}
    return f"{', '.join(sorted(names))} differ" if names else ""


def same(a: object, b: object) -> bool:
    """Whether two values are equal bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def kill(seed: int, folder: Path, several: bool) -> Outcome:
    """A run that is killed, then resumed to its end; several: of two processes."""
    rng = random.Random(f"{several}/{seed}")
    method = list(METHODS)[seed % len(METHODS)]
    options = [*COMMON, *METHODS[method], "--seed", str(rng.randrange(1000)), "--epochs", "4"]
    script = ["-m", "recipes.launch", "--nproc_per_node=2", f"--master_port={20000 + rng.randrange(20000)}"] * several
    script += [str(PROJECT / "train_simCLR.py")]
    began = time.perf_counter()
    code, stderr = finish(folder, *script, "whole", *options)
    seconds = time.perf_counter() - began
    if code:
        return f"undisturbed: {stderr}"
    options += ["--save_steps", str(rng.randrange(4))]
    killed = False
    while not killed:  # a run may end before the moment to kill it
        shutil.rmtree(folder / "checkpoints" / "parts", ignore_errors=True)
        process = start(folder, *script, "parts", *options)
        try:
            process.communicate(timeout=seconds * rng.uniform(0.05, 1.0))
        except subprocess.TimeoutExpired:
            killed = True
            lock = folder / "checkpoints" / "parts" / "lock"
            main_alone = several and lock.exists() and lock.read_text() and rng.random() < 0.5
            end(folder, int(lock.read_text().split()[1]) if main_alone else None)
            process.communicate(timeout=120)
    code, stderr = finish(folder, *script, "parts", *options, "--resume")
    if code:
        return f"{method}, resumed: {stderr}"
    different = difference(folder / "checkpoints" / "whole", folder / "checkpoints" / "parts")
    left = [p.name for p in (folder / "checkpoints" / "parts").iterdir() if p.name.startswith(".") or p.name == "lock"]
    return f"{method}: {different} {left}" if different or left else ""


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Truncated at a random length, or with up to 20 bytes changed."""
    if rng.random() < 0.5:
        return data[: rng.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(rng.randint(1, 20)):
        changed[rng.randrange(len(data))] ^= rng.randint(1, 255)
    return bytes(changed)


def damage(seed: int, folder: Path, good: Path) -> Outcome:
    """A run or a probe with damaged checkpoints. good: the folder of stopped_run."""
    rng, script = random.Random(f"damage/{seed}"), str(PROJECT / "train_simCLR.py")
    run = folder / "checkpoints" / "run"
    shutil.copytree(good / "checkpoints" / "parts", run)
    files = [run / "model.pt"] + [run / "model.previous.pt"] * (seed % 4 == 1)
    for file in files:
        file.write_bytes(damaged(file.read_bytes(), rng))
    if seed % 4 == 2:
        probe = [str(PROJECT / "train_cifar.py"), "run", *PROBE, "--checkpoint", str(run / "model.pt")]
        code, stderr = finish(folder, *probe)
    else:
        code, stderr = finish(folder, script, "run", *COMMON, *METHODS["bcl-d"], "--epochs", "3", "--resume")
    if len(files) == 2 or seed % 4 == 2:
        refused = code == 2 and "model.pt" in stderr and len(stderr.splitlines()) == 1
        return "" if refused else f"not refused: {code} {stderr}"
    if code or "model.previous.pt" not in (run / "log.txt").read_text():
        return f"the one before was not used: {stderr}"
    return difference(good / "checkpoints" / "whole", run)


def stopped_run(folder: Path) -> None:
    """Make two runs in a folder: `whole`, and `parts`, which was stopped within its second epoch."""
    script, options = str(PROJECT / "train_simCLR.py"), [*COMMON, *METHODS["bcl-d"], "--epochs", "3"]
    code, stderr = finish(folder, script, "whole", *options)
    process = start(folder, script, "parts", *options, "--save_steps", "1")
    for line in process.stdout:
        if line.startswith("Epoch: [2][2"):
            break
    os.kill(int((folder / "checkpoints" / "parts" / "lock").read_text().split()[1]), signal.SIGTERM)
    process.communicate(timeout=60)
    if code or process.returncode != 143:
        raise InputError(f"the runs to damage cannot be made: {stderr}")


def growth(folder: Path, epochs: int) -> tuple[float, float]:
    """Resident memory of an SDCLR run with BCL in MiB: mean over its second and over its last quarter."""
    script, options = str(PROJECT / "train_simCLR.py"), [*COMMON, *METHODS["bcl-d"], "--epochs", str(epochs)]
    process = start(folder, script, "run", *options)
    pid, resident = None, {}  # epoch -> MiB
    for line in process.stdout:
        if line.startswith("Epoch: ["):
            pid = pid or int((folder / "checkpoints" / "run" / "lock").read_text().split()[1])
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            resident[int(line.split("[")[1].split("]")[0])] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    if process.wait() or len(resident) != epochs:
        raise InputError(f"the run of {epochs} epochs failed: {process.stderr.read()}")
    quarters = ((epochs // 4, epochs // 2), (epochs - epochs // 4, epochs))
    return tuple(sum(resident[e + 1] for e in range(*q)) / (q[1] - q[0]) for q in quarters)


def many(case: Callable[[int, Path], Outcome], numbers: range, scratch: Path, at_once: int) -> Iterator[str]:
    """Run cases, `at_once` of them at a time, each in a folder of its own; a line for each that went wrong."""

    def run_case(number: int) -> Outcome:
        with tempfile.TemporaryDirectory(prefix=f"{number}-", dir=scratch) as name:
            try:
                return case(number, Path(name).resolve())
            except (InputError, subprocess.SubprocessError, OSError) as error:
                return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(at_once) as workers:
        for number, wrong in zip(numbers, workers.map(run_case, numbers), strict=True):
            if wrong:
                yield f"  case {number}: {wrong}"


def parse() -> argparse.Namespace:
    """The options; raises InputError for a bad one."""
    parser = Parser(__doc__)
    parser.prog = "python -m benchmarks.soak"  # before Python 3.14 --help would say __main__.py
    parser.add_flag("--quick", help="a tenth of it")
    parser.add_argument("--seed", type=natural, default=0)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--out", type=Path, help="write what is printed")
    return parser.parse_args()


def kills(seed: int, divisor: int, scratch: Path) -> tuple[str, list[str]]:
    n = 50 // divisor
    wrong = list(many(lambda i, f: kill(i, f, False), range(seed, seed + n), scratch, min(2, cores())))
    return f"{n - len(wrong)} of {n} runs killed by SIGKILL at a random moment ended as the undisturbed ones", wrong


def pairs(seed: int, divisor: int, scratch: Path) -> tuple[str, list[str]]:
    n = max(2, 10 // divisor)
    wrong = list(many(lambda i, f: kill(i, f, True), range(seed, seed + n), scratch, 1))
    return f"{n - len(wrong)} of {n} such runs of two processes", wrong


def damages(seed: int, divisor: int, scratch: Path) -> tuple[str, list[str]]:
    n, good = 200 // divisor, scratch / "good"
    good.mkdir()
    stopped_run(good)
    wrong = list(many(lambda i, f: damage(i, f, good), range(seed, seed + n), scratch, min(2, cores())))
    return f"{n - len(wrong)} of {n} damaged checkpoints: the one before was used, or they were refused by name", wrong


def inputs(seed: int, divisor: int, scratch: Path) -> tuple[str, list[str]]:
    n = 500 // divisor
    command = [sys.executable, "-m", "benchmarks.soak.input", "--cases", str(n), "--seed", str(seed)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    failed = [f"  {line}" for line in lines if line.startswith("FAILED")] or [done.stderr] * (done.returncode > 0)
    return f"{n - len(failed)} of {n} bad command lines, lists, images, archives: one line, exit code 2", failed


def memory(seed: int, divisor: int, scratch: Path) -> tuple[str, list[str]]:
    epochs = max(40, 300 // divisor)
    folder = scratch / "memory"
    folder.mkdir()
    second, last = growth(folder.resolve(), epochs)
    change = last / second - 1
    summary = (
        f"memory over {epochs} epochs: {second:.1f} MiB in the second quarter, {last:.1f} in the last ({change:+.2%})"
    )
    return summary, [] if abs(change) < 0.02 else ["  more than 2%"]


# Name -> function of (seed, divisor of the number of cases, scratch folder) -> summary, lines of what is wrong.
PARTS = {"kills": kills, "pairs": pairs, "damage": damages, "input": inputs, "memory": memory}


def main() -> None:
    args, began, lines, failed = parse(), time.perf_counter(), [], 0
    for name in args.only:
        start_of_part = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
            summary, wrong = PARTS[name](args.seed, 10 if args.quick else 1, Path(scratch).resolve())
        failed += len(wrong)
        lines += [f"{summary}; {time.perf_counter() - start_of_part:.0f} s", *wrong]
        print("\n".join(lines[-1 - len(wrong) :]), flush=True)
    made = provenance()
    lines.append(
        f"seed {args.seed}, {machine()}, {time.perf_counter() - began:.0f} s in all, "
        f"revision {made['git']}, torch {made['torch']}"
    )
    print(lines[-1])
    if args.out:
        args.out.write_text("\n".join(lines) + "\n")
    if failed:
        raise InputError(f"{failed} cases are not as they must be")


if __name__ == "__main__":
    sys.exit(run_main(main))
