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
    "analysis": {"probe": {"probe.protocols"}, "run": {"run.names", "run.changes", "run.made"}},
    "recipes": {"probe": {"probe.protocols"}},
}
NEVER = {"analysis": {"split.ensure"}}
# Each with the reason why it is still there.
EXCEPTIONS: dict[tuple[str, str], str] = {}


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


# An option, or the dashes before a name that is filled in.
OPTION = re.compile(r"(?:^|[\s`'\"(\[,;:/])--(?:[a-zA-Z{]|$)")


def options_named(source: str) -> set[str]:
    """Texts of a file's code, as `line: text`, that tell a user of an option.

    Those are the texts with one in a `raise`, and the sentences with one anywhere else, as an error may come from a
    name or a function; pieces of f-strings and adjacent literals are looked at as one text. Docstrings are for readers
    of the code, and a word alone is no sentence: it is of another program's command line.
    """
    tree = ast.parse(source)
    raised = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Raise) for part in ast.walk(node)}
    done = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    found = set()
    for node in ast.walk(tree):  # from the outside to the inside
        if isinstance(node, ast.JoinedStr):
            # What is filled in may hold texts in turn, which are looked at on their own.
            done |= {id(part) for part in node.values if isinstance(part, ast.Constant)}
            text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in done:
            text = node.value
        else:
            continue
        if OPTION.search(text) and (id(node) in raised or re.search(r"\w\s|\s\w", text)):
            found.add(f"{node.lineno}: {text}")
    return found


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
    """Who defines options, `flags.py` of each room and utils/cli.py, tells users of them; others take its texts."""
    files = [f for f in files_of(room) if f.name != "flags.py" and f != PROJECT / "utils" / "cli.py"]
    found = {f.relative_to(PROJECT).as_posix(): texts for f in files if (texts := options_named(f.read_text()))}
    assert found == {}
