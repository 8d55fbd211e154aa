"""The numbers that the papers publish, from results/published_results.csv."""

import csv

from data.sets.base import DataSet
from methods import label_of
from utils.files import PROJECT

Cells = dict[str, tuple[float, float | None]]  # column -> mean and standard deviation, None where there is none


def published(dataset: DataSet, method: str, probe: str) -> Cells:
    """The SDCLR paper's numbers for a long-tailed data set, with the standard deviations over its splits."""
    paper_table = {"linear": "SDCLR-linear", "fewShot": "SDCLR-fewshot"}.get(probe, "")
    return read_published(paper_table, f"{dataset.published_name}-LT", label_of(method))


def read_published(paper_table: str, dataset: str, method: str) -> Cells:
    """One method's numbers in one table of the papers, by the names in results/published_results.csv."""
    wanted = paper_table, dataset, method
    with (PROJECT / "results" / "published_results.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if (r["paper_table"], r["dataset"], r["method"]) == wanted]
    return {r["metric"]: (float(r["mean"]), float(r["std"]) if r["std"] else None) for r in rows}
