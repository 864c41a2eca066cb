"""Results of a benchmark in a file, so that one that was interrupted goes on where it stopped."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Kept:
    """Results by the description of what was measured; a result that is there is not measured again."""

    file: Path

    def all(self) -> dict[str, Any]:
        """Every result, by its description; none where there is no file yet."""
        if not self.file.is_file():
            return {}
        found: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        return found

    def take(self, description: str, measure: Callable[[], Any]) -> Any:
        """Return a result, in types of JSON, measured now unless it is there.

        Args:
            description: everything that the result depends on.
            measure: called where there is no result yet.
        """
        results = self.all()
        if description not in results:
            result = measure()
            results = self.all() | {description: result}  # measuring may have kept other results
            new = self.file.with_name(f"{self.file.name}.new")
            new.write_text(json.dumps(results, indent=1), encoding="utf-8")
            new.replace(self.file)
        return results[description]
