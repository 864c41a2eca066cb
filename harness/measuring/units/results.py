"""The store of one unit: what it is given counts as found, and what it computes is handed back."""

from collections.abc import Mapping, Sequence

from harness.measuring.units.unit import Scores
from suites.inputs import Request, ResponseScore


class UnitStore:
    """Takes the place of the score cache, which the driver alone opens."""

    def __init__(self, given: Sequence[Scores] = ()) -> None:
        """Takes scores of earlier units, which are found and not handed back."""
        self._found: dict[str, dict[Request, ResponseScore]] = {}
        for context, scores in given:
            self._found.setdefault(context, {}).update(scores)
        self._new: dict[str, dict[Request, ResponseScore]] = {}
        self.kept: dict[bytes, bytes] = {}
        """Key -> answers, divergences, checks and marks, in the order in which they were stored."""

    @property
    def scores(self) -> list[Scores]:
        """Scores that the unit computed, under their contexts."""
        return list(self._new.items())

    def lookup(self, context: str, requests: Sequence[Request]) -> dict[Request, ResponseScore]:
        """Scores that the unit was given or computed itself."""
        found = self._found.get(context, {})
        return {request: found[request] for request in requests if request in found}

    def store(self, context: str, scores: Mapping[Request, ResponseScore]) -> None:
        """Stores scores that were computed."""
        self._found.setdefault(context, {}).update(scores)
        self._new.setdefault(context, {}).update(scores)

    def lookup_result(self, key: bytes) -> bytes | None:
        """What the unit stored under a key; None where there is nothing."""
        return self.kept.get(key)

    def store_result(self, key: bytes, value: bytes) -> None:
        """Stores a result that was computed."""
        self.kept[key] = value
