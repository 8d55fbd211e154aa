"""A small study as its runs leave it, and its page taken apart, for the tests of reports."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from tests.analysis.experiments import SDCLR_SUFFIX, accuracies, counts_of, experiment, result, write

MADE = {
    "git": "c9bffb5deadb", "python": "3.11.9", "torch": "2.14.1+cpu", "torchvision": "0.29.1",
    "machine": "AMD EPYC 7R13 Processor, 2 cores, no GPU", "command": "python train_cifar.py run --dataset digits",
}  # fmt: skip
PROBES = {"linear": "sdclr-linear", "fewShot": "sdclr-fewshot"}
WORDS = ["--dataset", "digits", "--LT", "--method", "simclr", "sdclr", "--probe", *PROBES]
VOID = {"meta", "img", "br", "link"}


def write_study(root: Path, splits=(1, 2, 3)) -> None:
    """SimCLR and SDCLR on digits, with curves, views and tail sheets; the results of the last split are older ones."""
    for n in splits:
        for suffix, method in (("", "simclr"), (SDCLR_SUFFIX, "sdclr")):
            for probe, protocol in PROBES.items():
                pretrained, probed = folders_of(root, n, probe, suffix)
                per_class = accuracies(10, n + 50 * bool(suffix))
                more = recorded(pretrained.name, method, n, older=n == splits[-1] > 1)
                write(probed / "results.json", result(per_class, counts_of(10, n), protocol=protocol, **more))
                lines = [{"epoch": e, "val_top1": 50 + n * e} for e in range(1, 6)]
                write(probed / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
            losses = [{"epoch": e, "loss": 5 / e, "loss_few": 4 / e, "train_s": 1.5} for e in range(1, 21)]
            write(pretrained / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in losses))
            picture(pretrained / "views.png", (16, 70), n)
    for method in ("simclr", "sdclr", "unknown"):
        picture(root / "tail_digits" / method / "loss_sheet.png", (300, 120), 9)
        write(root / "tail_digits" / method / "tail.txt", f"digits, 405 images\nmodel_20.pt of {method}\n\nmore\n")


def folders_of(root: Path, n: int, probe: str = "linear", suffix: str = "") -> tuple[Path, ...]:
    """Those of pre-training and probe, of 20 epochs."""
    return tuple(
        path.with_name(path.name.replace("2000", "20")) for path in experiment(root, "digits", n, probe, suffix)
    )


def recorded(experiment: str, method: str, n: int, older: bool) -> dict:
    """What results.json tells of a run, since there are reports or before."""
    name = f"digits_split{n}_D_i.npy"
    list_ = {"name": f"lists/{name}", "path": name, "sha1": "cf2dc1daf" + "0" * 31, "source": "generated"}
    settings = {"epochs": 20, "method": method}
    before = {"experiment": experiment, "method": method, "dataset": "digits", "list": list_, "split": n, "epochs": 20}
    how = {"precision": "bf16", "augment": "batched"}
    command = f"python train_simCLR.py {method}"
    before |= {**how, "settings": settings}
    if older:
        return {"dataset": "digits", "precision": "bf16", "pretraining": before, "provenance": {"git": "abc"}}
    before["provenance"] = {**MADE, "command": command}
    told = {"dataset": "digits", "precision": "bf16", "seconds": 155.4, "seed": 10}
    return {**told, "provenance": MADE, "pretraining": before}


def picture(path: Path, size: tuple[int, int], seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


class Element:
    """An element with its attributes, its children and its text."""

    def __init__(self, name: str, attributes: dict, parent: "Element | None") -> None:
        self.name, self.attributes, self.parent, self.children, self.words = name, attributes, parent, [], []

    def all(self, *names: str) -> list["Element"]:
        """The elements below of these names, in order; of any, where none is given."""
        found = []
        for child in self.children:
            found += [child] * (not names or child.name in names) + child.all(*names)
        return found

    @property
    def text(self) -> str:
        return "".join(word if isinstance(word, str) else word.text for word in self.words)


class Page(HTMLParser):
    """A page as a tree, `root`; elements that are not closed, or closed twice, fail."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.at = self.root = Element("", {}, None)
        self.feed(text)
        self.close()
        assert self.at is self.root, f"{self.at.name} is not closed"

    def handle_starttag(self, tag: str, attrs: list) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        element = Element(tag, dict(attrs), self.at)
        self.at.children.append(element)
        self.at.words.append(element)
        if tag not in VOID:
            self.at = element

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.at.name == tag, f"</{tag}> closes {self.at.name}"
            self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.words.append(data)


def cells_of(table: Element) -> list[list[str]]:
    return [[cell.text for cell in row.children] for row in table.all("tr")]
