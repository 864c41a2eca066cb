"""Paths as users type them."""

from pathlib import Path

import pytest

from reports.paths import (
    LONGEST_NAME,
    PathError,
    expanded,
    is_address,
    is_folder_name,
    short_paths,
    with_short_paths,
)


def test_the_home_folder_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also within a text; a user that does not exist stays a name, and is no error."""
    monkeypatch.setenv("HOME", "/home/kim")
    assert expanded("~/x") == Path("/home/kim/x")
    assert expanded(Path("~")) == Path("/home/kim")
    assert expanded("a/~/x") == Path("a/~/x")
    assert expanded("~nobody-has-this-name/x") == Path("~nobody-has-this-name/x")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "a\\b", "/x", "a\nb", "a\x1b[2J", "a\0b", "C:x", ".hidden", " x", "x ", "-rf",
     "\u202ea", "x" * (LONGEST_NAME + 1)],
)  # fmt: skip
def test_a_path_is_no_name_of_a_folder(name: str) -> None:
    """Nor is what a file system, a shell or a reader takes for something else."""
    assert not is_folder_name(name)


@pytest.mark.parametrize("name", ["tiny", "my suite (v2)", "größe", "a.b_c-d", "x" * LONGEST_NAME])
def test_words_are_names_of_folders(name: str) -> None:
    """In any letters, with blanks between."""
    assert is_folder_name(name)


@pytest.mark.parametrize("path", ["x" * 5000, "~/" + "x" * 300, "a\0b"])
def test_a_text_that_no_file_system_has_is_told(path: str) -> None:
    """In one line, at whichever door it comes in; a path that is merely not there is one."""
    with pytest.raises(PathError, match="is no path") as caught:
        expanded(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200
    assert expanded("nowhere/at/all") == Path("nowhere/at/all")


@pytest.mark.parametrize(
    "address",
    ["http://example.org/rows.jsonl", "HTTPS://huggingface.co/org/model", "s3://bucket/x", "file:///home/kim/x",
     "hf://datasets/org/name", "http:/example.org/x"],
)  # fmt: skip
def test_an_address_is_told_as_it_was_typed(address: str) -> None:
    """A path would lose one of its slashes; drives, times and names with a colon are none."""
    with pytest.raises(PathError, match="is an address") as caught:
        expanded(address)
    assert str(caught.value).startswith(f"{address} is")
    for name in ("C:/x", "C:\\x", "rows.jsonl:title", "org/name:part", "a:b/c", "2024-01-01T10:00/x"):
        assert not is_address(name)


def test_a_path_is_said_by_as_many_of_its_last_parts_as_tell_it_from_others() -> None:
    """One that alone ends so by its name; no path from the root, and no hub id, is left as it is."""
    paths = [
        "/home/kim/a/train.jsonl",
        "/home/kim/b/train.jsonl",
        "/models/gpt2",
        "/models/gpt2/",
        "gpt2",
        "a/b",
        "~/x",
        "/",
    ]
    assert short_paths(paths) == {
        "/home/kim/a/train.jsonl": "\u2026/a/train.jsonl",
        "/home/kim/b/train.jsonl": "\u2026/b/train.jsonl",
        "/models/gpt2": "\u2026/gpt2",
        "/models/gpt2/": "\u2026/gpt2",
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("base /m/my base, none", "base \u2026/my base, none"),
        ("the adapter '/m/my base/v2' here", "the adapter '\u2026/my base/v2' here"),
        ("/m/my base: in /m/my base/x.jsonl, line 3.", "\u2026/my base: in \u2026/my base/x.jsonl, line 3."),
        ("/m/my bases and /m/my base.old", "\u2026/my bases and \u2026/my base.old"),
        ("see /other/place/of/it.", "see \u2026/it."),
        *((same, same) for same in ("https://example.org/a/b, org/name/part, and/or 1/2", "r/A, /r, ./a/b and ~/a/b")),
    ],
)  # fmt: skip
def test_texts_lose_the_folders_of_this_machine(text: str, shown: str) -> None:
    """Paths that are known, with blanks in them, and others by their last part; nothing that is no path."""
    assert with_short_paths(text, short_paths(["/m/my base"])) == shown
