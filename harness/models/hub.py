"""Is the hub there? Asked once, quickly, before a client that would retry for most of a minute."""

import ssl
import threading
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from reports.errors import UserError


class HubUnreachable(UserError):  # noqa: N818 - reads as what happened
    """Something has to be fetched from the hub and the hub does not answer."""


def is_offline() -> bool:
    """Whether the hub client fetches nothing (`HF_HUB_OFFLINE`, read when it is imported), so only the cache counts."""
    from huggingface_hub import is_offline_mode

    return bool(is_offline_mode())


def require_hub(what: str, *, timeout_seconds: float = 5.0) -> None:
    """Return when the hub answers, or when the user is offline on purpose and works from the cache.

    Args:
        what: what is wanted, first words of the message, such as "model 'gpt2' (not a local folder)".
        timeout_seconds: how long to wait for any answer at all.

    Raises:
        HubUnreachable: the hub (`HF_ENDPOINT`) did not answer in time.
    """
    if is_offline():
        return
    from huggingface_hub import constants

    problem = _probe(constants.ENDPOINT, timeout_seconds)
    if problem is not None:
        raise HubUnreachable(
            f"{what}: {constants.ENDPOINT} is out of reach ({problem}); "
            f"name local files instead, or set HF_HUB_OFFLINE=1 if it is in the hub cache already"
        )


def _probe(endpoint: str, timeout_seconds: float) -> str | None:
    """Why `endpoint` gave no answer, or None.

    It runs in a thread because a name lookup knows no time limit.
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
        # A certificate that only the hub client knows is for the client to judge: something did answer.
        return None if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except (OSError, ValueError) as error:
        return str(error)
    return None


def is_path(name: str) -> bool:
    """Whether a name can only mean a place on this disk: "./x", "../x", "~/x", "/x", or with a slash at its end."""
    return name.startswith((".", "/", "~")) or name.endswith("/")


def fetch(what: str, repository: str, *, revision: str | None, patterns: tuple[str, ...]) -> Path:
    """The folder in the hub cache that holds a repository's files, fetched where they are missing.

    Args:
        what: what is wanted, for the message, such as "model 'gpt2'".
        repository: hub id.
        revision: branch, tag or commit; None is the main branch.
        patterns: which files of its top folder, such as "*.json"; nothing else is fetched.

    Raises:
        HubUnreachable: the hub does not answer, has no such repository, or it is not in the cache of an offline user.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    require_hub(f"{what} is no folder here and would come from the hub")
    try:
        folder = snapshot_download(
            repository, revision=revision, allow_patterns=list(patterns), ignore_patterns=["*/*"]
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise HubUnreachable(
            f"{what} is no folder here and cannot be had from the hub ({reason}): "
            f"check the name, or give a local folder"
        ) from error
    return Path(folder)
