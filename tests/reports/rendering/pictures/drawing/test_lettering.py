"""Widths, wrapping and cutting of texts in any script."""

import pytest

from reports.rendering.pictures.drawing.lettering import ELLIPSIS, cut, text_width, wrapped

TEXTS = {
    "latin": "Preferred answers, reward accuracy of held-out pairs, learning_rate=1e-5",
    "chinese": "\u4f7f\u7528\u504f\u597d\u6570\u636e\u8bad\u7ec3\u7684\u9002\u914d\u5668" * 3,
    "arabic": "\u0645\u062a\u063a\u064a\u0631 \u0645\u0639\u062f\u0644 \u0627\u0644\u062a\u0639\u0644\u0645 " * 4,
    "one word": "Donaudampfschifffahrtsgesellschaftskapitaenswitwenrente",
    "emoji": "\U0001f600" * 20,
    "combining": "e\u0301" * 40,
    "empty": "",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("width", [40, 90, 240])
def test_lines_keep_to_their_width(text, width):
    """Whatever the script, and never more lines than allowed."""
    lines = wrapped(text, width, most_lines=3)
    assert 1 <= len(lines) <= 3
    assert all(text_width(each) <= width for each in lines)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_fits_is_whole(text):
    """Breaking loses nothing but the spaces at the breaks."""
    assert "".join("".join(wrapped(text, 100, most_lines=99)).split()) == "".join(text.split())


def test_lines_break_between_words_and_leave_numbers_whole():
    """And after the signs that names are made of."""
    assert wrapped("learning_rate=1e-5, seed 42", 100, most_lines=9) == ("learning_rate=", "1e-5, seed 42")
    assert wrapped("Preferred answers, accuracy", 130) == ("Preferred answers,", "accuracy")


def test_a_long_text_loses_its_middle():
    """Names that begin alike still differ."""
    first, second = (cut(f"control: sft on chosen answers, learning_rate={rate}", 150) for rate in ("1e-5", "5e-6"))
    assert first != second
    assert ELLIPSIS in first
    assert text_width(first) <= 150
    assert cut("short", 150) == "short"
    *_, last = wrapped(f"{TEXTS['latin']} {TEXTS['latin']} at the end", 120, most_lines=2)
    assert last.endswith("at the end")


def test_bold_and_wide_letters_take_more_space():
    """The estimate knows digits, capitals, bold, and letters as wide as they are high."""
    assert text_width("0000", 10) == pytest.approx(25.44)
    assert text_width("iiii") < text_width("mmmm")
    assert text_width("abc", 13, 600) > text_width("abc", 13, 400)
    assert text_width("\u4e2d", 10) >= 10
    assert text_width("e\u0301") == text_width("e") == text_width("\u00e9")
