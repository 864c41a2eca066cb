"""JSON from outside."""

import pytest

from reports.json_text import DEEPEST_JSON, JsonError, depth_of, has_halves, parse_json, unique_keys


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


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "c": 2, "a": 3}}]'])
def test_a_key_twice_is_an_error_where_it_is_asked_for(text: str) -> None:
    """One of the two values would be lost."""
    with pytest.raises(JsonError, match="'a' occurs twice"):
        parse_json(text, unique_keys)
    assert parse_json('{"a": {"a": 1}}', unique_keys) == {"a": {"a": 1}}


def test_halves_of_surrogate_pairs_are_found_in_texts_and_keys() -> None:
    """A whole pair is one character."""
    halves = [parse_json(text) for text in (r'"\ud83d"', r'{"\ude00": 1}', r'[{"a": ["\ud83d x"]}]')]
    assert all(map(has_halves, halves))
    assert not any(map(has_halves, [parse_json(r'"\ud83d\ude00"'), {"a": ["b", 1, None]}]))
