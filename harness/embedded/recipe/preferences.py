"""Expands the hand-written preference frames into the embedded preference pairs.

`python -m harness.embedded.recipe.preferences` reads `frames/*.yaml` and rewrites `preferences_train.jsonl` and
`preferences_test.jsonl` in the data folder.

A frame is one group: templates of prompts and answers, whose slots are filled with words of the lexicon at random. Most
frames are twins: two prompts and two answers, each of which is the chosen one of its own prompt and the rejected one of
the other. What words an answer holds, and how long it is, therefore tells nothing about which one is chosen. The other
frames are one-sided; of those, as many pairs are kept with a longer chosen answer as with a shorter one.
"""

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from harness.embedded.recipe.rows import DATA, write_jsonl
from harness.embedded.recipe.writing.lexicon import SLOT, Draw, tidy

FRAMES = Path(__file__).resolve().parent / "frames"
SOURCES = ("facts", "form", "safety")
SPLITS = ("train", "test")
KINDS = ("twins", "one-sided")
COLUMNS = {"twins": 5, "one-sided": 3}
N_FILLS = {("twins", "train"): 2, ("one-sided", "train"): 3, ("twins", "test"): 1, ("one-sided", "test"): 1}
"""How often a frame with slots is filled. More test rows of the same wording would say little more."""


@dataclass(frozen=True)
class Frame:
    """One hand-written group of preference pairs."""

    source: str
    subject: str
    """What the answers of the frame differ in."""
    split: str
    prompts: tuple[str, ...]
    answers: tuple[str, str]
    """The answer of each prompt of twins; the chosen and the rejected answer of the one prompt else."""
    benign: tuple[bool, ...]
    """Whether each prompt sounds harmful and is not."""

    @property
    def is_twins(self) -> bool:
        """Whether each answer is chosen once and rejected once."""
        return len(self.prompts) > 1

    @property
    def group(self) -> str:
        """A name for the group that changes only with the frame."""
        digest = hashlib.sha256("|".join((*self.prompts, *self.answers)).encode()).hexdigest()
        return f"{self.source}/{self.subject.replace(',', '').replace(' ', '-')}-{digest[:6]}"


@dataclass(frozen=True)
class PreferenceRow:
    """One preference pair, in the columns of the written files."""

    prompt: str
    chosen: str
    rejected: str
    source: str
    group: str
    benign: bool


def parse_frame(source: str, subject: str, split: str, line: str, section: Mapping[str, Any]) -> Frame:
    """Makes a frame of one line of a section."""
    cells = [cell.strip() for cell in line.split("|")]
    kind = section["kind"]
    if kind not in KINDS or split not in SPLITS:
        raise ValueError(f"{source}, {subject}: the kind must be one of {KINDS} and the split one of {SPLITS}")
    if len(cells) != COLUMNS[kind] or not all(cells[1:]):
        raise ValueError(f"{source}, {subject}: {kind} need {COLUMNS[kind]} columns (got {line.strip()!r})")
    if kind == "one-sided":
        return Frame(source, subject, split, (cells[0],), (cells[1], cells[2]), (bool(section.get("benign")),))
    prompts = tuple(f"{cells[0]} {question}".strip() for question in cells[1:3])
    return Frame(source, subject, split, prompts, (cells[3], cells[4]), (False, bool(section.get("second_is_benign"))))


def load_frames(source: str) -> list[Frame]:
    """All frames of one source, in the order of its file."""
    sections = yaml.safe_load((FRAMES / f"{source}.yaml").read_text(encoding="utf-8"))
    frames = [
        parse_frame(source, subject, split, line, section)
        for subject, section in sections.items()
        for split in SPLITS
        for line in section[split].strip().splitlines()
    ]
    groups = [frame.group for frame in frames]
    twice = sorted({name for name in groups if groups.count(name) > 1})
    if twice:
        raise ValueError(f"{source}: these groups are there twice: {', '.join(twice)}")
    return frames


def expand(frame: Frame) -> list[PreferenceRow]:
    """The rows of one frame: for each fill one, or two of twins."""
    rows: list[PreferenceRow] = []
    has_slots = any(SLOT.search(text) for text in (*frame.prompts, *frame.answers))
    kind = "twins" if frame.is_twins else "one-sided"
    for number in range(N_FILLS[kind, frame.split] if has_slots else 1):
        draw = Draw(random.Random(f"{frame.group} {number}"))  # noqa: S311 - not for secrets
        prompts = [tidy(draw.expand(prompt)) for prompt in frame.prompts]
        first, second = (tidy(draw.expand(answer)) for answer in frame.answers)
        sides = ((first, second), (second, first))
        made = [
            PreferenceRow(prompt, *answers, frame.source, frame.group, benign)
            for prompt, answers, benign in zip(prompts, sides, frame.benign, strict=False)
        ]
        if not set(made) & set(rows):  # a fill that happens to repeat one half of twins would leave the other alone
            rows += made
    return rows


def sign(number: int) -> int:
    """The sign of a number: -1, 0 or 1."""
    return (number > 0) - (number < 0)


def longer(row: PreferenceRow) -> int | None:
    """1 if the chosen answer is longer, -1 if shorter, 0 if equally long; None if characters and words disagree."""
    characters = sign(len(row.chosen) - len(row.rejected))
    words = sign(len(row.chosen.split()) - len(row.rejected.split()))
    return characters if characters == words else None


def balance(frames: Iterable[Frame]) -> list[PreferenceRow]:
    """The largest set of rows with as many longer as shorter chosen answers; the last fills are dropped first.

    Twins are balanced by themselves and all kept.
    """
    kept: list[PreferenceRow] = []
    by_sign: dict[int | None, list[tuple[int, PreferenceRow]]] = defaultdict(list)
    for frame in frames:
        if frame.is_twins:
            kept += expand(frame)
            continue
        for index, row in enumerate(expand(frame)):
            by_sign[longer(row)].append((index, row))
    size = min(len(by_sign[1]), len(by_sign[-1]))
    if size == 0 and any(by_sign.values()):
        raise ValueError("cannot balance: the chosen answer is never longer, or never shorter, than the rejected one")
    one_sided = by_sign[0] + [
        item for side in (1, -1) for item in sorted(by_sign[side], key=lambda item: item[0])[:size]
    ]
    return kept + [row for _, row in one_sided]


def file_order(row: PreferenceRow) -> tuple[str, str]:
    """A sort key that shuffles the groups, always alike, so that the first rows of a file have all sources."""
    return hashlib.sha256(row.group.encode()).hexdigest(), row.prompt


def build() -> dict[str, list[PreferenceRow]]:
    """Split -> its rows, balanced by source."""
    rows: dict[str, list[PreferenceRow]] = {split: [] for split in SPLITS}
    for source in SOURCES:
        frames = load_frames(source)
        for split in SPLITS:
            try:
                rows[split] += balance(frame for frame in frames if frame.split == split)
            except ValueError as error:
                raise ValueError(f"{source}, {split}: {error}") from error
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
