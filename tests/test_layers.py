"""The layers of docs/design.md: a package imports only packages below it. And: only flags.py files name options."""

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
# package -> package it may import -> the only modules of it that it may import.
ONLY = {
    "analysis": {"probe": {"probe.protocols"}, "run": {"run.names", "run.changes", "run.made"}},
    "recipes": {"probe": {"probe.protocols"}},
}
NEVER = {"analysis": {"split.ensure"}}
# Imports (file, module) that are allowed nevertheless -> the reason.
EXCEPTIONS: dict[tuple[str, str], str] = {}


def imported(file: Path) -> set[str]:
    """The modules that a file imports, at its top or within functions, as dotted names."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = {name for name in names if (PROJECT / name.replace(".", "/")).with_suffix(".py").is_file()}
            modules |= submodules or {node.module}
    return modules


def forbidden_imports(file: Path) -> set[tuple[str, str]]:
    """(file, module) of a file's imports that the tables above do not allow."""
    name = file.relative_to(PROJECT).as_posix()
    room = name.split("/")[0].removesuffix(".py")
    allowed = SCRIPTS.get(room) or ROOMS[room] | {room}
    forbidden = set()
    for module in imported(file):
        top = module.split(".")[0]
        of_project = top in ROOMS or top in SCRIPTS or top in ("benchmarks", "tests")
        only = ONLY.get(room, {}).get(top)
        if of_project and (top not in allowed or only and module not in only or module in NEVER.get(room, ())):
            forbidden.add((name, module))
    return forbidden


def files_of(room: str) -> list[Path]:
    """The files of a package, or the file of a script."""
    return sorted((PROJECT / room).rglob("*.py")) if room in ROOMS else [PROJECT / f"{room}.py"]


@pytest.mark.parametrize("room", [*ROOMS, *SCRIPTS])
def test_imports_go_downwards(room):
    files = files_of(room)
    assert files
    forbidden = set().union(*map(forbidden_imports, files))
    assert forbidden == {pair for pair in EXCEPTIONS if pair[0].split("/")[0].removesuffix(".py") == room}


def test_every_package_has_its_place():
    packages = {path.parent.name for path in PROJECT.glob("*/__init__.py")}
    assert packages == {*ROOMS, "benchmarks", "tests"}


def test_utils_stay_small():
    files = files_of("utils")
    assert len(files) <= 10
    assert sum(len(file.read_text().splitlines()) for file in files) <= 1000


# An option, or the dashes before a name that an f-string inserts.
OPTION = re.compile(r"(?:^|[\s`'\"(\[,;:/])--(?:[a-zA-Z{]|$)")


def options_named(source: str) -> set[str]:
    """String literals of a file, as `line: text`, that mention an option to the user.

    These are the strings with an option within a `raise`, and those with an option and several words anywhere else, as
    the text of an error may come from a name or a function. The pieces of an f-string and adjacent literals count as
    one string. Docstrings do not count, as they are for readers of the code; neither do single words outside a `raise`,
    which belong to the command lines of other programs.
    """
    tree = ast.parse(source)
    raised = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Raise) for part in ast.walk(node)}
    done = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    mentions = set()
    for node in ast.walk(tree):  # outer nodes come before inner ones
        if isinstance(node, ast.JoinedStr):
            # Strings within the inserted expressions are checked separately.
            done |= {id(part) for part in node.values if isinstance(part, ast.Constant)}
            text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in done:
            text = node.value
        else:
            continue
        if OPTION.search(text) and (id(node) in raised or re.search(r"\w\s|\s\w", text)):
            mentions.add(f"{node.lineno}: {text}")
    return mentions


@pytest.mark.parametrize(
    "code",
    [
        'raise InputError("give --data")',
        'raise InputError("--data")',
        "raise InputError(f'{path} is gone: `--data DIR` says where')",
        'raise InputError(f"--data {path} is gone")',
        'raise InputError(f"{path} is gone: " "give " f"--data")',
        'raise InputError(f"{source} does not say: give --{name}")',
        'raise InputError("{} is gone: give --data".format(path))',
        'raise InputError("it is gone: give --" + name)',
        'raise InputError("; ".join(["it is gone", "give (--data)"])) from error',
        "raise InputError(f\"{path}: {'give --data' if path else 0}\")",
        'why = "give --data"\nraise InputError(why)',
        'def why(path):\n    """Of --data."""\n    return f"{path} is gone: give --data"',
        'ADVICE = "python -m split.make_splits --data DIR"',
    ],
)
def test_an_option_is_found(code):
    assert len(options_named(code)) == 1


@pytest.mark.parametrize(
    "code",
    [
        '"""--data: where."""\nraise InputError("give a folder")',
        'def load():\n    """Load what --data says."""\n    return ["git", "describe", "--always"]',
        'raise InputError(f"{path} is gone -- give {GIVE_DATA}")',
    ],
)
def test_other_texts_are_not(code):
    assert not options_named(code)


@pytest.mark.parametrize("room", [*ROOMS, *SCRIPTS])
def test_only_flags_name_options(room):
    """Only the files that define options, each package's flags.py and utils/cli.py, mention them in messages."""
    files = [f for f in files_of(room) if f.name != "flags.py" and f != PROJECT / "utils" / "cli.py"]
    mentions = {f.relative_to(PROJECT).as_posix(): texts for f in files if (texts := options_named(f.read_text()))}
    assert mentions == {}
