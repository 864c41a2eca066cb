"""Follows one preference row to a cell of the report: each type that carries it, and the function that makes it.

    python docs/scripts/way_of_a_row.py             # prints the way
    python docs/scripts/way_of_a_row.py --write     # and puts it into docs/architecture.md

It measures the adapter of tests/regression on the embedded pairs and watches every object of this project that is made
meanwhile. An object carries the row if it holds its text, its id or its group, the token ids of its answer, its
log-probabilities or, from the comparison on, the numbers of the table's first row, in a field or in what a field holds.

Types that carry it are stops of the way, but for two kinds. A part is a field of another type, by that one's
annotations, and no function takes it as an argument of its own once it is in there. A worker keeps the row while it
works: it is listed in WORKERS.
"""
# ruff: noqa: INP001, PLC0415, T201

import contextlib
import io
import json
import math
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any, get_args, get_type_hints

import click
import numpy as np

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
ROWS = ROOT / "harness" / "embedded" / "data" / "preferences_test.jsonl"
BASE_MODEL = ROOT / "harness" / "embedded" / "base_model"
ADAPTER = ROOT / "tests" / "regression" / "adapter"
PACKAGES = ("harness", "suites", "reports")
BEGIN, END = "<!-- way -->", "<!-- end -->"
"""What stands around the table in the page."""
SUITE = "name: one-row\nevaluations:\n  - {name: preferences, kind: reward, role: preferences}\n"
BRANCHES = {
    "OverlapQuery": "to the search for overlap with training texts",
    "_Index": "to that search",
    "ExampleText": "to the texts of the page",
    "Flip": "to what moved most",
    "Report": "to every format, with the rows of the tables in it",
    "RunReports": "to the files, with the cell in it",
    "Suspects": "to the check of the path that scores it",
}
"""Types that carry the row elsewhere than to the table, and where to."""
BRANCH_ROOMS = {
    "reports.comparing.rivals": "to the headline",
    "reports.rendering.content.differences": "to the rows of the first table, with the cell in it",
    "reports.rendering.content.headline": "to the headline",
    "reports.rendering.content.blocks": "to the sections below the table",
    "reports.rendering.content.sections": "to the sections below the table",
    "reports.rendering.pictures": "to the pictures",
    "reports.rendering.formats": "from the table into a format",
}
"""Modules of which all types carry it elsewhere, and where to."""
WORKERS = {
    "_Source": "a split that was read, until its roles have their rows",
    "_Reading": "that split for one purpose",
    "RewardEvaluation": "a line of the suite, with the scores of all subjects so far",
    "ScoringState": "the plan of a run, with the latest packs",
    "Tokenised": "the tokens of one templated text, until they are cut into prompt and response",
    "TokenisedPrompt": "the tokens of a prompt and its answers, until they are requests",
    "Unit": "requests that are computed together, until their scores are there",
    "ModelScorer": "one subject's model",
    "Scorers": "the subjects on one set of weights",
}
"""Types that do the work and keep rows meanwhile, and what each is."""
FEWEST_WORDS = 6
"""Of the chosen answer of the row that is followed."""
DEEPEST, WIDEST = 7, 5_000
"""How far into an object is looked: levels, and elements of a sequence."""
MOST_LOOKS = 20_000
"""Looks into objects of one type before it is given up, so that a type that never carries the row costs little."""


@dataclass(frozen=True)
class Marks:
    """What the row and its table row are known by."""

    texts: tuple[str, ...]
    """Strings that hold one of these carry the row."""
    names: frozenset[str]
    """Strings that are one of these do: its id, its group, the cells of its table row."""
    token_ids: tuple[int, ...]
    """Token ids of its chosen answer, without the first and the last, which depend on their neighbours."""
    numbers: list[float] = field(default_factory=list)
    """Its log-probabilities, as they are met, and the numbers of its table row."""

    def are_in(self, value: Any, depth: int = DEEPEST) -> bool:
        """Whether a value carries the row, or holds one that does."""
        if isinstance(value, str):
            return value in self.names or any(text in value for text in self.texts)
        if isinstance(value, float | np.floating):
            return self._is_number(float(value))
        if depth == 0 or isinstance(value, bool | int | None):
            return False
        return self._are_in_array(value) if is_array(value) else self._are_in_sequence(held_by(value), depth)

    def _is_number(self, value: float) -> bool:
        return any(math.isclose(value, number, rel_tol=1e-9) for number in self.numbers)

    def _are_in_sequence(self, values: list[Any], depth: int) -> bool:
        if values and all(type(each) is int for each in values):
            return contains(values, self.token_ids)
        return len(values) <= WIDEST and any(self.are_in(each, depth - 1) for each in values)

    def _are_in_array(self, array: Any) -> bool:
        flat = np.asarray(array).ravel()
        if flat.size > WIDEST or not np.issubdtype(flat.dtype, np.number):
            return False
        if np.issubdtype(flat.dtype, np.integer):
            return contains(flat.tolist(), self.token_ids)
        return any(self._is_number(float(value)) for value in (flat.sum(), *flat))


@dataclass(frozen=True)
class Step:
    """A type that carries the row, and the function that made the first such object."""

    kind: type
    place: str
    """File:function."""

    @property
    def type_name(self) -> str:
        """The type as the code calls it."""
        return self.kind.__name__


class Watch:
    """Notes each type of this project once, when an object of it is met that carries the row."""

    def __init__(self, marks: Marks) -> None:
        self.marks = marks
        self.steps: dict[type, Step] = {}
        self.owners: dict[type, type] = {}
        """Type -> the first type that was met on the way with a field of it."""
        self.taken: set[type] = set()
        """Types with an owner that a function took as an argument of its own."""
        self._looks: dict[type, int] = {}

    def __call__(self, frame: FrameType, event: str, result: Any) -> None:
        """Called by Python whenever a function is called or returns."""
        code = frame.f_code
        if event == "call" and is_ours_file(code.co_filename):
            self._note_taken(frame)
        elif event != "return":
            return
        elif code.co_name in ("__init__", "__post_init__") and code.co_varnames:
            self._look(frame.f_locals.get(code.co_varnames[0]), frame.f_back)
        elif is_ours_file(code.co_filename):
            self._pair_up(frame, result)
            for value in (result, *frame.f_locals.values()):
                self._look(value, frame)
                if isinstance(value, list | tuple) and value:
                    self._look(value[0], frame, of=value)

    def _note_taken(self, frame: FrameType) -> None:
        """Notes the arguments that belong into another type, which has been met before."""
        code = frame.f_code
        for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
            value = frame.f_locals.get(name)
            kind = type(value)
            if name != "self" and kind in self.owners and kind not in self.taken and self.marks.are_in(value):
                self.taken.add(kind)

    def _look(self, value: Any, frame: FrameType | None, of: Iterable[Any] = ()) -> None:
        kind = type(value)
        if frame is None or kind in self.steps or not is_ours(kind) or self._looks.get(kind, 0) > MOST_LOOKS:
            return
        self._looks[kind] = self._looks.get(kind, 0) + 1
        if any(self.marks.are_in(each) for each in of or (value,) if type(each) is kind):
            self.steps[kind] = Step(kind, place_of(frame))
            if kind.__name__ not in WORKERS and branch_of(kind) is None:
                self.owners |= {part: kind for part in types_in_fields(kind) if part not in self.owners}

    def _pair_up(self, frame: FrameType, result: Any) -> None:
        """Learns the row's log-probabilities where a function returns one score for each of its requests."""
        if not isinstance(result, list) or not result or type(result[0]).__name__ != "ResponseScore":
            return
        for argument in frame.f_locals.values():
            if isinstance(argument, list | tuple) and len(argument) == len(result) and argument is not result:
                for request, score in zip(argument, result, strict=True):
                    if type(request).__name__ == "Request" and self.marks.are_in(request):
                        self.marks.numbers.extend(float(each) for each in score.token_log_probabilities)


def types_in_fields(kind: type) -> set[type]:
    """Types of this project that the annotations of a dataclass's fields name, by themselves or in collections."""

    def named(annotation: Any) -> Iterable[type]:
        if isinstance(annotation, type) and is_ours(annotation):
            yield annotation
        for argument in get_args(annotation):
            yield from named(argument)

    import torch  # annotations name it, but modules import it inside functions

    annotations = get_type_hints(kind, localns={"torch": torch}) if is_dataclass(kind) else {}
    return {each for annotation in annotations.values() for each in named(annotation)} - {kind}


def is_array(value: Any) -> bool:
    """Whether it is an array of numpy or a tensor of torch on the CPU."""
    return isinstance(value, np.ndarray) or (type(value).__module__ == "torch" and hasattr(value, "numel"))


def is_ours(kind: type) -> bool:
    """Whether it is a class of this project."""
    return kind.__module__.partition(".")[0] in PACKAGES


def is_ours_file(file: str) -> bool:
    """Whether it is a module of this project."""
    return file.startswith(tuple(f"{ROOT / package}/" for package in PACKAGES))


def held_by(value: Any) -> list[Any]:
    """What a collection, or an object of this project, holds."""
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, Sequence | set | frozenset):
        return list(value)
    if not is_ours(type(value)):
        return []
    if is_dataclass(value):
        return [getattr(value, each.name, None) for each in fields(value)]
    return list(vars(value).values()) if hasattr(value, "__dict__") else []


def contains(values: Sequence[int], part: Sequence[int]) -> bool:
    """Whether the part is in the values, all of it in a row."""
    n = len(part)
    return any(tuple(values[start : start + n]) == part for start in range(len(values) - n + 1))


def place_of(frame: FrameType) -> str:
    """File:function of this project that runs in a frame, or that called what does."""
    while frame.f_back is not None and not is_ours_file(frame.f_code.co_filename):
        frame = frame.f_back
    file = Path(frame.f_code.co_filename)
    name = frame.f_code.co_qualname.split(".<locals>")[0]
    return f"{file.relative_to(ROOT) if file.is_relative_to(ROOT) else file}:{name}"


def branch_of(kind: type) -> str | None:
    """Where a type carries the row, if that is not the table."""
    rooms = (words for room, words in BRANCH_ROOMS.items() if kind.__module__.startswith(room))
    return BRANCHES.get(kind.__name__) or next(rooms, None)


def measure(folder: Path, name: str) -> Path:
    """Runs `harness eval` on the pairs, everything scored anew; returns the run folder."""
    from harness.cli import cli

    suite = folder / "suite.yaml"
    suite.write_text(SUITE, encoding="utf-8")
    run = folder / name
    options = ("--suite", str(suite), "--adapter", f"adapter={ADAPTER}", "--workspace", str(folder), "--out", str(run))
    with contextlib.redirect_stdout(io.StringIO()):
        cli.main(["eval", *options, "-o", "model.quantization=none", "--no-cache"], standalone_mode=False)
    return run


def marks_of_a_row(run_folder: Path) -> Marks:
    """What the first row with a long answer is known by in this run, and the numbers of the table's first row.

    A short answer has so few tokens that others hold them as well.
    """
    from transformers import AutoTokenizer

    from reports.comparing.compare import compare
    from reports.run_folder import read_run

    rows = map(json.loads, ROWS.read_text(encoding="utf-8").splitlines())
    row = next(row for row in rows if len(row["chosen"].split()) >= FEWEST_WORDS)
    run = read_run(run_folder)
    text = next(each for each in run.examples if row["prompt"] in each.prompt)
    scores = next(each.scores for each in run.measurements if each.metric.name == "reward_accuracy")
    score = next(each for each in scores if each.example_id == text.example_id)
    comparison = next(each for each in compare(run) if each.against == "definition" and each.primary)
    shown = re.search(
        r"\| Preferred answers, reward accuracy.*\|", (run_folder / "report.md").read_text(encoding="utf-8")
    )
    assert shown is not None
    cells = {cell.strip() for cell in shown[0].split("|") if re.search(r"\d[.,]\d", cell)}
    tokens = AutoTokenizer.from_pretrained(BASE_MODEL)(row["chosen"], add_special_tokens=False)["input_ids"]
    numbers = [comparison.difference, comparison.candidate_value, sum(each.total for each in scores)]
    assert comparison.interval is not None
    return Marks(
        texts=(row["prompt"],),
        names=frozenset({score.example_id, score.group, *cells}),
        token_ids=tuple(tokens[1:-1]),
        numbers=[*numbers, *comparison.interval],
    )


def way() -> Watch:
    """Returns what was met of the row on its way."""
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch(marks_of_a_row(measure(Path(folder), "first")))
        sys.setprofile(watch)
        try:
            measure(Path(folder), "watched")
        finally:
            sys.setprofile(None)
    return watch


def as_markdown(watch: Watch) -> str:
    """Returns the stops as a table, and below it the parts, the workers and the types off the way."""
    steps = watch.steps.values()
    branches = [step for step in steps if branch_of(step.kind) is not None]
    workers = [step for step in steps if step.type_name in WORKERS]
    others = [step for step in steps if step not in (*branches, *workers)]
    parts = [step for step in others if step.kind in watch.owners and step.kind not in watch.taken]
    stops = [step for step in others if step not in parts]
    lines = [f"{len(stops)} stops:", "", "| | type | made by |", "| ---: | --- | --- |"]
    lines += [f"| {n} | `{step.type_name}` | `{step.place}` |" for n, step in enumerate(stops, start=1)]
    lines += ["", f"{len(parts)} parts, each inside another type:", ""]
    lines += [f"- `{step.type_name}`, in `{watch.owners[step.kind].__name__}`" for step in parts]
    lines += ["", f"{len(workers)} workers, which keep the row while they work:", ""]
    lines += [f"- `{step.type_name}`, {WORKERS[step.type_name]}" for step in workers]
    lines += ["", "Off the way:", ""]
    lines += [f"- `{step.type_name}`, {branch_of(step.kind)}" for step in branches]
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--write", is_flag=True, help="Puts it into docs/architecture.md.")
def main(*, write: bool) -> None:
    """Prints the way."""
    text = as_markdown(way())
    print(text)
    if write:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
