"""Who may import whom: a package imports only packages below it (docs/design.md); what a package may not hold."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import PROJECT

ROOMS = {
    "utils": set(),
    "data": {"utils"},
    "models": {"utils"},
    "run": {"utils"},
    "split": {"data", "utils"},
    "methods": {"models", "utils"},
    "features": {"split", "data", "models", "run", "utils"},
    "pretrain": {"features", "methods", "split", "data", "models", "run", "utils"},
    "probe": {"features", "split", "data", "models", "run", "utils"},
    "analysis": {"probe", "methods", "split", "data", "run", "utils"},
    "tail": {"pretrain", "features", "methods", "split", "data", "models", "run", "utils"},
    "recipes": {"probe", "methods", "data", "run", "utils"},
}
SCRIPTS = {
    "train_simCLR": {"pretrain"} | ROOMS["pretrain"],
    "train_cifar": {"probe"} | ROOMS["probe"],
    "train_imagenet": {"probe"} | ROOMS["probe"],
    "exp_analyse": {"analysis"} | ROOMS["analysis"],
}
# Of these packages, only these modules.
ONLY = {
    "analysis": {"probe": {"probe.protocols"}, "run": {"run.names"}},
    "recipes": {"probe": {"probe.protocols"}},
}
NEVER = {"analysis": {"split.ensure"}}
# Each with the reason why it is still there.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("analysis/rows.py", "split.ensure"): "results.json does not record the class sizes' source yet, so lists are read",
}


def imported(file: Path) -> set[str]:
    """Modules that a file imports, at its top or within functions, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {part for part in parts if (PROJECT / part.replace(".", "/")).with_suffix(".py").is_file()}
            found |= modules or {node.module}
    return found


def breaks(file: Path) -> set[tuple[str, str]]:
    """(file, module) of the imports of a file of the project that the table does not allow."""
    name = file.relative_to(PROJECT).as_posix()
    room = name.split("/")[0].removesuffix(".py")
    allowed = SCRIPTS.get(room) or ROOMS[room] | {room}
    found = set()
    for module in imported(file):
        top = module.split(".")[0]
        ours = top in ROOMS or top in SCRIPTS or top in ("benchmarks", "tests")
        only = ONLY.get(room, {}).get(top)
        if ours and (top not in allowed or only and module not in only or module in NEVER.get(room, ())):
            found.add((name, module))
    return found


def files_of(room: str) -> list[Path]:
    return sorted((PROJECT / room).rglob("*.py")) if room in ROOMS else [PROJECT / f"{room}.py"]


@pytest.mark.parametrize("room", [*ROOMS, *SCRIPTS])
def test_imports_go_downwards(room):
    files = files_of(room)
    assert files
    found = set().union(*map(breaks, files))
    assert found == {pair for pair in EXCEPTIONS if pair[0].split("/")[0].removesuffix(".py") == room}


def test_every_package_has_its_place():
    packages = {path.parent.name for path in PROJECT.glob("*/__init__.py")}
    assert packages == {*ROOMS, "benchmarks", "tests"}


def test_utils_stay_small():
    files = files_of("utils")
    assert len(files) <= 10
    assert sum(len(file.read_text().splitlines()) for file in files) <= 1000


def options_in_errors(file: Path) -> set[str]:
    """Texts with a command-line option in them that a file raises, as `line: text`."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Raise):
            continue
        texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        found |= {f"{node.lineno}: {text}" for text in texts if re.search(r"(^|[\s`'\"(])--[a-zA-Z]", text)}
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_libraries_do_not_name_options(room):
    """Only the files that define options (`flags.py`, or a program with a parser of its own) tell users of them."""
    files = [f for f in files_of(room) if f.name != "flags.py" and f != PROJECT / "utils" / "cli.py"]
    files = [f for f in files if "Parser(" not in f.read_text()]
    found = {file.relative_to(PROJECT).as_posix(): texts for file in files if (texts := options_in_errors(file))}
    assert found == {}
