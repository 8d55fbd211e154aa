"""The measurement of a folder of images, at a tiny size."""

import re

import pytest


@pytest.mark.slow
def test_every_number_is_told(call):
    done = call("benchmarks/folder.py", "--images", "1030", "--size", "8", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"scan [\d.]+ s; a kept scan [\d.]+ s", done.stdout)
    rates = dict(re.findall(r"^cache (\w+): ([\d,]+), ", done.stdout, re.M))
    assert rates.keys() == {"none", "memory", "disk"} and all(int(r.replace(",", "")) > 0 for r in rates.values())
