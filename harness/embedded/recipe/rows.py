"""Reads and writes the JSONL files of the embedded data."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reports.whole import write_whole

DATA = Path(__file__).resolve().parent.parent / "data"


def jsonl_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows as text, one line of JSON each."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `rows` to `path` atomically."""
    write_whole(path, jsonl_text(rows))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, in order."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
