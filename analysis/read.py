"""Read one evaluation: results.json, or a log in the authors' format where there is no results.json."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from analysis.flags import CHOOSE, CHOOSE_OR_MIX
from utils.errors import InputError
from utils.files import read_file
from utils.text import one_line

LARGEST = 1 << 28  # bytes of a log or a result
LOG = "a log in the authors' format"
TOPS = ("top1", "top5")
PER_CLASS = re.compile("(Each class acc|acc per class) is(.*)")


def read_result(folder: Path, protocol: str, classes: int, mix: bool = False) -> dict[str, Any] | None:
    """One evaluation, from results.json, else from a log; None where there is none yet.

    Args:
        folder: the probe's. protocol: its name. classes: number of the data set's classes; 0 for own images, where the
            file has it. mix: accept results of another protocol.

    Returns:
        {'per_class': percent; 'class_counts': images, or None; 'top1', 'top5': percent, None where the file has none;
        'class_names': of own images, else None; 'notes': set of remarks for the reader of the table; 'file': Path;
        'kind': what must be the same in all results of a table, name -> value in words}.

    Raises:
        InputError: the file is damaged, or of another protocol.
    """
    file = folder / "results.json"
    if not file.is_file():
        return _result_of_log(folder / "log.txt", protocol, classes, mix)
    try:
        result = json.loads(read_file(file, LARGEST))
        if None in result["per_class"]:
            c = result["per_class"].index(None)
            raise InputError(f"{file} has no accuracy of class {c}: none of its test images could be read")
        per_class, counts = [float(a) for a in result["per_class"]], result["class_counts"]
        classes = classes or len(per_class)
        tops = {top: None if result.get(top) is None else float(result[top]) for top in TOPS}
        sources = sorted({str(item["source"]) for item in result["lists"].values() if item})
        notes = {f"{k} is {ours}, not the protocol's {theirs}" for k, (ours, theirs) in result["departs"].items()}
        notes |= {f"lists: {source}" for source in sources}
        counts_valid = counts is None or (
            len(counts) == classes and all(isinstance(count, int) and count >= 0 for count in counts)
        )
        notes = {one_line(note) for note in notes} | _other_protocol(file, result["protocol"], protocol, mix)
        kind = _kind(result, sources)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"{file} is damaged or half-written: run that probe again") from error
    accuracies = [*per_class, *(top for top in tops.values() if top is not None)]
    if len(per_class) != classes or not counts_valid or not all(0 <= a <= 100 for a in accuracies):
        raise InputError(f"{file} does not hold {classes} accuracies and class sizes: run that probe again")
    return {"per_class": per_class, "class_counts": counts, **tops, "notes": notes, "file": file, "kind": kind,
            "class_names": _class_names(result)}  # fmt: skip


def _class_names(result: dict[str, Any]) -> list[str] | None:
    """The classes' names, of own images; None where classes are numbers."""
    names = result.get("class_names")
    complete = isinstance(names, list) and len(names) == len(result["per_class"])
    return names if complete and all(isinstance(name, str) for name in names) else None


class Pretraining(NamedTuple):
    """What a probe's results.json records of the probe and of its pre-training.

    probe: name of the probe. dataset, protocol: the probe's. labelled: its list of labelled images, without .txt; ''
    where the file names none. The others are the pre-training's; experiment: its name.
    """

    probe: str
    dataset: str
    protocol: str
    labelled: str
    experiment: str
    pretrained_on: str  # data set
    list: str
    epochs: int
    settings: dict[str, Any]


def read_pretraining(folder: Path) -> Pretraining | None:
    """The pre-training that a probe's results.json records; None where the file is missing, damaged, or has none."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        result = json.loads(read_file(folder / "results.json", LARGEST))
        pretraining = result["pretraining"]
        probe = (str(result.get(key)) for key in ("experiment", "dataset", "protocol"))
        labelled = str((result["lists"].get("train") or {}).get("path", "")).removesuffix(".txt")
        settings = {k: v for k, v in pretraining["settings"].items() if isinstance(v, str | int | float | None)}
        if isinstance(settings["epochs"], int) and isinstance(settings.get("method"), str | None):
            experiment, dataset = Path(pretraining["experiment"]).name, str(pretraining["dataset"])
            names = experiment, dataset, str(pretraining["list"]["name"])
            return Pretraining(*probe, labelled, *names, int(pretraining["epochs"]), settings)
    return None


def own_images_of(folder: Path) -> str:
    """Which of the user's own images a probe's results.json is of, as FolderSet.folder; '' where it does not say."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        images = json.loads(read_file(folder / "results.json", LARGEST))["own_images"]
        return one_line(images) if isinstance(images, str) else ""
    return ""


def _kind(result: dict[str, Any], sources: list[str]) -> dict[str, str]:
    """What must be the same in all results of a table: name -> value in words."""
    kind = {key: result.get(key, "not told") for key in ("protocol", "protocol_version", "dataset", "model")}
    # Results without a precision are older than that option: they are fp32.
    kind |= {"precision": result.get("precision", "fp32"), "departs": result["departs"] or "nothing"}
    recorded = result.get("pretraining")
    pretraining = recorded if isinstance(recorded, dict) else {}
    kind["pretraining"] = {k: pretraining[k] for k in ("precision", "augment") if k in pretraining} or "not told"
    words = {k: one_line(v if isinstance(v, str) else json.dumps(v, sort_keys=True)) for k, v in kind.items()}
    return {"record": "results.json", **words, "lists": one_line(" and ".join(sources)) or "not told"}


def _other_protocol(file: Path, recorded: Any, protocol: str, mix: bool) -> set[str]:
    """A note where the recorded protocol is another one; without `mix`, an InputError."""
    if recorded == protocol:
        return set()
    if not mix:
        raise InputError(f"{file} is of protocol {recorded}, not {protocol}: {CHOOSE}")
    return {one_line(f"protocol is {recorded}, not {protocol}")}


def check_alike(results: list[dict[str, Any]], mix: bool) -> list[str]:
    """Notes on how results that share a table differ in kind; without `mix` they may not differ.

    Args:
        results: of read_result.

    Raises:
        InputError: two of them do not belong together.
    """
    kinds: dict[str, dict[str, Path]] = {}  # key -> value -> the first file that has it
    for result in results:
        for key, value in result["kind"].items():
            kinds.setdefault(key, {}).setdefault(value, result["file"])
    mixed = {key: files for key, files in kinds.items() if len(files) > 1}
    if mixed and not mix:
        key, files = next(iter(mixed.items()))
        (a, first), (b, second), *_ = files.items()
        raise InputError(f"results that differ in {key}: {a} in {first}, {b} in {second}; {CHOOSE_OR_MIX}")
    return [f"mixed results, {key}: {'; '.join(sorted(files))}" for key, files in mixed.items()]


def _result_of_log(path: Path, protocol: str, classes: int, mix: bool) -> dict[str, Any] | None:
    per_class = read_log(path, classes)
    if per_class is None:
        return None
    text, notes = read_text(path), {f"a result was read from {LOG}"}
    # The list of labelled images tells linear from few-shot probes; only logs that repeat the command line have it.
    lists = re.findall(r"\b(?:trainSplit|customSplit)='([^'\n]*)'", text)
    if lists and lists[-1] and protocol in ("sdclr-linear", "sdclr-fewshot"):
        few = re.search(r"_S_b\b|_sub_balance_", lists[-1])
        notes |= _other_protocol(path, "sdclr-fewshot" if few else "sdclr-linear", protocol, mix)
    # The line of the result has Top-1 for images in memory, Top-5 for image files.
    result_lines, number = "\n".join(_last_evaluation(text)[1:]), r"(\d{1,2}(?:\.\d+)?|100(?:\.0+)?)(?![\d.])"
    patterns = {"top1": r"(?:test tacc is |top1 \()", "top5": r"top5 (?:tacc is |\()"}
    matches = {top: re.search(pattern + number, result_lines) for top, pattern in patterns.items()}
    tops = {top: float(match[1]) if match else None for top, match in matches.items()}
    result = {"per_class": per_class, "class_counts": None, **tops, "notes": notes, "file": path}
    return {**result, "kind": {"record": LOG}}


def read_text(log: Path) -> str:
    """A log's text; bytes that are not UTF-8 are replaced.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return read_file(log, LARGEST).decode(errors="replace")
    except OSError as error:
        raise InputError(f"{log} cannot be read: {error}") from error


def _last_evaluation(text: str) -> list[str]:
    """Lines of the last finished evaluation, from the accuracies of the classes to the result; [] if there is none."""
    lines = text.splitlines()
    ends = [i for i, line in enumerate(lines) if re.search("On the best_model, test (top5 )?tacc is", line)]
    if not ends:
        return []
    for start in range(ends[-1] - 1, -1, -1):
        # Validations have such lines, too, with `Epoch:`. A logger may have put the time before the test's line.
        if PER_CLASS.search(lines[start]) and "Epoch:" not in lines[start]:
            return lines[start : ends[-1] + 1]
    return []


def read_log(path: Path, classes: int) -> list[float] | None:
    """Per-class test accuracies (percent) of the last finished evaluation in a log; None if there is none.

    Raises:
        InputError: the line has not one number for each class.
    """
    evaluation = _last_evaluation(read_text(path)) if path.is_file() else []
    if not evaluation:
        return None
    name, words = PER_CLASS.search(evaluation[0]).groups()
    factor = 100 if name == "acc per class" else 1  # train_imagenet.py writes fractions
    try:
        values = [factor * float(word) for word in words.split()]
    except ValueError:
        values = []
    if len(values) != classes or not all(0 <= value <= 100.01 for value in values):
        raise InputError(f"{path} is damaged: '{name} is' is not followed by {classes} accuracies")
    return values
