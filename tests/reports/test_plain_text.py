"""Text from outside on its way to a terminal."""

import codecs

import pytest

from reports.plain_text import for_encoding, one_line, visible, visible_with_styles

codecs.register_error("ascii_form_of_this_test", for_encoding)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),  # the clipboard
        ("\x1b[2J\x9b2J", r"\x1b[2J\x9b2J"),  # clears the screen, in seven and in eight bits
        ("a\rb\x08c\x7f", r"a\rb\x08c\x7f"),
        ("\u202etxt.exe\u2066", r"\u202etxt.exe\u2066"),  # reads backwards
        ("half \ud83d of a pair", r"half \ud83d of a pair"),
        ("tab\tand\nline, é 漢 🙂", "tab\tand\nline, é 漢 🙂"),
    ],
)
def test_what_steers_a_terminal_is_shown(text: str, shown: str) -> None:
    """Escape sequences, carriage returns and changes of direction become their escapes; all else stays."""
    assert visible(text) == shown
    assert visible(shown) == shown


def test_a_name_stays_on_its_line() -> None:
    """A line feed in the name of a folder cannot make a line of its own."""
    assert one_line("runs\nerror: none\t.") == r"runs\nerror: none\t."


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("cp1252", b"a->b \xe9 || \\u6f22"), ("latin-1", b"a->b \xe9 || \\u6f22"), ("ascii", b"a->b \\xe9 || \\u6f22")],
)
def test_an_encoding_that_lacks_characters_gets_their_ascii_form(encoding: str, written: bytes) -> None:
    """Arrows become arrows of ASCII, letters their escapes; nothing fails."""
    assert "a\u2192b \u00e9 \u2016 \u6f22".encode(encoding, "ascii_form_of_this_test") == written


def test_a_table_keeps_its_colours_and_links_and_nothing_else() -> None:
    """Weights of letters and links are this project's own; whatever else steers is shown."""
    own = "\x1b[1;32mbetter\x1b[0m \x1b]8;;file:///a/report.html\x1b\\page\x1b]8;;\x1b\\"
    assert visible_with_styles(own) == own
    assert visible_with_styles(f"{own}\x1b]52;c;aGk=\x07\x1b[2J\r") == own + r"\x1b]52;c;aGk=\x07\x1b[2J\r"
