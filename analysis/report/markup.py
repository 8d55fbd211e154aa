"""HTML that is put together from parts: a part that is not markup already is text, and escaped."""

from html import escape

from utils.text import printable


class Html(str):
    """Markup, as `tag` and `joined` return it; within these it is not escaped again."""


def text(content: object) -> Html:
    """A text or a number as markup; markup as it is. Control characters are shown as in Python's repr."""
    return content if isinstance(content, Html) else Html(escape(printable(str(content), kept="\n"), quote=False))


def joined(*parts: object) -> Html:
    """Parts one after the other."""
    return Html("".join(map(text, parts)))


def tag(name: str, /, *content: object, **attributes: object) -> Html:
    """An element with its content.

    Args:
        attributes: `class_` is class, `aria_label` aria-label. An attribute that is True has no value, one that is None
            or False is left out.
    """
    words = ""
    for key, value in attributes.items():
        if value is not None and value is not False:
            attribute = key.rstrip("_").replace("_", "-")
            words += f" {attribute}" if value is True else f' {attribute}="{escape(printable(str(value)))}"'
    start = f"<{name}{words}>"
    return Html(start) if name in ("img", "meta", "link", "br") else Html(f"{start}{joined(*content)}</{name}>")


def scrolling(content: Html, label: str) -> Html:
    """Content that may be wider than a phone, in a box that scrolls, also by keyboard; screen readers read `label`."""
    return tag("div", content, class_="scroll", tabindex=0, role="region", aria_label=label)


def folded(summary: object, *content: object, **attributes: object) -> Html:
    """Content that is shown when the reader opens it, and in print."""
    return tag("details", tag("summary", summary), *content, **attributes)
