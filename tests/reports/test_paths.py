"""Paths as users type them."""

from pathlib import Path

import pytest

from reports.paths import LONGEST_NAME, PathError, expanded, is_address, is_folder_name


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
