"""Tables and figures of the user's own images: which images and classes a result is of."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis.figures import make_figures
from analysis.flags import Wanted
from analysis.read import own_images_of
from analysis.report.tables import class_table
from analysis.rows import collect
from analysis.sdclr_table import make_tables
from data.sets.registry import data_set
from tests.analysis.experiments import result, write
from tests.conftest import one_line_error, slow_but
from utils.errors import InputError

ARGS = ["--dataset", "folder", "--method", "simclr", "sdclr", "--data"]


def write_own(root: Path, method: str, classes: int, split: int = 0, images: str = "", **changes) -> Path:
    """results.json of a probe of the photos' network; returns its folder."""
    name = f"split{split}_D_i" if split else "train"
    settings = {"method": method, "dataset": "folder", "epochs": 2}
    pretraining = {"experiment": f"{method}_{name}", "method": method, "dataset": "folder", "list": {"name": name}}
    pretraining |= {"split": split, "epochs": 2, "settings": settings}
    counts = list(range(10 * classes, 10, -10)) + [10]
    content = {"class_names": [f"class {c}" for c in range(classes)], "dataset": "folder", "pretraining": pretraining}
    content |= ({"own_images": images} if images else {}) | changes
    accuracies = [90.0 - 80 * c / classes for c in range(classes)]
    folder = root / "checkpoints_photos_tune" / f"{method}_{name}_{classes}{images}"
    write(folder / "results.json", result(accuracies, counts, **content))
    return folder


# ---- the number and the names of classes


@pytest.mark.parametrize(("first", "second"), slow_but((9, 6), [(6, 9), (9, 6)]))
@pytest.mark.parametrize("where", ["methods", "splits"])
def test_results_with_another_number_of_classes(tmp_path, call, first, second, where):
    """A folder of a class was added between two runs: refused, or noted, and figures are of those that fit."""
    write_own(tmp_path, "simclr", first, 1)
    write_own(tmp_path, *(("sdclr", second, 1) if where == "methods" else ("simclr", second, 2)))
    words = [*ARGS, "/a/photos", "--LT", "--splits", 1, 2]
    line = one_line_error(call("exp_analyse.py", *words), "results that differ in classes", "--mix")
    assert f"{first} classes" in line and f"{second} classes" in line
    done = call("exp_analyse.py", *words, "--mix", "--plot", "new", "--report", "page")
    assert (done.returncode, done.stderr) == (0, "")
    assert "mixed results, classes: " in done.stdout
    names = {path.stem for path in (tmp_path / "new").iterdir()}
    assert "groups" in names and ("classes" in names) == ("sizes" in names) == (where == "methods")


def figures_of(root: Path, **changes) -> dict:
    """The figures of the rows in a table of all own results."""
    wanted = Wanted(root, splits=[1, 2], mix=True, **changes)
    rows = collect(data_set("folder").called("/a/photos"), ["simclr", "sdclr", "focal"], "linear", wanted)
    return make_figures({}, {"linear": list(rows.values())}, "photos")


def test_figures_of_classes_are_of_methods_with_the_same_number(tmp_path):
    for method, classes in (("simclr", (6, 9)), ("sdclr", (9, 9)), ("focal", (6, 6))):
        for split, number in zip((1, 2), classes, strict=True):
            write_own(tmp_path, method, number, split)
    found = figures_of(tmp_path)
    for name in ("classes", "sizes"):
        _, labels = found[name].axes[0].get_legend_handles_labels()
        assert labels == ["SDCLR"]


def test_names_of_classes_count_too(tmp_path):
    """As many classes with other names, as after renaming or adding and removing a folder; order counts."""
    names = [f"class {c}" for c in range(6)]
    write_own(tmp_path, "simclr", 6)
    for others in (["x", *names[1:]], names[::-1], None):
        folder = write_own(tmp_path, "sdclr", 6, class_names=others)
        wanted = Wanted(tmp_path, "folder", "/a/photos", False, ["simclr", "sdclr"], ["linear"])
        with pytest.raises(InputError, match="results that differ in classes: 6 classes.* in .*, 6 classes"):
            make_tables(wanted)
        (table,) = make_tables(Wanted(tmp_path, "folder", "/a/photos", False, wanted.method, wanted.probe, mix=True))
        assert "class 0</th>" not in class_table(table) and ">6</th>" in class_table(table)  # ranks
        (folder / "results.json").unlink()
    write_own(tmp_path, "sdclr", 6)
    (table,) = make_tables(wanted)
    assert table.notes == ["lists: generated"] and "class 0</th>" in class_table(table)


def test_many_names_are_a_short_line(tmp_path, call):
    """A thousand classes of which one was renamed."""
    names = [f"class {c}" for c in range(1000)]
    for method, changed in (("simclr", names), ("sdclr", [*names[:500], "x", *names[501:]])):
        counts = list(range(1000, 0, -1))
        write_own(tmp_path, method, 1000, class_names=changed, class_counts=counts)
    line = one_line_error(call("exp_analyse.py", *ARGS, "/a/photos"), "results that differ in classes: 1000 classes")
    assert len(line) < 600


# ---- which images


def test_results_of_other_images_are_left_out(tmp_path, call):
    """/a/photos and /b/photos have one folder of checkpoints, and one name."""
    a, b = (data_set("folder").called(f"/{x}/photos") for x in "ab")
    assert a.checkpoints == b.checkpoints and a.folder != b.folder
    write_own(tmp_path, "simclr", 6, images=a.folder)
    line = one_line_error(call("exp_analyse.py", *ARGS, "/b/photos"), "no result", "other images", "--mix True")
    assert f"simclr_train_6{a.folder}" in line
    done = call("exp_analyse.py", *ARGS, "/a/photos")
    assert done.returncode == 0 and "other images" not in done.stdout and "SimCLR  1  " in done.stdout
    # Both have results: the other one is no second setting of the same method.
    write_own(tmp_path, "simclr", 9, images=b.folder)
    for other, data in ((b, "/a/photos"), (a, "/b/photos")):
        done = call("exp_analyse.py", *ARGS, data)
        assert done.returncode == 0, done.stderr
        (note,) = [line for line in done.stdout.splitlines() if line.startswith("note: ")]
        assert "other images" in note and other.folder in note
    one_line_error(call("exp_analyse.py", *ARGS, "/a/photos", "--mix"), "several settings of SimCLR")


def test_images_that_were_moved_are_shown_where_it_is_told(tmp_path, call):
    a = data_set("folder").called("/a/photos")
    write_own(tmp_path, "simclr", 6, images=a.folder)
    done = call("exp_analyse.py", *ARGS, "/moved/photos", "--mix")
    assert done.returncode == 0 and f"images are {a.folder}, not " in done.stdout


def test_results_from_before_images_were_told(tmp_path, call):
    """Also beside newer ones."""
    write_own(tmp_path, "simclr", 6)
    done = call("exp_analyse.py", *ARGS, "/b/photos")
    assert done.returncode == 0 and "note: lists: generated\n" in done.stdout
    write_own(tmp_path, "sdclr", 6, images=data_set("folder").called("/b/photos").folder)
    assert call("exp_analyse.py", *ARGS, "/b/photos").stdout.count("note: lists: generated\n") == 1


@pytest.mark.parametrize("value", [None, 7, [], {}, ["x"]])
def test_odd_values_tell_nothing(tmp_path, value):
    assert own_images_of(write_own(tmp_path, "simclr", 3, own_images=value)) == ""
    assert own_images_of(tmp_path) == ""


@pytest.mark.slow
def test_a_probe_tells_which_images_it_is_of(tmp_path, call, ledger, monkeypatch):
    """From the command lines to the table; two folders of one name."""
    import split.open

    monkeypatch.setattr(split.open, "ROOT", tmp_path / "lists")
    (tmp_path / "lists").mkdir()
    rng = np.random.default_rng(0)
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        content = {
            f"{part}_images": rng.integers(0, 256, (n, 12, 12, 3), np.uint8) for part, n in (("train", 30), ("test", 6))
        }
        labels = {"train_labels": np.arange(30) % 3, "test_labels": np.arange(6) % 3}
        np.savez(tmp_path / place / "photos.npz", **content, **labels)
    shared = ["--dataset", "folder", "--data", "a/photos.npz", "--model", "res20_s", "--epochs", 1,
              "--num_workers", 0, "--precision", "fp32"]  # fmt: skip
    pretrain = ["--batch_size", 8, "--optimizer", "sgd", "--lr", "0.1", "--output_ch", 8, "--save-dir", "own"]
    pretrain += ["--imagenetCustomSplit", "train"]
    assert call("train_simCLR.py", "run", *shared, *pretrain).returncode == 0
    probe = ["--batch-size", 8, "--lr", 1, "--wd", 0, "--fullset", "--cvt_state_dict", "--save-dir",
             "checkpoints_photos_tune", "--checkpoint", tmp_path / "own" / "run" / "model.pt"]  # fmt: skip
    done = call("train_imagenet.py", "probe", *shared, *probe)
    assert done.returncode == 0, done.stderr
    recorded = json.loads((tmp_path / "checkpoints_photos_tune" / "probe" / "results.json").read_text())
    assert recorded["own_images"] == data_set("folder").called("a/photos.npz").folder
    words = ["exp_analyse.py", "--dataset", "folder", "--data"]
    done = call(*words, tmp_path / "a" / "photos.npz", "--mix")  # as this short probe is of no protocol
    assert done.returncode == 0 and "images are" not in done.stdout
    one_line_error(call(*words, "b/photos.npz"), "other images")
