"""Names of methods: what they stand for, what tables call them, how options and names of experiments give them."""

import itertools
import sys

import pytest

import pretrain.flags
from methods import METHODS, NAMED, ORDER, WRAPPERS, choose, label_of, load, method_in, method_names, method_of
from methods.base import Method, Wrapper
from tests.conftest import one_line_error
from utils.cli import Parser
from utils.errors import InputError

LABELS = {"untrained": "untrained", "simclr": "SimCLR", "focal": "Focal", "moclr": "MoCLR", "dnc": "DnC",
          "sdclr": "SDCLR", "bcl-i": "BCL-I", "bcl-d": "BCL-D", "rwsam": "rwSAM", "ts": "TS", "simclr+gh": "SimCLR+GH",
          "focal+bcl": "Focal+BCL"}  # fmt: skip
# As the papers' scripts choose them.
FLAGS = {
    "simclr": [],
    "focal": ["--focal"],
    "sdclr": ["--prune", "True", "--prune_dual_bn", "True", "--prune_percent", "0.9"],
    "bcl-i": ["--bcl"],
    "bcl-d": ["--prune", "--prune_dual_bn", "--prune_percent", "0.9", "--bcl", "--rand_k", "2"],
    "focal+bcl": ["--focal", "--bcl"],
    "ts": ["--temperature_schedule", "0.1,1.0,0.2"],
    "simclr+gh": ["--gh"],
    "bcl-i+gh": ["--gh", "--bcl"],
    "untrained": ["--epochs", "0"],
}


def test_labels():
    assert {name: label_of(name) for name in LABELS} == LABELS
    assert method_names()[: len(ORDER)] == list(LABELS)[:-1] == list(ORDER)
    assert set(method_names()) == {*ORDER, *METHODS, *NAMED}


@pytest.mark.parametrize("name", NAMED)
def test_a_composition_with_a_name_of_its_own_is_called_so(name):
    if name != "untrained":
        assert choose(NAMED[name].composed) == choose(name)
    assert choose(name).name == name


def test_every_composition_has_one_name_that_stands_for_it():
    for base, n in itertools.product(METHODS, range(len(WRAPPERS) + 1)):
        for wrappers in itertools.permutations(WRAPPERS, n):
            chosen = choose("+".join([base, *wrappers]))
            assert choose(chosen.name) == chosen
            assert chosen.lines == (METHODS[base], *(WRAPPERS[w] for w in wrappers))
            assert method_of({"method": chosen.name, "epochs": 3}) == chosen.name


@pytest.mark.parametrize(
    ("name", "words"),
    [("dino", "unknown method 'dino'"), ("simclr+x", "'x'"), ("bcl", "'bcl'"), ("simclr+sdclr", "'sdclr'"),
     ("bcl-i+bcl", "wrapper twice"), ("untrained+bcl", "has no wrapper"), ("", "''"), ("simclr+", "''")],
)  # fmt: skip
def test_what_is_no_method(name, words):
    with pytest.raises(InputError, match=words.replace("+", r"\+")):
        choose(name)


def test_classes_are_loaded_by_their_lines():
    assert all(issubclass(load(line), Method) and not issubclass(load(line), Wrapper) for line in METHODS.values())
    assert all(issubclass(load(line), Wrapper) for line in WRAPPERS.values())


@pytest.mark.parametrize("name", [*METHODS, *WRAPPERS])
def test_the_defaults_of_a_line_are_those_of_its_class(name):
    """But for switches, which are off where the method is another one."""

    def defaults(**given: str) -> dict:
        parser = Parser(None)
        load((METHODS | WRAPPERS)[name]).add_options(parser)
        parser.set_defaults(**given)
        return vars(parser.parse_args([]))

    own = {key: value for key, value in (METHODS | WRAPPERS)[name].options.items() if key in defaults()}
    of_the_line, of_the_class = defaults(**own), defaults()
    switches = {key for key in own if of_the_class[key] is False or of_the_class[key] == ""}
    assert {key: of_the_line[key] for key in own.keys() - switches} == {
        key: of_the_class[key] for key in own.keys() - switches
    }
    assert switches <= {"prune_dual_bn", "temperature_schedule", "sam_adaptive"}


@pytest.mark.parametrize("name", FLAGS)
def test_a_name_says_the_same_as_the_published_flags(monkeypatch, name):
    found = []
    for words in (FLAGS[name], ["--method", name]):
        monkeypatch.setattr(sys, "argv", ["train_simCLR.py", "x", "--seed", "3", *words])
        found.append(vars(pretrain.flags.parse("")))
    assert found[0] == found[1]
    assert method_of(found[0]) == method_of({k: v for k, v in found[0].items() if k != "method"}) == name


def test_a_wrappers_flag_puts_it_around_the_named_method(monkeypatch):
    for words, name in ((["sdclr", "--bcl"], "bcl-d"), (["bcl-i", "--temperature_schedule", "1,1,1"], "bcl-i+ts")):
        monkeypatch.setattr(sys, "argv", ["train_simCLR.py", "x", "--method", *words])
        args = pretrain.flags.parse("")
        assert args.method == name and args.bcl and args.rand_k == (2 if name == "bcl-d" else 1)


def test_options_of_a_method_may_be_told_otherwise(monkeypatch):
    words = ["--method", "bcl-d", "--rand_k", "3", "--prune_dual_bn", "False", "--head_layers", "3"]
    monkeypatch.setattr(sys, "argv", ["train_simCLR.py", "x", *words])
    args = pretrain.flags.parse("")
    assert (args.rand_k, args.prune, args.prune_dual_bn, args.head_layers) == (3, True, False, 3)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--method", "simclr", "--prune"], ["--method simclr", "--prune"]),
        (["--method", "sdclr", "--prune", "False"], ["--method sdclr", "--prune"]),
        (["--method", "bcl-i", "--bcl", "False"], ["--method bcl-i", "--bcl"]),
        (["--method", "dino"], ["unknown method 'dino'"]),
        (["--method", "untrained", "--epochs", "3"], ["no epochs"]),
        (["--prune_dual_bn"], ["--prune_dual_bn needs --prune"]),
        (["--rand_k", "2"], ["--rand_k needs --bcl"]),
        (["--stage_epochs", "2"], ["--stage_epochs needs --scheduler two-stage"]),
        (["--stage_decay", "0.2"], ["--stage_decay needs --scheduler two-stage"]),
        (["--scheduler", "two-stage", "--stage_epochs", "5", "--epochs", "5"], ["--stage_epochs 5 leaves none of 5"]),
        (["--method", "simclr", "--focal_gamma", "3"], ["--focal_gamma needs --focal"]),
    ],
)
def test_options_that_do_not_go_together(call, words, told):
    one_line_error(call("train_simCLR.py", "x", *words), *told)


@pytest.mark.parametrize(
    ("ending", "name"),
    [
        ("", "simclr"), ("_moclr", "moclr"), ("_width64_moclr_bclK1", "moclr+bcl"), ("_dncK5simclrM8", "dnc"),
        ("_pruneP0.9DualBN", "sdclr"), ("_pruneP0.7", "sdclr"), ("_wd5e-4_focal2", "focal"),
        ("_bclK1", "bcl-i"), ("_pruneP0.9DualBN_head2_bclK2", "bcl-d"), ("_focal2_bclK1S20", "focal+bcl"),
        ("_ts0.1-1.0-0.2", "ts"), ("_pruneP0.9DualBN_bclK2_ts0.1-1.0-0.2", "bcl-d+ts"),
    ],
)  # fmt: skip
def test_the_end_of_an_experiments_name_tells_its_method(ending, name):
    assert method_in(ending) == name
