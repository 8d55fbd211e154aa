"""Bad command lines, lists, images, checkpoints and archives from a seed: each must give one line and exit code 2.

    python -m benchmarks.soak.input --cases 500 --seed 0 [--only image] [--out FILE.json]

A case is a command with one kind of mistake (benchmarks/soak/cases.py), run in a folder of its own. It must end within
the limits of time and memory, with exit code 2 and exactly one line on stderr, `error...`, and must not change files; a
case that fails after its training began may leave its log and views.png. A case that happens to be valid is counted
separately and replaced by another one. With the same seed, the same number is the same case (`--case 17`).
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.soak.cases import KINDS, Pool
from run.names import VIEWS
from tests.trees import make_tree, names
from tests.warm import python
from utils.cli import Parser, natural, positive
from utils.distributed import cores
from utils.errors import InputError, run_main

PROJECT = Path(__file__).resolve().parents[2]
SECONDS, RESIDENT, VIRTUAL = 60, 2 << 30, 12 << 30  # limits of a case; memory in bytes
LOGS = re.compile(rf"log\.txt|metrics\.jsonl|events\.out\.tfevents\..*|{re.escape(VIEWS)}")
MEMORY = ".soak-memory"
RUNNER = f"""
import atexit, pathlib, resource, runpy, sys
resource.setrlimit(resource.RLIMIT_AS, ({VIRTUAL},) * 2)
file, memory = pathlib.Path({MEMORY!r}).absolute(), lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
atexit.register(lambda: file.write_text(str(memory())))
project, program, *rest = sys.argv[1:]
sys.path.insert(0, project)
sys.argv = [program, *rest]
run = runpy.run_path if program.endswith(".py") else runpy.run_module
run(project + "/" + program if program.endswith(".py") else program, run_name="__main__")
"""


class Result(NamedTuple):
    """A case. verdict: 'bad' if it was refused as it should, 'valid', or what went wrong. said: its stderr."""

    number: int
    kind: str
    verdict: str
    command: list[str]
    said: str
    seconds: float


def make_pool(folder: Path) -> Pool:
    """A copy of the project with lists of its own, and good images, lists and a checkpoint for the cases to damage."""
    project, tree = folder / "project", folder / "tree"
    skip = shutil.ignore_patterns(".*", "__pycache__", "results", "tests", "checkpoints*", "*_imbSub_with_subsets")
    shutil.copytree(PROJECT, project, ignore=skip)
    shutil.copytree(PROJECT / "results", project / "results")
    for name in ("generated.tsv", "digits"):  # made again below
        path = project / "split" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    make_tree(tree, names(4), [4] * 4, val=4, size=32)
    lines, held_out = (_list_lines(tree, part) for part in ("train", "val"))
    for name, content in {"val": held_out[::4], "test": held_out[1::4]}.items():
        path = project / "split" / "imagenet-100" / f"ImageNet_100_{name}.txt"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("".join(content))
    pool = Pool(project, tree, "".join(lines), folder / "good.pt")
    for command in (["split.make_splits", "--dataset", "digits"], pool.good_run()):
        done = _execute(pool, command, folder)
        if done.returncode:
            raise InputError(f"the pool of good files cannot be made: {done.stderr!r}")
    shutil.copy(folder / "checkpoints" / "run" / "model.pt", pool.checkpoint)
    return pool


def _list_lines(tree: Path, part: str) -> list[str]:
    """The lines of a list of all images in `train` or `val` of a tree."""
    files = [(path, label) for label, name in enumerate(names(4)) for path in sorted((tree / part / name).glob("*"))]
    return [f"{path.relative_to(tree)} {label}\n" for path, label in files]


def _execute(pool: Pool, command: list[str], folder: Path) -> subprocess.CompletedProcess:
    """Run a command, which may begin with NAME=value words, within the limits."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ""}
    assignments = list(itertools.takewhile(lambda word: re.match("[A-Z_]+=", word), command))
    variables |= dict(word.split("=", 1) for word in assignments)
    words = [python(), "-c", RUNNER, str(pool.project), *command[len(assignments) :]]
    return subprocess.run(words, cwd=folder, env=variables, capture_output=True, timeout=SECONDS)


def tree_of(root: Path) -> dict[str, str]:
    """All paths below a folder: path -> hash of a file's content, or mode; without caches of compiled code."""
    states = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            states[str(path.relative_to(root))] = hashlib.sha1(path.read_bytes()).hexdigest()
        elif path.name != "__pycache__":
            states[str(path.relative_to(root))] = oct(path.lstat().st_mode)
    return {path: state for path, state in states.items() if "__pycache__" not in path}


def one_case(pool: Pool, seed: int, number: int, kinds: list[str], scratch: Path) -> Result:
    """Make the case with this number, run it and judge it."""
    kind, rng = kinds[number % len(kinds)], random.Random(f"{seed}/{number}")
    with tempfile.TemporaryDirectory(prefix=f"{number}-", dir=scratch) as name:
        # The command runs two levels deeper, so that a file written outside its folder is noticed.
        folder = Path(name) / "a" / "b"
        folder.mkdir(parents=True)
        command = KINDS[kind](rng, folder, pool)
        before, start = tree_of(Path(name)), time.perf_counter()
        try:
            done = _execute(pool, command, folder)
        except subprocess.TimeoutExpired:
            return Result(number, kind, f"ran longer than {SECONDS} s", command, "", time.perf_counter() - start)
        seconds, memory = time.perf_counter() - start, folder / MEMORY
        resident = int(memory.read_text()) << 10 if memory.is_file() else 0
        memory.unlink(missing_ok=True)
        after = tree_of(Path(name))
    stderr = done.stderr.decode(errors="replace")
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    begun = kind.startswith("image") or "the loss is" in stderr
    left = {path for path in changed if not (begun and _is_log(path, changed))}
    wrong = [f"wrote {path}" for path in changed if not path.startswith("a/b/") or path == "a/b/executed"]
    if done.returncode == 0 and not wrong:
        return Result(number, kind, "valid", command, stderr, seconds)
    if done.returncode != 2:
        wrong.append(f"exit code {done.returncode}")
    if len(stderr.splitlines()) != 1 or not stderr.startswith("error") or not stderr.strip().isprintable():
        wrong.append("not one printable line of error")
    if b"Traceback" in done.stdout + done.stderr:
        wrong.append("traceback")
    if left:
        wrong.append(f"left {', '.join(sorted(left))}")
    if resident > RESIDENT:
        wrong.append(f"took {resident / 2**30:.1f} GiB")
    return Result(number, kind, "; ".join(wrong) or "bad", command, stderr, seconds)


def _is_log(path: str, changed: set[str]) -> bool:
    """Whether a path is the log of a run, the picture of its first batch, or a folder above one of these."""
    logs = {p for p in changed if LOGS.fullmatch(Path(p).name)}
    return path in logs or any(Path(path) in Path(log).parents for log in logs)


def soak(pool: Pool, seed: int, numbers: Iterator[int], cases: int, kinds: list[str], scratch: Path) -> list[Result]:
    """Run cases, two at a time, until `cases` of them were not valid."""
    results: list[Result] = []
    with ThreadPoolExecutor(min(2, cores())) as workers:
        while missing := cases - sum(r.verdict != "valid" for r in results):
            batch = list(itertools.islice(numbers, missing))
            if not batch:
                break
            results += workers.map(lambda number: one_case(pool, seed, number, kinds, scratch), batch)
    return results


def summary(results: list[Result], seconds: float) -> str:
    """A table of counts by kind, and the failures with their commands."""
    lines = [f"{'kind':16} {'bad':>5} {'valid':>6} {'failed':>7} {'slowest, s':>11}"]
    for kind in sorted({r.kind for r in results}):
        of_kind = [r for r in results if r.kind == kind]
        count = Counter(r.verdict if r.verdict in ("bad", "valid") else "failed" for r in of_kind)
        slowest = max(r.seconds for r in of_kind)
        lines.append(f"{kind:16} {count['bad']:5} {count['valid']:6} {count['failed']:7} {slowest:11.1f}")
    failed = [r for r in results if r.verdict not in ("bad", "valid")]
    valid = sum(r.verdict == "valid" for r in results)
    lines.append(
        f"{len(results) - valid} bad cases, {valid} valid ones replaced, {len(failed)} failed, {seconds:.0f} s"
    )
    for r in failed:
        lines.append(f"FAILED case {r.number}, {r.kind}: {r.verdict}\n  {ascii(r.command)}\n  {ascii(r.said[-1500:])}")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """The options; raises InputError for a bad one."""
    parser = Parser(__doc__)
    parser.add_argument("--cases", type=positive, default=500, help="bad cases to run")
    parser.add_argument("--seed", type=natural, default=0)
    parser.add_argument("--case", type=natural, help="this one alone, and what it says")
    parser.add_argument("--only", nargs="+", choices=list(KINDS), help="these kinds; numbers then mean other cases")
    parser.add_argument("--out", type=Path, help="write all results as JSON")
    return parser.parse_args()


def main() -> None:
    args, start = parse(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        pool = make_pool(Path(name))
        before = tree_of(pool.project)
        single = args.case is not None
        numbers = iter([args.case]) if single else itertools.count()
        results = soak(pool, args.seed, numbers, 1 if single else args.cases, args.only or list(KINDS), Path(name))
        changed = before.items() ^ tree_of(pool.project).items()
    seconds = time.perf_counter() - start
    if single:
        print(*results[0].command, results[0].said, sep="\n")
    print(summary(results, seconds))
    if args.out:
        content = {"seed": args.seed, "seconds": round(seconds, 1), "cases": [r._asdict() for r in results]}
        args.out.write_text(json.dumps(content, indent=1))
    failed = sum(r.verdict not in ("bad", "valid") for r in results)
    if changed:
        raise InputError(f"the project's own files changed: {', '.join(sorted({path for path, _ in changed}))}")
    if failed:
        raise InputError(f"{failed} of {len(results)} cases failed")


if __name__ == "__main__":
    sys.exit(run_main(main))
