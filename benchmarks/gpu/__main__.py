"""On a GPU: the tests that need one, then this project's speed beside the published procedure's.

    python -m benchmarks.gpu     or     make gpu PYTHON=python3

It ends after at most 9 minutes: what there is no time left for is named in the table. Without a GPU it is one line,
exit code 2; where a test fails, 1, after the table. Writes benchmarks/results/CARD.json and results/gpu.txt.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.measure import Clock, best_product, card, file_name, libraries
from benchmarks.gpu.report import report, table
from benchmarks.gpu.rows import PARTS, Bench, Row
from benchmarks.gpu.settings import TINY, WHOLE
from run.gpu import check_gpu, visible_gpus
from run.made import provenance
from utils.cli import Parser, positive
from utils.errors import InputError, run_main
from utils.files import PROJECT

MINUTES = 9
FOR_TESTS = 0.45  # share of the time that the tests may take


def parse() -> argparse.Namespace:
    """The flags."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: without the tests, to try the program itself")
    parser.add_flag("--quick", help="tiny sizes, that show whether it works, and no speed")
    add("--minutes", type=positive, default=MINUTES, help="that all may take")
    add("--only", choices=["tests", *PARTS], help="a part alone")
    add("--out", type=Path, help="the JSON file; default by card in benchmarks/results")
    add("--text", type=Path, help="the same for people; default results/gpu.txt")
    return parser.parse_args()


def device_of(name: str) -> torch.device:
    """The device; raises InputError where it cannot be used."""
    if name == "cpu":
        return torch.device("cpu")
    if not visible_gpus():
        raise InputError("there is no GPU here that this PyTorch can use: run it on a machine that has one")
    check_gpu(0)
    torch.cuda.set_device(0)
    return torch.device("cuda", 0)


def run_in_time(command: list[str], seconds: float) -> tuple[int | None, str]:
    """Exit code of a command, None if it was not over after so many seconds, and what it printed; nothing that it had
    started lives on."""
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(command, cwd=PROJECT, stdout=output, stderr=output, start_new_session=True)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        output.seek(0)
        return code, output.read()


def tests(clock: Clock) -> dict[str, Any]:
    """The tests that are marked `gpu`: exit code of pytest, its last line, the seconds they took."""
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-m", "gpu", "-p", "no:cacheprovider", "--durations=5"]
    start, most = clock.spent, FOR_TESTS * clock.seconds
    code, said = run_in_time(command, most)
    last = next((line for line in reversed(said.splitlines()) if re.search(r"\d+ \w+.* in ", line)), "none ran")
    summary = f"not over after {most:.0f} s" if code is None else last.strip("= ")
    seconds = round(clock.spent - start, 1)
    return {"code": 1 if code is None else code, "summary": summary, "seconds": seconds, "output": said[-20_000:]}


def measured(args: argparse.Namespace, device: torch.device, clock: Clock) -> tuple[list[Row], float]:
    """The rows, told as they come, and the FLOP/s of the best product."""
    plan = TINY if args.quick else WHOLE
    bench = Bench(plan, device, clock, best_product(device, plan.products))
    rows: list[Row] = []
    for name, part in PARTS.items():
        if args.only in (None, name):
            for row in part(bench):
                rows.append(row)
                if not args.quiet:
                    print(f"{clock.spent:5.0f} s  {table([row]).splitlines()[1]}", file=sys.stderr, flush=True)
    return rows, bench.best


def main() -> None:
    args = parse()
    device, clock = device_of(args.device), Clock(args.minutes)
    passed = tests(clock) if device.type == "cuda" and args.only in (None, "tests") else None
    if passed and not args.quiet:
        print(passed["output"], file=sys.stderr, flush=True)
    rows, product = ([], 0.0) if args.only == "tests" else measured(args, device, clock)
    found = {
        "card": card(device), "quick": args.quick, "libraries": libraries(device), "git": provenance()["git"],
        "tests": passed and {name: passed[name] for name in ("code", "summary", "seconds")},
        "best_tflops": product / 1e12, "seconds": round(clock.spent, 1),
    }  # fmt: skip
    text = report(found, rows)
    print(text, end="")
    if args.only is None or args.out or args.text:
        write(args, device, {**found, "rows": [row._asdict() for row in rows]}, text)
    if passed and passed["code"]:
        sys.exit(1)


def write(args: argparse.Namespace, device: torch.device, found: dict[str, Any], text: str) -> None:
    """The JSON file and the text."""
    name = f"{file_name(device)}{'-quick' * args.quick}"
    out = args.out or PROJECT / "benchmarks" / "results" / f"{name}.json"
    told = args.text or PROJECT / "results" / ("gpu-quick.txt" if args.quick else "gpu.txt")
    for path, content in ((out, json.dumps(found, indent=1) + "\n"), (told, text)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    print(f"written to {os.path.relpath(out)} and {os.path.relpath(told)}")


if __name__ == "__main__":
    sys.exit(run_main(main))
