"""exp_analyse.py --report: what the page says, of what, how it is built, and what it never tells."""

import base64
import getpass
import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest

from analysis.curves import OF_GROUPS
from analysis.published import published
from analysis.report.figures import CAPTIONS
from analysis.report.markup import tag
from data.sets.registry import data_set
from tests.analysis.experiments import (
    SDCLR_SUFFIX,
    accuracies,
    counts_of,
    experiment,
    result,
    row_by_hand,
    write,
    write_authors,
)
from tests.analysis.pages import MADE, WORDS, Element, Page, cells_of, folders_of, write_study
from tests.conftest import one_line_error, quick_first


@pytest.fixture
def report(call, tmp_path):
    """The page of exp_analyse.py, taken apart."""

    def make(*words: object) -> Element:
        done = call("exp_analyse.py", *words, "--report", tmp_path / "page")
        assert (done.returncode, done.stderr) == (0, "")
        path = tmp_path / "page" / "index.html"
        assert done.stdout.endswith(f"report: {path}\n") and [path] == list(path.parent.iterdir())
        return Page(path.read_text()).root

    return make


def tables_of(page: Element) -> dict[str, Element]:
    """By what their captions begin with; the first of several."""
    found = {}
    for table in page.all("table"):
        found.setdefault(table.all("caption")[0].text.split(",")[0], table)
    return found


# ---- what it says


def test_numbers_and_differences(tmp_path, report):
    write_study(tmp_path)
    page = report(*WORDS, "--splits", 1, 2, 3)
    head, *rows = cells_of(tables_of(page)["Test accuracy in %"])
    assert head == ["method", "n", "Many", "Medium", "Few", "Std", "All"]
    ours = {"SimCLR": 0, "SDCLR": 50}
    assert [row[0] for row in rows] == list(ours)
    for row, shift in zip(rows, ours.values(), strict=True):
        of_splits = [row_by_hand(accuracies(10, n + shift), counts_of(10, n)) for n in (1, 2, 3)]
        values = [[each[column] for each in of_splits] for column in head[2:]]
        assert row[1:] == ["3", *(f"{np.mean(v):.2f} ± {np.std(v):.2f}" for v in values)]
    gaps = cells_of(tables_of(page)["Difference to SimCLR"])[1]
    assert gaps[:2] == ["SDCLR", "3"] and re.fullmatch(r"[+-]\d+\.\d\d\[-?[\d.]+, [\d.]+\] p 0\.\d{3}", gaps[2])
    splits = cells_of(tables_of(page)["Each split: accuracy in %"])
    assert [row[0] for row in splits[1:]] == [f"{name}, split {n}" for name in ours for n in (1, 2, 3)]
    assert page.all("title")[0].text == page.all("h1")[0].text == "Results: digits"
    assert "SimCLR and SDCLR, pre-trained on D_i, 3 splits." in page.text


def test_published_numbers_and_logs(tmp_path, report):
    write_authors(tmp_path, "cifar10")
    page = report("--dataset", "cifar10", "--LT")
    theirs = published(data_set("cifar10"), "simclr", "linear")
    table = tables_of(page)["Test accuracy in %"]
    (_, ours, paper, gap) = cells_of(table)
    assert paper == ["published", "5", *(f"{mean:.2f} ± {std:.2f}" for mean, std in theirs.values())]
    assert gap[0] == "difference" and float(gap[6]) == pytest.approx(float(ours[6].split()[0]) - 75.55, abs=0.011)
    headings = [row.all("th")[0].attributes.get("aria-label") for row in table.all("tbody")[0].all("tr")]
    assert headings == [None, "SimCLR, published", "SimCLR, difference"]  # what a screen reader reads
    made = page.all("details")[-7].text
    assert "a log in the authors' format" in page.text and "not recorded" in made
    assert len(table.all("tbody")) == 1


@pytest.mark.slow
def test_classes_are_ranks_where_splits_differ_and_else_have_their_names(tmp_path, report):
    write_study(tmp_path, (1,))
    page = report(*WORDS, "--splits", 1)
    head, *rows = cells_of(tables_of(page)["digits"])
    assert head == ["class", "group", "images", "SimCLR", "SDCLR"]
    counts, ours = counts_of(10, 1), [accuracies(10, 1), accuracies(10, 51)]
    order = sorted(range(10), key=lambda c: -counts[c])
    groups = ["Many"] * 4 + ["Medium"] * 3 + ["Few"] * 3
    wanted = [
        [str(c), group, f"{counts[c]:,}", *(f"{a[c]:.2f}" for a in ours)]
        for c, group in zip(order, groups, strict=True)
    ]
    assert rows == wanted
    bars = page.all("td")
    lengths = [b.attributes["style"] for b in bars if b.attributes.get("class") == "bar"][:2]
    assert [re.search(r"--value: ([\d.]+)", style)[1] for style in lengths] == rows[0][3:]

    write_study(tmp_path)
    page = report(*WORDS)
    head, first, *_ = cells_of(tables_of(page)["digits"])
    best = [accuracies(10, n)[int(np.argmax(counts_of(10, n)))] for n in (1, 2, 3)]
    assert head[0] == "rank" and first[:4] == ["1", "Many", "4,500", f"{np.mean(best):.2f} ± {np.std(best):.2f}"]


@pytest.mark.slow
def test_how_each_number_was_made(tmp_path, report):
    write_study(tmp_path, (1, 2))
    page = report(*WORDS, "--splits", 1, 2)
    links = [a.attributes["href"] for a in tables_of(page)["Test accuracy in %"].all("a")]
    of_sdclr = next(e for e in page.all() if f"#{e.attributes.get('id')}" == links[1])
    told, older = (run.text for run in of_sdclr.children)
    assert told.startswith("SDCLR, split 1 bf16, commit c9bffb5deadb, 2.59 minutes")
    pairs = dict(
        (name.text, value.text)
        for name, value in zip(of_sdclr.children[0].all("dt"), of_sdclr.children[0].all("dd"), strict=True)
    )
    assert pairs == {
        "record": "results.json", "protocol": "sdclr-linear, version 1", "seed": "10",
        "lists": "train: a.npy, SHA-1 0, generated; val: b.npy, SHA-1 1, generated",
        "method": "sdclr", "epochs": "20", "precision": "bf16", "views": "batched", "commit": "c9bffb5deadb",
        "command": "python train_simCLR.py sdclr", "machine": MADE["machine"], "time": "30 s of training",
        "versions": "python 3.11.9, torch 2.14.1+cpu, torchvision 0.29.1",
        "list": f"digits_split1_D_i.npy, SHA-1 cf2dc1daf{'0' * 31}, generated",
    }  # fmt: skip
    assert older.startswith("SDCLR, split 2 bf16, commit abc, not recorded")
    assert older.count("not recorded") == 1 + 5 + 4  # commands, versions, machines; the probe's seed and time


@pytest.mark.slow
def test_pictures_are_those_of_the_runs(tmp_path, report):
    write_study(tmp_path)
    page = report(*WORDS)
    images = page.all("img")
    found = [base64.b64decode(i.attributes["src"].removeprefix("data:image/png;base64,")) for i in images]
    files = [folders_of(tmp_path, 1)[0] / "views.png", folders_of(tmp_path, 1, suffix=SDCLR_SUFFIX)[0] / "views.png"]
    files += [tmp_path / "tail_digits" / method / "loss_sheet.png" for method in ("simclr", "sdclr")]
    assert found == [path.read_bytes() for path in files]
    assert [(i.attributes["width"], i.attributes["height"]) for i in images[:2]] == [("128", "560")] * 2
    captions = [c.text for c in page.all("figcaption")[-2:]]
    assert captions == [
        f"{name}, loss digits, 405 images; model_20.pt of {name.lower()}" for name in ("SimCLR", "SDCLR")
    ]
    for content in (b"GIF89a", b"\x89PNG\r\n\x1a\n"):  # no picture, and half of one
        for path in tmp_path.glob("*/*/*.png"):
            path.write_bytes(content)
        assert not report(*WORDS).all("img")


# ---- how it is built


@pytest.mark.parametrize("words", [WORDS, ["--paper", "bcl", "--dataset", "digits", "--probe", "linear"]])
def test_a_page_is_whole_and_loads_nothing(tmp_path, report, words):
    write_study(tmp_path)
    page = report(*words)
    assert page.all("html")[0].attributes["lang"] == "en" and len(page.all("h1")) == len(page.all("main")) == 1
    levels = [int(e.name[1]) for e in page.all("h1", "h2", "h3", "h4")]
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    for table in page.all("table"):
        assert table.all("caption")[0].text
        head, *rows = table.all("tr")
        assert {th.attributes["scope"] for th in head.children} == {"col"}
        assert all([c.attributes.get("scope") for c in row.children][:2] == ["row", None] for row in rows)
        assert len({len(row.children) for row in (head, *rows)}) == 1
    for svg in page.all("svg"):
        assert svg.attributes["role"] == "img" and "SimCLR" in svg.attributes["aria-label"]
    assert all(image.attributes["alt"] for image in page.all("img"))
    ids = [e.attributes["id"] for e in page.all() if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for element in page.all():
        for name, value in element.attributes.items():
            if name in ("href", "src"):
                assert value[:1] == "#" and value[1:] in ids or value.startswith("data:image/png;base64,"), value
            assert name not in ("srcset", "xlink:href") and not name.startswith("on")
            for target in re.findall(r"url\(#(.*?)\)", value or ""):
                assert target in ids
    names = {e.name for e in page.all()}
    assert (
        not names & {"iframe", "object", "embed", "link", "base", "form", "metadata"} and len(page.all("script")) == 1
    )
    assert "@import" not in page.all("style")[0].text and "http" not in page.all("style")[0].text


def test_figures_are_those_of_the_terminal_and_take_the_colours_of_the_page(tmp_path, report):
    write_study(tmp_path)
    page = report(*WORDS)
    charts = {figure.attributes.get("id"): figure for figure in page.all("figure") if figure.all("svg")}
    names = ["groups", "few_vs_full", "classes", "sizes", "curves", "loss_by_group"]
    assert list(charts) == [f"figure-{name}" for name in names]
    for figure in charts.values():
        (svg,) = figure.all("svg")
        styles = " ".join(e.attributes.get("style", "") for e in svg.all())
        assert "currentColor" in styles and not re.search("#000000|#ffffff|#ebebeb", styles)
        assert not svg.all("style", "title") and len(svg.all("text")) > 5  # text that stays text
        assert figure.all("figcaption")[0].text
    assert "var(--shade)" in str([e.attributes for e in charts["figure-classes"].all()])
    assert {*names, "balanced", *(f"{key}_by_group" for key in OF_GROUPS)} == CAPTIONS.keys()


@pytest.mark.slow
def test_the_same_results_give_the_same_page(tmp_path, report):
    write_study(tmp_path)
    report(*WORDS)
    first = (tmp_path / "page" / "index.html").read_bytes()
    report(*WORDS, "--plot", tmp_path / "figures")
    second = (tmp_path / "page" / "index.html").read_bytes()
    assert first.rpartition(b"<footer>")[0] == second.rpartition(b"<footer>")[0]


# ---- names that are markup, and what is nobody's business


EVIL = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a&amp;b", "</table>", "\x1b[2J\u202e", *"fghij"]


def test_names_are_text(tmp_path, report):
    for suffix, shift in (("", 0), ("_pruneP0.9DualBN", 50)):
        _, probed = experiment(tmp_path, "digits", 1, suffix=suffix)
        evil = {"path": "</dd><script>.npy", "sha1": "<b>", "source": "<i>own</i>"}
        made = {name: f"<u>{value}" for name, value in MADE.items()}
        more = {"lists": {"train": evil}, "class_names": EVIL, "provenance": made, "departs": {"<s>": ["<a>", "&"]}}
        write(probed / "results.json", result(accuracies(10, shift), counts_of(10, 1), **more))
    page = report(*WORDS, "--splits", 1)
    assert len(page.all("script")) == 1 and not page.all("img", "b", "i", "u", "s")
    names = {row[0] for row in cells_of(tables_of(page)["digits"])[1:]}
    assert names == {*EVIL[:4], r"\x1b[2J\u202e", *"fghij"}
    assert "lists: <i>own</i>" in page.text and "<s> is <a>, not the protocol's &" in page.text


@pytest.mark.parametrize("names", quick_first([["a"], "abcdefghij", [1] * 10, {"a": 1}, None]))
def test_odd_class_names_are_numbers(tmp_path, report, names):
    _, probed = experiment(tmp_path, "digits", 1)
    write(probed / "results.json", result(accuracies(10, 0), counts_of(10, 1), class_names=names))
    table = tables_of(report("--dataset", "digits", "--LT", "--splits", 1))["digits"]
    assert sorted(row[0] for row in cells_of(table)[1:]) == list("0123456789")


def test_markup():
    assert tag("a", "<b>", 'x"', href='"&<') == '<a href="&quot;&amp;&lt;">&lt;b&gt;x"</a>'
    assert (
        tag("p", tag("br"), 5, None_=None, hidden=True, aria_label="\x00") == r'<p hidden aria-label="\x00"><br>5</p>'
    )


def test_no_folder_no_user_and_no_host_is_told(tmp_path, report, monkeypatch):
    """Those of older records neither, which have whole paths."""
    write_study(tmp_path, (1, 2))
    for path in tmp_path.glob("*/*/results.json"):
        told = json.loads(path.read_bytes())
        told |= {
            "checkpoint": f"{tmp_path}/kimberley/model.pt",
            "lists": {"train": {"path": "/home/kimberley/secret/a.npy", "source": "own"}},
        }
        if "seconds" in told:
            told["provenance"] = {
                **MADE,
                "command": "python /home/kimberley/secret/train_cifar.py --data ~/secret/photos",
            }
            told["pretraining"]["list"] |= {"path": None, "name": "/home/kimberley/secret/digits_split1_D_i.npy"}
        path.write_text(json.dumps(told))
    monkeypatch.setenv("HOME", str(tmp_path / "kimberley"))
    page = report(*WORDS, "--root", tmp_path, "--splits", 1, 2, 3)
    text = re.sub('base64,[^"]*', "", (tmp_path / "page" / "index.html").read_text())
    user = {getpass.getuser()} - {"root"}
    for secret in (str(tmp_path), str(tmp_path.parent), "kimberley", "secret", socket.gethostname(), *user):
        assert secret not in text, secret
    assert "nothing of it below checkpoints_digits_tune" in page.text
    assert "python …/train_cifar.py --data …/photos" in page.text and "listdigits_split1_D_i.npy" in page.text


# ---- bad input


def test_a_report_of_no_results(tmp_path, call):
    """Though there are published numbers, which a table would show."""
    done = call("exp_analyse.py", "--dataset", "cifar10", "--LT", "--report", "page", "--out", "tables")
    one_line_error(done, "there is no result to report below", str(tmp_path))
    assert done.stdout == "" and not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", quick_first(["file", "file/new", "page/index.html", "taken"]))
def test_a_folder_that_cannot_be_written(tmp_path, call, folder):
    write_study(tmp_path, (1,))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "taken" / "index.html").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    one_line_error(call("exp_analyse.py", *WORDS, "--splits", 1, "--report", folder), folder)
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "file").read_text() == "mine"


@pytest.mark.slow
def test_quiet(tmp_path, call):
    write_study(tmp_path, (1,))
    done = call("exp_analyse.py", *WORDS, "--report", "page", "--quiet")
    assert done.returncode == 0 and "report:" not in done.stdout and Path(tmp_path, "page", "index.html").is_file()
