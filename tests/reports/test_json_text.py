"""JSON from outside."""

import pytest

from reports.json_text import DEEPEST_JSON, JsonError, depth_of, parse_json


def nested(depth: int) -> str:
    """Lists within lists."""
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("text", ["", "{", "[1,]", b"\xff\xfe", "9" * 5000, '{"a": ' + "1" * 10_000 + "}"])
def test_what_is_no_json_is_one_line(text: str | bytes) -> None:
    """Broken text, other bytes, and numbers that Python does not convert are the same kind of error."""
    with pytest.raises(JsonError) as caught:
        parse_json(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("depth", [DEEPEST_JSON + 1, 3000, 100_000])
@pytest.mark.parametrize("form", ["lists", "mappings"])
def test_what_is_nested_too_deep_is_refused(depth: int, form: str) -> None:
    """Whether the parser itself gives up or not."""
    text = nested(depth) if form == "lists" else '{"a":' * depth + "1" + "}" * depth
    with pytest.raises(JsonError, match="nested deeper than 64 levels"):
        parse_json(text)


def test_depth_counts_lists_and_mappings() -> None:
    """A value alone has none, and the deepest branch counts."""
    assert parse_json(nested(DEEPEST_JSON)) is not None
    assert [depth_of(value) for value in (1, [], [{"a": [1]}, 2])] == [0, 1, 3]
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
