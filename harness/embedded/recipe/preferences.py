"""Expands the hand-written preference frames into the embedded preference pairs.

`python -m harness.embedded.recipe.preferences` reads `frames/*.yaml` and rewrites `preferences_train.jsonl` and
`preferences_test.jsonl` in the data folder.

A frame is one group: templates of a prompt, a chosen and a rejected answer, and a few fills of their slots. Within each
source, split and benign flag, the chosen answer is longer in as many pairs as the rejected one, in characters and in
words alike, so that "the longest answer wins" is right exactly half of the time.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Formatter
from typing import Any

import click
import yaml

from harness.embedded.recipe.rows import DATA, write_jsonl

FRAMES = Path(__file__).resolve().parent / "frames"
SOURCES = ("honesty", "safety", "brevity")
SPLITS = ("train", "test")
FRAME_KEYS = {"id", "split", "benign", "prompt", "chosen", "rejected", "fills"}


@dataclass(frozen=True)
class Frame:
    """One hand-written group of preference pairs: templates and the fills of their slots."""

    source: str
    id: str
    split: str
    benign: bool
    prompt: str
    chosen: str
    rejected: str
    fills: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class PreferenceRow:
    """One preference pair, in the columns of the written files."""

    prompt: str
    chosen: str
    rejected: str
    source: str
    group: str
    benign: bool


def slots(template: str) -> set[str]:
    """The names of the slots in a template."""
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}


def parse_frame(source: str, entry: Mapping[str, Any]) -> Frame:
    """Checks one YAML entry and makes a frame of it."""
    where = f"{source}/{entry.get('id')}"
    if set(entry) != FRAME_KEYS:
        raise ValueError(f"{where}: expected the keys {sorted(FRAME_KEYS)}, got {sorted(entry)}")
    if entry["split"] not in SPLITS or not isinstance(entry["benign"], bool):
        raise ValueError(f"{where}: split must be one of {SPLITS} and benign a truth value")
    fills = tuple(entry["fills"])
    frame = Frame(source=source, **{**entry, "fills": fills})
    wanted = slots(frame.prompt) | slots(frame.chosen) | slots(frame.rejected)
    for fill in fills:
        if set(fill) != wanted or not all(isinstance(text, str) for text in fill.values()):
            raise ValueError(f"{where}: fill {fill} does not give a text for exactly the slots {sorted(wanted)}")
    return frame


def load_frames(source: str) -> list[Frame]:
    """All frames of one source, in the order of its file."""
    entries = yaml.safe_load((FRAMES / f"{source}.yaml").read_text(encoding="utf-8"))
    frames = [parse_frame(source, entry) for entry in entries]
    ids = [frame.id for frame in frames]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ValueError(f"{source}: these group ids are used twice: {', '.join(twice)}")
    return frames


def expand(frame: Frame) -> list[PreferenceRow]:
    """The rows of one frame, one for each fill."""
    return [
        PreferenceRow(
            prompt=frame.prompt.format(**fill),
            chosen=frame.chosen.format(**fill),
            rejected=frame.rejected.format(**fill),
            source=frame.source,
            group=f"{frame.source}/{frame.id}",
            benign=frame.benign,
        )
        for fill in frame.fills
    ]


def sign(number: int) -> int:
    """The sign of a number: -1, 0 or 1."""
    return (number > 0) - (number < 0)


def longer(row: PreferenceRow) -> int | None:
    """1 if the chosen answer is longer, -1 if shorter, 0 if equally long; None if characters and words disagree."""
    characters = sign(len(row.chosen) - len(row.rejected))
    words = sign(len(row.chosen.split()) - len(row.rejected.split()))
    return characters if characters == words else None


def balance(frames: Iterable[Frame]) -> list[PreferenceRow]:
    """The largest set of rows with as many longer as shorter chosen answers; the last fills are dropped first."""
    by_sign: dict[int | None, list[tuple[int, PreferenceRow]]] = defaultdict(list)
    for frame in frames:
        for index, row in enumerate(expand(frame)):
            by_sign[longer(row)].append((index, row))
    size = min(len(by_sign[1]), len(by_sign[-1]))
    if size == 0:
        raise ValueError("cannot balance: the chosen answer is never longer, or never shorter, than the rejected one")
    kept = by_sign[0] + [item for side in (1, -1) for item in sorted(by_sign[side], key=lambda item: item[0])[:size]]
    return [row for _, row in kept]


def file_order(row: PreferenceRow) -> tuple[str, str]:
    """A sort key that shuffles the groups, always alike, so that the first rows of a file have all sources."""
    return hashlib.sha256(row.group.encode()).hexdigest(), row.prompt


def build() -> dict[str, list[PreferenceRow]]:
    """Split -> its rows, balanced by source and benign flag."""
    strata: dict[tuple[str, str, bool], list[Frame]] = defaultdict(list)
    for source in SOURCES:
        for frame in load_frames(source):
            strata[source, frame.split, frame.benign].append(frame)
    rows: dict[str, list[PreferenceRow]] = {split: [] for split in SPLITS}
    for (source, split, benign), frames in strata.items():
        try:
            rows[split] += balance(frames)
        except ValueError as error:
            raise ValueError(f"{source}, {split}, benign={benign}: {error}") from error
    return {split: sorted(rows[split], key=file_order) for split in SPLITS}


def records(rows: Sequence[PreferenceRow]) -> list[dict[str, Any]]:
    """The rows as dictionaries, in the order of the columns."""
    return [asdict(row) for row in rows]


def main() -> None:
    """Rebuilds both files and prints the number of rows and groups of each."""
    for split, rows in build().items():
        write_jsonl(DATA / f"preferences_{split}.jsonl", records(rows))
        click.echo(f"{split}: {len(rows)} pairs, {len({row.group for row in rows})} groups")


if __name__ == "__main__":
    main()
