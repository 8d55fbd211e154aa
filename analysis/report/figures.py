"""Matplotlib's figures as SVG within a page: with the page's colours, light or dark, text as text, and unique ids."""

import io
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from analysis.report.markup import Html, scrolling, tag

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Name of a figure's file -> heading, and what it shows.
CAPTIONS = {
    "groups": (
        "Class groups",
        "Accuracy of Many, Medium, Few and all classes; whiskers: standard deviation over splits.",
    ),
    "balanced": ("Balanced and long-tailed pre-training", "Both in the groups of the long-tailed lists."),
    "few_vs_full": (
        "Few labels and all labels",
        "Few-shot accuracy against that with all labels; small points are splits, large ones their means.",
    ),
    "classes": (
        "Classes by frequency",
        "Accuracy from the most frequent class to the least, groups shaded; whiskers: standard deviation over splits.",
    ),
    "sizes": ("Classes by size", "Accuracy against the images of a class; lines join the means of the groups."),
    "curves": ("Learning curves", "Mean over the splits, in a band from the lowest to the highest."),
    "loss_by_group": (
        "Loss of the groups",
        "Loss of Many, Medium and Few in pre-training: what BCL's paper calls the memorisation effect.",
    ),
    "alignment_by_group": (
        "Distance of the projections",
        "Of an image's two views; of SDCLR, of the network and of its pruned self-competitor.",
    ),
    "score_by_group": ("Memorisation score", "BCL's score of Many, Medium and Few in pre-training."),
}
OF_CLASSES = ("classes", "sizes")
OF_TIME = ("curves", "loss_by_group", "alignment_by_group", "score_by_group")
_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
# Colour of a figure on white paper -> of the page, by style.css in light and dark.
_COLOURS = {"#000000": "currentColor", "#ffffff": "var(--page)", "#ebebeb": "var(--shade)"}
_ZOOM = 1.4  # pixels of the page per point of the figure, whose text has 8 points


def chart(name: str, figure: "Figure", series: str) -> Html:
    """A figure with its caption.

    Args:
        name: of its file; ids begin with it. series: what is compared, in words, for readers who do not see it.
    """
    heading, shows = CAPTIONS.get(name, (name.replace("_", " ").capitalize(), ""))
    caption = tag("figcaption", tag("strong", heading), " ", shows)
    image = svg(figure, name, f"{heading} of {series}. {shows} The numbers are in the tables of this page.")
    return tag("figure", scrolling(image, heading), caption, id=f"figure-{name}", class_="chart")


def svg(figure: "Figure", name: str, alternative: str) -> Html:
    """The figure as an `svg` element, without its title, which the page has.

    Args:
        alternative: the text that a screen reader reads in its place.
    """
    from matplotlib import rc_context

    figure.suptitle("")
    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    _strip(root)
    _rename(root, name)
    for element in root.iter():
        if style := element.get("style"):
            element.set("style", re.sub(r"#[0-9a-f]{6}", lambda m: _COLOURS.get(m[0], m[0]), style))
    width, height = map(float, root.get("viewBox").split()[2:])
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    # On a phone it scrolls instead of shrinking until it cannot be read.
    size = f"width: {width * _ZOOM:.0f}px; min-width: {min(width * _ZOOM, max(width, 320)):.0f}px"
    root.attrib.update({"role": "img", "aria-label": alternative, "style": f"{size}; aspect-ratio: {width} / {height}"})
    ElementTree.register_namespace("", _SVG.strip("{}"))
    return Html(ElementTree.tostring(root, encoding="unicode"))


def _strip(root: ElementTree.Element) -> None:
    """Remove metadata, and the style sheet, which would apply to the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)


def _rename(root: ElementTree.Element, name: str) -> None:
    """Make ids unique in a page of several figures: `name-1`, `name-2`, ...; ids that nothing refers to are removed."""
    numbers: dict[str, str] = {}

    def new(match: re.Match) -> str:
        return f"{match[1]}{numbers.setdefault(match[2], f'{name}-{len(numbers) + 1}')}{match[3]}"

    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == _LINK:
                del element.attrib[key]
                element.set("href", re.sub(r"^(#)(.+)()$", new, value))
            elif key != "id":
                element.set(key, re.sub(r"(url\(#)([^)]+)(\))", new, value))
    for element in root.iter():
        if (old := element.attrib.pop("id", None)) in numbers:
            element.set("id", numbers[old])
