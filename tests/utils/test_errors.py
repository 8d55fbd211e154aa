"""How a script ends."""

import subprocess
import sys

from tests.conftest import PROJECT
from tests.warm import python


def test_a_reader_that_has_seen_enough_is_no_error():
    """As `head` is one."""
    program = "from utils.errors import run_main; run_main(lambda: [print(i) for i in range(1_000_000)])"
    command = f"{python()} -c '{program}' | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.stderr == "" and done.stdout.splitlines() == ["0", "141"]


def test_a_standard_stream_may_be_closed_from_the_start():
    """As `>&-` has it, and some schedulers: Python has None in its place."""
    program = "import sys; from utils.errors import InputError, run_main, warn\ndef main():\n"
    program += "    print(1, flush=True); sys.stdout.flush(); sys.stderr.isatty(); sys.stdin.read(); warn('2')\n"
    program += "    raise InputError('3')\nrun_main(main)"
    said = {">&-": ("", "warning: 2\nerror: 3\n"), "2>&-": ("1\n", ""), "<&- >&- 2>&-": ("", "")}
    for closed, expected in said.items():
        command = f'"$0" -c "$1" </dev/null {closed}'
        words = ["bash", "-c", command, sys.executable, program]
        done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (2, *expected)
