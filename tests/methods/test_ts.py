"""Temperature schedules: the values, around any method, in recipes; every bad value is one line."""

import json
import math

import pytest
import torch

from methods.bcl import BCL
from methods.sdclr import SDCLR
from methods.ts import Schedule, TemperatureSchedule, read_schedule
from models import build_encoder
from recipes.flags import parse_recipe
from run.checkpoint import read_checkpoint
from tests.conftest import one_line_error
from tests.methods.test_bcl import Losses
from tests.run.test_resume import SMALL
from tests.scripts.test_train_scripts import same
from utils.errors import InputError

PUBLISHED = Schedule(0.1, 1.0, 400)


def test_the_published_schedule():
    """High in the first epoch, 0.1 after 200, high again after 400 (METHODS, section 7)."""
    found = {e: PUBLISHED.temperature(e) for e in (1, 100, 200, 300, 400, 2000)}
    expected = {100: 0.55, 200: 0.1, 300: 0.55, 400: 1.0, 2000: 1.0}
    assert {e: found[e] for e in expected} == pytest.approx(expected)
    assert 0.9999 < found[1] < 1
    # The authors count half periods of 200 epochs.
    assert found[300] == pytest.approx(0.1 + (1.0 - 0.1) * (1 + math.cos(math.pi * 300 / 200)) / 2)
    assert {Schedule(0.3, 0.3, 7).temperature(e) for e in range(1, 30)} == {0.3}


@pytest.mark.parametrize("around", [False, True])
def test_it_reaches_the_temperature_of_any_method(around):
    """Innermost or not, and the wrapped method does the rest."""
    torch.manual_seed(0)
    inner = SDCLR(build_encoder("res20_s", 8, 2, prune=True, dual_bn=True), 0.2, 0.5)
    scheduled = (
        TemperatureSchedule(BCL(inner, 4), PUBLISHED) if around else BCL(TemperatureSchedule(inner, PUBLISHED), 4)
    )
    plain = BCL(inner, 4)
    views, index = torch.rand(4, 2, 3, 8, 8), torch.arange(4)
    for epoch in (1, 200):
        scheduled.start_epoch(epoch)
        told = scheduled.measures()
        assert inner.temperature == told["temperature"] == PUBLISHED.temperature(epoch)
        assert "mask_density" in told and "score_std" in told
        plain.eval()
        assert torch.equal(scheduled.eval()(views, index), plain(views, index))


def test_a_method_without_a_temperature_is_refused():
    with pytest.raises(InputError, match="Losses has no temperature"):
        TemperatureSchedule(Losses(), PUBLISHED)


@pytest.mark.usefixtures("one_thread")
def test_where_it_does_not_move_it_is_the_method_itself(call, tmp_path):
    """To the bit; where it moves it is another training. Its temperatures are in metrics.jsonl."""
    options = [*SMALL, "--precision", "fp32", "--temperature", "0.3"]
    runs = {
        "plain": [],
        "still": ["--method", "ts", "--temperature_schedule", "0.3,0.3,5"],
        "moves": ["--temperature_schedule", "0.1,1.0,4"],
    }
    states = {}
    for name, more in runs.items():
        done = call("train_simCLR.py", name, *options, *more)
        assert done.returncode == 0, done.stderr
        states[name] = read_checkpoint(tmp_path / "checkpoints" / name / "model.pt")["state_dict"]
    assert same(states["plain"], states["still"]) and not same(states["plain"], states["moves"])
    lines = (tmp_path / "checkpoints/moves/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["temperature"] for line in lines] == pytest.approx([0.55, 0.1, 0.55])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("0.1,1.0", "not LOW,HIGH,PERIOD"), ("0.1,1.0,400,3", "not LOW,HIGH,PERIOD"), ("a,1,4", "not LOW,HIGH,PERIOD"),
        ("0.1,1.0,0", "neither epochs nor"), ("0.1,1.0,-4", "neither epochs"), ("0.1,1.0,nan", "neither epochs"),
        ("1.0,0.1,400", "0 < LOW <= HIGH"), ("0,1,400", "0 < LOW <= HIGH"), ("-1,1,400", "0 < LOW <= HIGH"),
        ("0.1,inf,400", "0 < LOW <= HIGH"), ("nan,1,400", "0 < LOW <= HIGH"),
    ],
)  # fmt: skip
def test_bad_schedules_are_one_line(call, tmp_path, given, told):
    one_line_error(call("train_simCLR.py", "x", *SMALL, f"--temperature_schedule={given}"), told)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("words", "wanted", "period"),
    [
        (["--dataset", "cifar10"], "0.1,1.0,0.2", 400),
        (["--dataset", "digits", "-e", "100"], "0.1,1.0,0.2", 20),
        (["--dataset", "imagenet-100", "-e", "800"], "0.1,1.0,400", 400),
        (["--dataset", "imagenet-100"], "0.1,1.0,0.2", 100),
        (["--dataset", "digits", "-e", "3"], "0.1,1.0,0.2", 1),
        (["--dataset", "digits", "-e", "100", "--temperature_schedule", "0.2,0.4,50"], "0.2,0.4,50", 50),
    ],
)
@pytest.mark.parametrize("method", ["ts", "sdclr+ts"])
def test_the_period_is_a_fifth_of_the_epochs_where_these_are_not_published_ones(words, wanted, period, method):
    recipe = parse_recipe([*words, "--method", method], "")
    assert recipe.values["temperature_schedule"] == wanted and recipe.experiment.endswith(
        f"_ts{wanted.replace(',', '-')}"
    )
    assert read_schedule(wanted, int(recipe.values["epochs"])).period == pytest.approx(period)
