"""Paths as users type them and as reports say them, and names that become part of one."""

import os
import re
from collections.abc import Iterable, Mapping
from errno import ENAMETOOLONG
from pathlib import Path, PurePath

from reports.errors import UserError
from reports.plain_text import one_line

_SHOWN_CHARACTERS = 80
_LONGEST_ADDRESS = 300
LONGEST_NAME = 80
"""Characters of a name that a file or folder is named after; file systems allow 255 bytes for all of it."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""How an address begins; the drives of Windows have one letter."""
ELSEWHERE = "\u2026"
"""Stands for the folders above, where a report names a file or folder."""
_FROM_THE_ROOT = re.compile(r"(?<![\w.~/:\u2026-])(?:/[^\s/'\",;()]+){2,}")
"""A path in a text, as far as it can be told from the words around it."""
_NOT_IN_NAMES = frozenset('/\\:*?"<>|')
"""Characters that are a path's on some system."""


class PathError(UserError):
    """A text that can be no path."""


def is_address(text: str) -> bool:
    """Return whether a text is an address of the web, or of another place that is no path."""
    return _ADDRESS.match(text) is not None


def check_no_address(text: str) -> None:
    """Check that a text is no address of the web, of which a path would lose a slash, and an error show another text.

    Raises:
        PathError: It is one.
    """
    if is_address(text):
        raise PathError(
            f"{one_line(text[:_LONGEST_ADDRESS])} is an address, and addresses are not read: give a path on this disk, "
            f"or OWNER/NAME where a model or a dataset of the hub is meant"
        )


def expanded(path: str | Path) -> Path:
    """Return the path with `~` and `~user` at its start replaced by the home folder; an unknown user stays as it is.

    Raises:
        PathError: It is an address, or no file system has such a path, so that every look at it would fail.
    """
    if isinstance(path, str):
        check_no_address(path)
    result = Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser fails where there is no such user
    try:
        result.lstat()
    except ValueError as error:
        raise PathError(f"{str(path)[:_SHOWN_CHARACTERS]!r} is no path: {error}") from None
    except OSError as error:
        if error.errno == ENAMETOOLONG:
            raise PathError(f"{str(path)[:_SHOWN_CHARACTERS]!r}... is no path: it is too long") from None
    return result


def is_folder_name(name: str) -> bool:
    """Return whether a folder can be named by this text everywhere, and no other place is meant by it."""
    return (
        0 < len(name) <= LONGEST_NAME
        and name.isprintable()
        and _NOT_IN_NAMES.isdisjoint(name)
        and not name.startswith((".", " ", "-"))
        and not name.endswith((".", " "))
    )


def short_paths(paths: Iterable[str]) -> dict[str, str]:
    """Map each path from the root to "\u2026/" and as many of its last parts as tell it from the others.

    Reports say where something lies no closer than that: they are the same on every machine, and tell nobody how its
    folders are called. What is no path from the root is left out.
    """
    parts = {path: PurePath(path).parts[1:] for path in paths if PurePath(path).is_absolute()}
    return {path: "/".join((ELSEWHERE, *own[-_n_telling(own, parts.values()) :])) for path, own in parts.items() if own}


def with_short_paths(text: str, short: Mapping[str, str]) -> str:
    """Return a text with the paths that `short_paths` maps replaced, also where one begins a longer path.

    Of any other path from the root the last part is left.
    """
    for path in sorted(short, key=len, reverse=True):
        whole = rf"(?<![\w.~/\u2026-]){re.escape(path)}(?![\w-]|\.\w)"  # no part of a longer name
        text = re.sub(whole, short[path].replace("\\", r"\\"), text)
    return _FROM_THE_ROOT.sub(lambda found: f"{ELSEWHERE}/{PurePath(found[0]).name}", text)


def _n_telling(own: tuple[str, ...], all_parts: Iterable[tuple[str, ...]]) -> int:
    """How many last parts of a path no other one ends in."""
    others = [each for each in all_parts if each != own]
    return next((n for n in range(1, len(own)) if all(own[-n:] != each[-n:] for each in others)), len(own))
