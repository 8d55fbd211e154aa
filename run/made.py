"""How a result was made: code, libraries, machine and command line, without private folders, users and hosts.

torch is imported inside functions only: tables and reports, which shorten paths here, must not need it.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from run.processor import processor
from utils.files import PROJECT

# Within a sentence, an absolute path or one that begins with a home folder's ~.
_PATH = re.compile(r"(?<![\w.…/~<-])~?/(?:[^\s,;:'\"()<>/]+/)*([^\s,;:'\"()<>/]+)/?")


def how_made() -> dict[str, str]:
    """git revision, versions of the libraries, machine, and the command line of this process."""
    return {**provenance(), "machine": machine(), "command": command(sys.argv)}


def provenance() -> dict[str, str]:
    """git revision of the code ('-dirty' with local changes) and the versions of the libraries."""
    import torch
    import torchvision

    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        revision = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        revision = ""
    versions = {
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "torchvision": torchvision.__version__,
    }
    return {"git": revision or "unknown", **versions}


def command(argv: list[str]) -> str:
    """A process's sys.argv as a shell command, `python train_cifar.py ...`, with paths as short_path makes them."""
    script = short_path(argv[0])
    module = re.fullmatch(r"(.+)/__main__\.py", script)
    program = ["-m", module[1].replace("/", ".")] if module else [script]
    return " ".join(["python", *map(_quoted, [*program, *map(_short_word, argv[1:])])])


def _quoted(word: str) -> str:
    """A word quoted for a shell where that is needed; the … and ~ of short_path stay without quotes."""
    return word if re.fullmatch(r"[\w@%+=:,./…~-]+", word) else shlex.quote(word)


def _short_word(word: str) -> str:
    """A word of a command line with its path shortened; an option may be before it: --data=/home/me/photos."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    outside = value.startswith(("/", "~")) or ".." in value.split("/")
    return f"{option}{equals}{short_path(value)}" if outside else word


def short_path(path: str) -> str:
    """A path in the current or the project's folder relative to it; of any other path the last name, `…/photos`.

    A user's home folder is `~`.
    """
    place = Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111 - of a link the link
    for folder in (Path.cwd(), PROJECT):
        if place.is_relative_to(folder):
            return place.relative_to(folder).as_posix()
    if place in (_home(), Path("/")) or place.parent in (Path("/home"), Path("/Users")):
        return "~"
    return f"…/{place.name}"


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # the user has no home folder
        return None


def short_text(text: str, folders: Iterable[Path] = ()) -> str:
    """A sentence with shorter paths: those in one of the folders relative to it, other absolute ones as `…/name`."""
    for folder in folders:
        for place in {str(folder), str(folder.absolute()), str(folder.resolve())} - {"/", "."}:
            text = text.replace(f"{place}/", "")
    return _PATH.sub(r"…/\1", text)


def machine() -> str:
    """Processor, cores of this process, GPUs: `AMD EPYC 7R13 Processor, 2 cores, no GPU`."""
    import torch

    from utils.distributed import cores

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [torch.cuda.get_device_name(i) for i in range(count)]
    gpus = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)) or "no GPU"
    return f"{processor()}, {cores()} cores, {gpus}"
