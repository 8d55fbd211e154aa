"""Words of a command line."""

import pytest

from recipes.flags import parse_recipe
from utils.cli import Parser


@pytest.fixture
def home(monkeypatch, tmp_path) -> str:
    monkeypatch.setenv("HOME", str(tmp_path))
    return str(tmp_path)


def test_the_home_folder_is_meant_where_the_shell_left_it(home):
    """bash leaves `--data=~/x` as it is, and a folder named ~ would be made."""
    parser = Parser(None)
    parser.add_argument("--data")
    parser.add_argument("rest", nargs="*")
    words = {"~/a b": f"{home}/a b", "~": home, "~x": "~x", "a~/b": "a~/b", "./~/a": "./~/a", "": ""}
    for word, expected in words.items():
        assert parser.parse_args(["--data", word]).data == expected
        assert parser.parse_args([f"--data={word}"]).data == expected
        assert parser.parse_args([word, "--quiet"]).rest == [expected]


def test_the_home_folder_of_recipes(home):
    recipe = parse_recipe(["--dataset", "digits", "--", "--root", "~/runs"], "")
    assert recipe.values["root"] == f"{home}/runs"


def test_help_without_docstrings(capsys):
    """`python -OO` and PYTHONOPTIMIZE=2 take them away."""
    for parse in (lambda: Parser(None).parse_args(["--help"]), lambda: parse_recipe(["--help"], None)):
        with pytest.raises(SystemExit) as end:
            parse()
        assert not end.value.code and "--" in capsys.readouterr().out
