"""run.doctor: a line for each thing that it looks at, exit code 0 or 2, nothing written."""

import re
import shutil
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch
import torchvision

from tests.conftest import one_line_error

DOCTOR = "run/doctor.py"


def lines(done) -> dict[str, list[tuple[str, str]]]:
    """What is checked -> (level, detail) of its lines."""
    assert done.stderr == "", done.stderr
    found: dict[str, list[tuple[str, str]]] = {}
    for line in done.stdout.splitlines()[:-1]:
        level, what, detail = re.fullmatch(r"(ok|warning|error) +(\S+(?: \S+)*?)(?: {2,}| (?=\d))(.*)", line).groups()
        found.setdefault(what, []).append((level, detail))
    levels = [level for entries in found.values() for level, _ in entries]
    summary = f"{len(levels)} checks: {levels.count('error')} error(s), {levels.count('warning')} warning(s)"
    assert done.stdout.splitlines()[-1] == summary
    assert done.returncode == (2 if "error" in levels else 0)
    return found


def test_this_machine(call, tmp_path):
    found = lines(call(DOCTOR))
    assert not [line for entries in found.values() for line in entries if line[0] == "error"]
    assert {"python", "packages", "processor", "GPU", "fp32", "bf16", "fp16", "disk"} <= found.keys()
    assert len(found["packages"]) == 2  # what a run needs, and what tests need
    assert sum("what --precision auto takes" in found[name][0][1] for name in ("fp32", "bf16", "fp16")) == 1
    assert not list(tmp_path.iterdir())


def test_quiet_leaves_what_is_in_order_out(call):
    told, quiet = (call(DOCTOR, *words).stdout.splitlines() for words in ([], ["--quiet"]))
    kinds = [line.split()[:2] for line in told if not line.startswith("ok ")]  # free space may change
    assert [line.split()[:2] for line in quiet] == kinds and len(quiet) < len(told)


@pytest.mark.parametrize(("version", "level"), [("0.1", "warning"), (None, "error")])
def test_packages_that_are_other_or_not_there(call, monkeypatch, version, level):
    real = metadata.version

    def installed(name):
        if name == "scipy" and version is None:
            raise metadata.PackageNotFoundError
        return version if name == "scipy" else real(name)

    monkeypatch.setattr(metadata, "version", installed)
    found = lines(call(DOCTOR))
    assert [(entry[0], "scipy" in entry[1]) for entry in found["packages"]][0] == (level, True)
    assert ("processor" in found) == (level == "warning")


def test_a_missing_tool_of_the_tests_is_a_warning(call, monkeypatch):
    real = metadata.version

    def installed(name):
        if name == "ruff":
            raise metadata.PackageNotFoundError
        return real(name)

    monkeypatch.setattr(metadata, "version", installed)
    level, detail = lines(call(DOCTOR))["packages"][1]
    assert level == "warning" and "ruff not installed" in detail and "requirements-dev.txt" in detail


def test_packages_that_do_not_fit_together(call, monkeypatch):
    def broken(*_):
        raise RuntimeError("operator torchvision::nms does\nnot exist")

    monkeypatch.setattr(torchvision.ops, "nms", broken)
    found = lines(call(DOCTOR))
    assert found["packages"][-1] == ("error", "RuntimeError: operator torchvision::nms does not exist")
    assert "processor" not in found


def test_a_kernel_that_does_not_run(call, monkeypatch):
    original = torch.autocast

    def autocast(kind, dtype, enabled):
        if dtype == torch.float16:
            raise RuntimeError("no such kernel")
        return original(kind, dtype, enabled=enabled)

    monkeypatch.setattr(torch, "autocast", autocast)
    found = lines(call(DOCTOR))
    assert found["fp16"] == [("error", "RuntimeError: no such kernel")]
    assert found["fp32"][0][0] == found["bf16"][0][0] == "ok"


def test_a_full_disk_is_a_warning(call, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    found = lines(call(DOCTOR))
    assert found["disk"][0][0] == "warning" and "--save-dir" in found["disk"][0][1]


def test_it_takes_no_command_line(call):
    one_line_error(call(DOCTOR, "train_simCLR.py", "run"), "train_simCLR.py")


def test_an_old_python_is_an_error(call, monkeypatch):
    monkeypatch.setattr("run.doctor.sys.version_info", (3, 11, 3))
    found = lines(call(DOCTOR))
    assert found["python"][0][0] == "error" and "3.11.4 or newer" in found["python"][0][1]
