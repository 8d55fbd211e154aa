"""Flags of exp_analyse.py that its error messages name: they choose the results of a table."""

from utils.cli import Parser

CHOOSE = "choose by --contains"
CHOOSE_OR_MIX = "choose some, or put them into one table by --mix True"


def add_choice(parser: Parser) -> None:
    """--mix, --contains: what to do where results of several kinds, or of several settings, are found."""
    parser.add_flag("--mix", help="show results in one table that differ in precision, lists, record, ...")
    parser.add_argument("--contains", default="", help="a part of the names, where several settings were run")
