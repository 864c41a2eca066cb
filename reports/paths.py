"""Paths as users type them, and names that become part of one."""

import os
from errno import ENAMETOOLONG
from pathlib import Path

from reports.errors import UserError

_SHOWN_CHARACTERS = 80
LONGEST_NAME = 80
"""Characters of a name that a file or folder is named after; file systems allow 255 bytes for all of it."""
_NOT_IN_NAMES = frozenset('/\\:*?"<>|')
"""Characters that are a path's on some system."""


class PathError(UserError):
    """A text that can be no path."""


def expanded(path: str | Path) -> Path:
    """Return the path with `~` and `~user` at its start replaced by the home folder; an unknown user stays as it is.

    Raises:
        PathError: No file system has such a path, so that every look at it would fail.
    """
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
