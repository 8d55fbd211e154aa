"""Accuracy against the strength of augmentation, at a tiny size: each step in this process."""

import json

import pytest

from benchmarks import strength
from benchmarks.study.kept import results_in
from tests.benchmarks.studies import options_of, steps_here
from tests.conftest import one_line_error
from tests.figure_checks import check_figure

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_from_strengths_to_a_table_and_a_figure(call, tmp_path, monkeypatch):
    ran, figures = steps_here(call, monkeypatch), []
    monkeypatch.setattr(strength, "write_figure", lambda figure, path: figures.append(figure))
    words = ["--work", tmp_path, "--out", tmp_path / "new", "--strengths", "0", "1.5", "--splits", "2", "--jobs", "1"]
    done = call("benchmarks/strength.py", *words, "--epochs", "1", "--model", "res20_s")
    assert done.returncode == 0, done.stderr
    steps = list(map(options_of, ran))
    strong, weak = steps[3], steps[0]
    assert (weak["--strength"], strong["--strength"]) == ("0", "1.5") and weak[
        "--resizeLower"
    ] == "0.4"  # from the recipe
    assert "--strength" not in steps[1] and len(steps) == 6
    assert len({step["--checkpoint"] for step in steps if "--checkpoint" in step}) == 2
    results = results_in(tmp_path / "kept/digits-res20_s-1")
    assert results.keys() == {("strength-0", 2), ("strength-1.5", 2)}
    (figure,) = figures
    assert [axis.get_title() for axis in figure.axes] == ["linear probe", "few-shot probe"]
    for place, group in enumerate(("Many", "Medium", "Few")):
        line = figure.axes[1].containers[place].lines[0]
        expected = [results[f"strength-{s}", 2]["few-shot"]["groups"][group] for s in ("0", "1.5")]
        assert line.get_xdata().tolist() == [0, 1.5] and line.get_ydata().tolist() == pytest.approx(expected)
    check_figure(figure)
    text = (tmp_path / "new.txt").read_text()
    assert text in done.stdout and "strength-1.5" in text

    ran.clear()
    assert call("benchmarks/strength.py", *words, "--epochs", "1", "--model", "res20_s").returncode == 0 and not ran
    result = json.loads((tmp_path / "kept/digits-res20_s-1/split2/strength-0/linear.json").read_text())
    assert str(tmp_path) not in json.dumps(result)


def test_bad_input_is_one_line(call, tmp_path):
    one_line_error(call("benchmarks/strength.py"), "--work")
    one_line_error(call("benchmarks/strength.py", "--work", tmp_path, "--strengths", "-1"), "not between 0")
    one_line_error(call("benchmarks/strength.py", "--work", tmp_path, "--model", "res99"), "res99")
