"""Check quickly that the hub answers, before its client would retry for most of a minute, and fetch files from it."""

import re
import ssl
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Self

from reports.errors import UserError, first_line


class HubUnreachable(UserError):  # noqa: N818 - reads as what happened
    """Files must come from the hub, and it does not answer or does not have them."""

    def __init__(self, problem: str, advice: str) -> None:
        """Joins the two to the message of one line."""
        super().__init__(f"{problem}; {advice}")
        self.problem = problem
        """What happened."""
        self.advice = advice
        """What the user can do."""


_PART = re.compile(r"[A-Za-z0-9_][\w.-]*")
_REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*")


@dataclass(frozen=True, slots=True)
class HubPlace:
    """A place in a repository of the hub, as people write it: `org/name`, `org/name@v2`, `org/name/checkpoint-10`."""

    repository: str
    revision: str | None = None
    """Branch, tag or commit; None is the main branch."""
    folder: str = ""
    """Folder of the repository; empty for its top."""

    @classmethod
    def named(cls, text: str) -> Self | None:
        """Return the place that a text names; None where it can be none."""
        path, at, revision = text.partition("@")
        parts = path.split("/")
        is_right = all(map(_PART.fullmatch, parts)) and (not at or (_REVISION.fullmatch(revision) is not None))
        if not is_right or ".." in text:
            return None
        return cls("/".join(parts[:2]), revision if at else None, "/".join(parts[2:]))


def is_offline() -> bool:
    """Return whether the hub client uses its cache only (`HF_HUB_OFFLINE`, which it reads when it is imported)."""
    from huggingface_hub import is_offline_mode

    return bool(is_offline_mode())


def require_hub(what: str, *, timeout_seconds: float = 5.0) -> None:
    """Check that the hub answers, unless the user chose to work offline from the cache.

    Args:
        what: what is to be fetched, as the first words of the message, such as "model 'gpt2' (not a local folder)".
        timeout_seconds: time limit of any answer, whatever its status.

    Raises:
        HubUnreachable: the hub (`HF_ENDPOINT`) did not answer in time.
    """
    if is_offline():
        return
    from huggingface_hub import constants

    problem = _probe(constants.ENDPOINT, timeout_seconds)
    if problem is not None:
        raise HubUnreachable(
            f"{what}: {constants.ENDPOINT} is out of reach ({problem})",
            "name local files instead, or set HF_HUB_OFFLINE=1 if it is in the hub cache already",
        )


def _probe(endpoint: str, timeout_seconds: float) -> str | None:
    """Return why an endpoint did not answer, or None if it did.

    The request runs in a thread because a name lookup has no time limit of its own.
    """
    outcome: list[str | None] = []
    thread = threading.Thread(target=lambda: outcome.append(_ask(endpoint, timeout_seconds)), daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    return outcome[0] if outcome else f"no answer in {timeout_seconds:g} s"


def _ask(endpoint: str, timeout_seconds: float) -> str | None:
    try:
        request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 - the user's own HF_ENDPOINT
        urllib.request.urlopen(request, timeout=timeout_seconds).close()  # noqa: S310
    except (urllib.error.HTTPError, HTTPException):
        return None  # any status is an answer
    except urllib.error.URLError as error:
        # Something answered; whether the certificate is valid is for the hub client to decide.
        return None if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except (OSError, ValueError) as error:
        return str(error)
    return None


def is_path(name: str) -> bool:
    """Return whether a name can only be a path on this disk: "./x", "../x", "~/x", "/x", or "x/"."""
    return name.startswith((".", "/", "~")) or name.endswith("/")


def fetch(what: str, repository: str, *, revision: str | None, patterns: tuple[str, ...], folder: str = "") -> Path:
    """Fetch the missing files of one folder of a repository and return that folder in the hub cache.

    Args:
        what: what is to be fetched, as the first words of the message, such as "model 'gpt2'".
        repository: hub id.
        revision: branch, tag or commit; None is the main branch.
        patterns: patterns of files in that folder, such as "*.json"; nothing else is fetched.
        folder: folder of the repository; empty is its top.

    Raises:
        HubUnreachable: the hub does not answer or has no such repository, or, offline, the cache does not hold it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    require_hub(f"{what} is not a local folder and would come from the hub")
    inside = f"{folder}/" if folder else ""
    try:
        snapshot = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=[f"{inside}{pattern}" for pattern in patterns],
            ignore_patterns=[f"{inside}*/*"],
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise HubUnreachable(
            f"{what} is not a local folder and cannot be fetched from the hub ({first_line(error)})",
            "check the name, or give a local folder",
        ) from error
    return Path(snapshot) / folder
