"""What is kept beside the scores of a subject, because computing it again is dear: checks, answers, divergences."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Protocol


class ResultStore(Protocol):
    """Results of earlier runs, each under a hash of everything that determines it."""

    def lookup_result(self, key: bytes) -> bytes | None:
        """What was stored under a key; None where there is nothing."""
        ...

    def store_result(self, key: bytes, value: bytes) -> None:
        """Stores a result under a key."""
        ...


class NotKeptError(Exception):
    """Something must be found, and is not there."""

    def __init__(self, subject: str, what: str) -> None:
        """Takes the name of the subject, and what of it is missing."""
        super().__init__(f"{subject}: {what}")
        self.subject, self.what = subject, what


@dataclass(frozen=True, slots=True)
class KeptResults:
    """Results of one subject as JSON values, each under its kind and what else determines it.

    Without a store nothing is found and nothing kept.
    """

    store: ResultStore | None = None
    context: str = ""
    """Names everything besides the parts of a key that determines a result: weights, adapter, device, versions."""
    required_of: str | None = None
    """Name of a subject of which everything must be found, so that nothing is computed; None where it may be."""

    def find(self, kind: str, *parts: object) -> Any:
        """Returns what was kept of a kind under these parts; None where there is nothing.

        Raises:
            NotKeptError: There is nothing, and it must be found.
        """
        value = self.look_up(kind, *parts)
        self.require(value is not None, kind)
        return value

    def look_up(self, kind: str, *parts: object) -> Any:
        """Returns what was kept of a kind under these parts, None where there is nothing, required or not."""
        value = None if self.store is None else self.store.lookup_result(self._key(kind, parts))
        return None if value is None else json.loads(value)

    def require(self, is_there: bool, what: str) -> None:
        """Checks that something is there, if it must be.

        Raises:
            NotKeptError: It is not.
        """
        if not is_there and self.required_of is not None:
            raise NotKeptError(self.required_of, what)

    def keep(self, value: object, kind: str, *parts: object) -> None:
        """Keeps a JSON value; numbers come back bit for bit, NaN too."""
        if self.store is not None:
            self.store.store_result(self._key(kind, parts), json.dumps(value).encode())

    def _key(self, kind: str, parts: tuple[object, ...]) -> bytes:
        """16 bytes of BLAKE2b over the context, the kind and its parts as JSON."""
        text = json.dumps([self.context, kind, *parts], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).digest()
