"""On a GPU: runs the tests that need one, then compares this project's speed with the published procedure's.

    python -m benchmarks.gpu     or     make gpu PYTHON=python3

It ends after at most 9 minutes; the table names the measurements for which no time was left. Without a GPU there is one
line of error and exit code 2; if a test fails, exit code 1 after the table. Writes benchmarks/results/CARD.json and
results/gpu.txt.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.measure import Clock, best_product, card, check_first_gpu, file_name, libraries
from benchmarks.gpu.report import report, table
from benchmarks.gpu.rows import PARTS, Bench, Row, reason
from benchmarks.gpu.settings import TINY, WHOLE
from run.made import provenance
from utils.cli import Parser, positive
from utils.errors import run_main
from utils.files import PROJECT, replace_file

MINUTES = 9
FOR_TESTS = 0.45  # share of the time that the tests may take


def parse() -> argparse.Namespace:
    """The options; raises InputError for a bad one."""
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
    """The device; raises InputError if it cannot be used."""
    if name == "cpu":
        return torch.device("cpu")
    check_first_gpu()
    return torch.device("cuda", 0)


def run_in_time(command: list[str], seconds: float) -> tuple[int | None, str]:
    """Run a command for at most `seconds`, then kill it and all processes that it has started.

    Returns:
        Its exit code, None if it was killed; its output.
    """
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
    """Run the tests marked `gpu`: pytest's exit code, its summary line, the seconds it took, the end of its output."""
    options = ["-m", "gpu", "-p", "no:cacheprovider", "--durations=5", "-vv"]  # a line a test, also if time runs out
    command = [sys.executable, "-m", "pytest", "tests/gpu", *options]
    start, limit = clock.spent, FOR_TESTS * clock.seconds
    code, output = run_in_time(command, limit)
    last = next((line for line in reversed(output.splitlines()) if re.search(r"\d+ \w+.* in ", line)), "none ran")
    summary = f"not over after {limit:.0f} s" if code is None else last.strip("= ")
    seconds = round(clock.spent - start, 1)
    return {"code": 1 if code is None else code, "summary": summary, "seconds": seconds, "output": output[-20_000:]}


def measured(args: argparse.Namespace, bench: Bench) -> Iterator[Row]:
    """The rows, each printed on stderr when it is measured; a part that fails ends with a row whose note says why."""
    for name, part in PARTS.items():
        if args.only in (None, name):
            for row in _to_the_first_error(name, part(bench)):
                if not args.quiet:
                    print(f"{bench.clock.spent:5.0f} s  {table([row]).splitlines()[1]}", file=sys.stderr, flush=True)
                yield row


def _to_the_first_error(name: str, rows: Iterator[Row]) -> Iterator[Row]:
    try:
        yield from rows
    except Exception as error:  # what was measured and the other parts are worth more than a traceback
        yield Row(f"{name}, the rest", "", None, None, note=reason(error))


def main() -> None:
    args = parse()
    device, clock = device_of(args.device), Clock(args.minutes)
    tested = tests(clock) if device.type == "cuda" and args.only in (None, "tests") else None
    if tested and not args.quiet:
        print(tested["output"], file=sys.stderr, flush=True)
    content = {
        "card": card(device), "quick": args.quick, "libraries": libraries(device), "git": provenance()["git"],
        "tests": tested and {name: tested[name] for name in ("code", "summary", "seconds")},
        "best_tflops": 0.0, "seconds": round(clock.spent, 1),
    }  # fmt: skip
    rows: list[Row] = []
    files = write(args, device, content, rows)
    if args.only != "tests":
        plan = TINY if args.quick else WHOLE
        bench = Bench(plan, device, clock, best_product(device, plan.products))
        content["best_tflops"] = bench.best / 1e12
        for row in measured(args, bench):
            rows.append(row)
            content["seconds"] = round(clock.spent, 1)
            write(args, device, content, rows)  # after each, as the machine may be taken away
    print(report(content, rows), end="")
    if files:
        print(f"written to {' and '.join(map(os.path.relpath, files))}")
    if tested and tested["code"]:
        sys.exit(1)


def write(args: argparse.Namespace, device: torch.device, content: dict[str, Any], rows: list[Row]) -> list[Path]:
    """Write the JSON file and the text file, unless a part alone is measured without being told where; return both."""
    if args.only and not args.out and not args.text:
        return []
    name = f"{file_name(device)}{'-quick' * args.quick}"
    out = args.out or PROJECT / "benchmarks" / "results" / f"{name}.json"
    text_file = args.text or PROJECT / "results" / ("gpu-quick.txt" if args.quick else "gpu.txt")
    record = json.dumps({**content, "rows": [row._asdict() for row in rows]}, indent=1) + "\n"
    for path, written in ((out, record), (text_file, report(content, rows))):
        replace_file(path, written.encode())
    return [out, text_file]


if __name__ == "__main__":
    sys.exit(run_main(main))
