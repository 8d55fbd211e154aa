"""How a script ends."""

import subprocess

from tests.conftest import PROJECT
from tests.warm import python


def test_a_reader_that_has_seen_enough_is_no_error():
    """As `head` is one."""
    program = "from utils.errors import run; run(lambda: [print(i) for i in range(1_000_000)])"
    command = f"{python()} -c '{program}' | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.stderr == "" and done.stdout.splitlines() == ["0", "141"]
