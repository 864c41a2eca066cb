"""README and docs name what exists: files, commands, options, presets and nox sessions."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.config.load import preset_names

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```(?:sh|yaml|)\n(.*?)```|```\w+\n.*?```|(?<!`)`([^`]+)`(?!`)", re.DOTALL)
"""Blocks that hold commands, other blocks, and texts between backticks."""
OTHER_PROGRAMS = ("lm-eval",)
"""Commands whose options belong to another program."""


def _name(page: Path) -> str:
    return page.name


def _code(page: Path) -> list[str]:
    """Every line of a page's blocks of shell and YAML, and every text between backticks."""
    text = page.read_text(encoding="utf-8")
    return [line for block, inline in CODE.findall(text) for line in (block or inline.replace("\n", " ")).splitlines()]


def _commands(page: Path) -> Iterator[tuple[str, click.Command, list[str]]]:
    """The line, the command and the words after it, for each `harness ...` of a page that names a command."""
    for line in _code(page):
        for call in re.findall(r"(?<![\w.])harness ([a-z][^#&;]*)", line):
            words, command, name = call.split(), cli, []
            while isinstance(command, click.Group) and words:
                name.append(words.pop(0))
                found = command.get_command(click.Context(command), name[-1])
                assert found is not None, f"{page.name}: no command `harness {' '.join(name)}`"
                command = found
            yield line, command, words


def test_the_readme_is_short() -> None:
    """At most 180 lines."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 180


def test_its_picture_is_small() -> None:
    """At most 200 KB, and a PNG."""
    picture = (ROOT / "docs" / "pictures" / "first-screen.png").read_bytes()

    assert picture.startswith(b"\x89PNG")
    assert len(picture) <= 200_000


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link is a file of the repository, each fragment a heading of its page."""
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(("https://", "http://")):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT)
        assert not fragment or fragment in _headings(target), f"{link}: no such heading"


def _headings(page: Path) -> set[str]:
    """Fragments of a page, as GitHub makes them of its headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_of_docs_is_linked_from_the_readme() -> None:
    """A page that nobody links is a page that nobody reads."""
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in LINK.findall(README.read_text(encoding="utf-8"))}

    assert {page for page in PAGES if page.parent == ROOT / "docs"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_and_options_exist(page: Path) -> None:
    """Each `harness ...` names a command that has a help text, and options that this command has."""
    for line, command, words in _commands(page):
        if command.name in OTHER_PROGRAMS:
            continue
        shown = CliRunner().invoke(command, ["--help"])
        assert shown.exit_code == 0, shown.output
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.partition("=")[0].rstrip(",.") for word in words if re.match(r"--?[a-z]", word)}
        assert used <= options | {"--help"}, f"{page.name}: {line}"


def test_the_readme_names_commands() -> None:
    """What is found in it is not nothing: the first command, each of the three jobs, and those that are listed."""
    found = {command.name for _, command, _ in _commands(README)}

    assert {"train-and-eval", "eval", "train", "check", "report"} <= found


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_presets_exist(page: Path) -> None:
    """Each `--preset` names one that ships with the project."""
    named = re.findall(r"--preset ([a-z0-9.\-]+)", page.read_text(encoding="utf-8"))

    assert set(named) <= set(preset_names())


def test_the_readme_lists_every_preset() -> None:
    """Those that ship with the project, and no others."""
    table = README.read_text(encoding="utf-8").split("| preset |")[1].split("\n\n")[0]

    assert {name for row in table.splitlines() for name in re.findall(r"`([a-z0-9.\-]+)`", row)} == set(preset_names())


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_nox_sessions_exist(page: Path) -> None:
    """Each `nox -s ...` names sessions of the noxfile; `gate` is the one that docs/gates.md gives to other projects."""
    sessions = set(re.findall(r"@nox\.session\ndef (\w+)", (ROOT / "noxfile.py").read_text(encoding="utf-8")))
    for line in _code(page):
        for names in re.findall(r"nox -s ([a-z ]+)", line):
            assert set(names.split()) <= sessions | {"gate"}, f"{page.name}: {line}"
