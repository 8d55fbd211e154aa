"""The report in headless Chromium: no error, nothing wider than the window, tables that sort, print, dark and light."""

import re

import pytest

from tests.analysis.pages import WORDS, write_study
from tests.browser import browser, needs_chromium

pytestmark = needs_chromium
FIRST = "document.querySelector('table')"
CELLS = f"[...{FIRST}.tBodies].map(body => [...body.rows].map(row => row.cells[%d].textContent))"


@pytest.fixture
def page(call, tmp_path):
    """The path of a report on a study with all that a report can have."""
    write_study(tmp_path)
    assert call("exp_analyse.py", *WORDS, "--splits", 1, 2, 3, "--report", "page").returncode == 0
    return tmp_path / "page" / "index.html"


def click(tab, column: int, table: str = FIRST) -> str | None:
    tab.run(f"{table}.tHead.rows[0].cells[{column}].querySelector('button').click()")
    return tab.run(f"{table}.tHead.rows[0].cells[{column}].getAttribute('aria-sort')")


def numbers(tab, column: int) -> list[float]:
    return [float(body[0].split()[0]) for body in tab.run(CELLS % column)]


def check_sorting(tab) -> None:
    """Down, then up; rows of a method stay together; other headings are no longer sorted."""
    assert click(tab, 2) == "descending" and numbers(tab, 2) == sorted(numbers(tab, 2), reverse=True)
    assert click(tab, 2) == "ascending" and numbers(tab, 2) == sorted(numbers(tab, 2))
    assert click(tab, 5) == "descending" and tab.run(f"{FIRST}.querySelectorAll('[aria-sort]').length") == 1
    assert click(tab, 0) == "ascending" and [body[0] for body in tab.run(CELLS % 0)] == ["SDCLR", "SimCLR"]
    classes = "[...document.querySelectorAll('table')].find(t => t.caption.textContent.includes('each class'))"
    assert click(tab, 2, classes) == "descending"
    sizes = tab.run(f"[...{classes}.tBodies[0].rows].map(row => row.cells[2].textContent)")
    assert sizes[:2] == ["4,500", "2,697"] and len(sizes) == 10
    click(tab, 2, classes)
    assert tab.run(f"{classes}.tBodies[0].rows[0].cells[2].textContent") == "45"
    # The ten classes are ranks: by their value, not by their digits.
    assert click(tab, 0, classes) == "ascending"
    ranks = f"[...{classes}.tBodies[0].rows].map(row => row.cells[0].textContent)"
    assert tab.run(ranks) == [str(rank) for rank in range(1, 11)]
    assert click(tab, 0, classes) == "descending" and tab.run(ranks)[:2] == ["10", "9"]


def test_a_page(page, tmp_path):
    with browser(tmp_path / "profile") as tab:
        for width in (390, 1440):
            for dark in (False, True):
                tab.open(page, width, dark)
                tab.run("document.querySelectorAll('details').forEach(each => each.open = true)")
                assert tab.run("[document.documentElement.scrollWidth, innerWidth]") == [width, width]
                # What is wider scrolls in a box of its own; nothing else reaches beyond the window.
                beyond = """[...document.querySelectorAll('body *')].filter(each => !each.closest('.scroll') &&
                    each.getBoundingClientRect().right > innerWidth + 1).map(each => each.outerHTML.slice(0, 99))"""
                assert tab.run(beyond) == []
                ground, ink = tab.run("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
                below, above = (sum(map(int, re.findall(r"\d+", colour))) for colour in (ground, ink))
                assert above - below > 500 if dark else below - above > 500
                text = "getComputedStyle(document.querySelector('.chart svg text')).fill"
                assert tab.run(text) == ink
            check_sorting(tab)
        link = tab.run(f"{FIRST}.querySelector('a').getAttribute('href')")
        tab.run(f"document.querySelectorAll('details').forEach(each => each.open = false); location.hash = '{link}'")
        assert tab.run(f"document.querySelector('{link}').closest('details').open")
        tab.print(tmp_path / "page.pdf")
        # What is folded was printed, and is folded again.
        assert tab.run("document.querySelectorAll('details[open]').length") == 1
        assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
        tab.shoot(tmp_path / "page.png")
        assert tab.told == [] and {address for address in tab.asked if address[:5] != "data:"} == {page.as_uri()}


def test_what_is_folded_is_printed_without_scripts_too(page, tmp_path):
    """By the style alone: the media of print without its event, which the script waits for."""
    # A folded element's own size is not 0 where it is skipped, but the folded part's is.
    heights = "[...document.querySelectorAll('details:not([open])')].map(each => each.getBoundingClientRect().height)"
    with browser(tmp_path / "profile") as tab:
        tab.open(page, 1440)
        on_screen = tab.run(heights)
        tab.call("Emulation.setEmulatedMedia", media="print")
        on_paper = tab.run(heights)
        assert len(on_screen) > 5 and all(b > 2 * a for a, b in zip(on_screen, on_paper, strict=True))


def test_a_script_in_a_page_does_not_run(page, tmp_path):
    """If a name were not escaped, the page's policy would hold it back; here one is put into the page."""
    text = page.read_text().replace(
        "</main>", "<script>document.title = 'x'</script><img src=x onerror=alert(1)></main>"
    )
    page.write_text(text)
    with browser(tmp_path / "profile") as tab:
        tab.open(page, 390)
        assert tab.run("document.title") == "Results: digits"
        assert len(tab.told) >= 2 and all("Content Security Policy" in line for line in tab.told)
