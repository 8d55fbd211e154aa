"""Lines of a text, one at a time, against all at once."""

import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.text_lists import count_lines, lines_of

quick = settings(database=None, deadline=None, max_examples=150)
TEXTS = st.text(st.sampled_from("ab \t\n\r\x0b\x1c\x85\u2028\u00e9\ufeff"), max_size=20)


@quick
@given(TEXTS)
@example("\ufeffa 1\r\n\r\nb 2\r\r \n\t\n")
@example("\n\n")
def test_lines(text):
    """Those of the text without what is blank at its end, whatever ends them; and none else is left out."""
    content = text.encode()
    expected = list(io.StringIO(content.decode("utf-8-sig").rstrip(), newline=None))
    found = list(lines_of(content))
    assert [line.strip() for line in found] == [line.strip() for line in expected]
    assert count_lines(content) == len(expected)


@pytest.mark.parametrize("before", [0, 5, 100_000])
def test_what_is_no_text_is_told_with_its_place(before):
    content = b"a 1\n" * before + b"\xe9 1\n" + b"a 1\n" * 5
    with pytest.raises(UnicodeDecodeError) as expected:
        content.decode()
    with pytest.raises(UnicodeDecodeError) as found:
        count_lines(content)
    assert str(found.value) == str(expected.value)
