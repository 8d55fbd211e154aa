"""What the two probe scripts of SDCLR's authors do differently, by the style of the data set (DataSet.style)."""

from typing import Any, NamedTuple


class Script(NamedTuple):
    """One of the two scripts.

    prefix: of the names in a checkpoint's state_dict. numbered: epochs between model_<epoch>.pt, 0 for none. still: the
    last stage whose batch norms --fixbn keeps in evaluation mode, '' for that of --fixto. per_class: how the line of
    per-class accuracies begins; each is divided by `unit` (in percent) and written in the format `number`. results: the
    lines after it. tells_processes: whether the first line has the number of processes.
    """

    prefix: str
    numbered: int
    still: str
    per_class: str
    number: str
    unit: float
    results: tuple[str, ...]
    tells_processes: bool = False

    def per_class_line(self, scores: dict[str, Any]) -> str:
        """The line of per-class accuracies."""
        numbers = ("nan" if a is None else format(a / self.unit, self.number) for a in scores["per_class"])
        return f"{self.per_class} is {' '.join(numbers)} "

    def result_lines(self, scores: dict[str, Any]) -> list[str]:
        """The result lines of an evaluation."""
        return [self.per_class_line(scores), *(line.format(**scores) for line in self.results)]


SCRIPTS = {
    "cifar": Script(
        "", 0, "", "Each class acc", ".2f", 1.0, ("On the best_model, test tacc is {top1:.2f}",)
    ),
    "imagenet": Script(
        "module.", 50, "layer4", "acc per class", ".4", 100.0,
        ("test: Accuracy: top1 ({top1:.2f}%) top5 ({top5:.2f}%)", "On the best_model, test top5 tacc is {top5:.4f}"),
        tells_processes=True,
    ),
}  # fmt: skip
