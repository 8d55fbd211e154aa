"""HTML that is put together from parts: whatever is not markup already is text, and escaped."""

from html import escape

from utils.text import printable


class Html(str):
    """Markup; `tag` and `joined` make it, and do not escape it again."""


def text(content: object) -> Html:
    """A text, a number, or markup as it is; what could steer a reader's terminal or browser is shown as in a repr."""
    return content if isinstance(content, Html) else Html(escape(printable(str(content), kept="\n"), quote=False))


def joined(*parts: object) -> Html:
    """Parts one after the other."""
    return Html("".join(map(text, parts)))


def tag(name: str, /, *content: object, **attributes: object) -> Html:
    """An element with its content.

    Args:
        attributes: `class_` is class, `aria_label` aria-label; True is one without a value, None and False are left
            out.
    """
    told = ""
    for key, value in attributes.items():
        if value is not None and value is not False:
            attribute = key.rstrip("_").replace("_", "-")
            told += f" {attribute}" if value is True else f' {attribute}="{escape(printable(str(value)))}"'
    start = f"<{name}{told}>"
    return Html(start) if name in ("img", "meta", "link", "br") else Html(f"{start}{joined(*content)}</{name}>")


def scrolling(content: Html, label: str) -> Html:
    """What may be wider than a phone, in a box of its own that scrolls, also by keyboard; `label` is read out."""
    return tag("div", content, class_="scroll", tabindex=0, role="region", aria_label=label)


def folded(summary: object, *content: object, **attributes: object) -> Html:
    """Content that is shown on demand, and in print."""
    return tag("details", tag("summary", summary), *content, **attributes)
