"""What preference pairs are built from: subjects, a task and two opposed ways to answer it, as a YAML file says.

subjects: papers.txt          # or a list; or papers.jsonl:title, a column of a file of rows
task: Write a one-sentence review of the paper {subject}.
instruction: You review papers.                                   # neutral, kept for training
kept_examples: both                                               # or none
n_per_subject: 2
chosen: {instruction: You are kind., examples: [{subject: Deep Residual Learning, answer: A joy to read.}]}
rejected: {instruction: You are Reviewer 2., examples: [{subject: Neural ODEs, answer: I have seen this before.}]}
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import MinLen

from harness.config.schema import Count, Name
from harness.config.strict_yaml import read_yaml_mapping
from harness.config.wording import did_you_mean, shown
from harness.data.files import format_of, read_file
from harness.data.row import DataError, Row
from reports.errors import UserError
from suites.inputs import Prompt, Turn, content_id

SUBJECT = "{subject}"
"""What stands in the task where the subject goes."""
SideName = Literal["chosen", "rejected"]
_OPPOSED: tuple[tuple[SideName, SideName], ...] = (("chosen", "rejected"), ("rejected", "chosen"))
_DISTINCTIVE_WORDS = 4


class PairSpecError(UserError):
    """A specification that pairs cannot be built from."""


@dataclass(frozen=True, slots=True)
class ExampleAnswer:
    """How one side would answer the task for some subject."""

    subject: Name
    answer: Name


@dataclass(frozen=True, slots=True)
class Side:
    """What makes the model answer in one of two opposed ways; it is not kept for training."""

    instruction: Name
    examples: tuple[ExampleAnswer, ...] = ()


@dataclass(frozen=True, slots=True)
class PairSpec:
    """What to ask about, and the two ways to answer; refused where the kept prompt would tell them apart."""

    subjects: Annotated[tuple[Name, ...], MinLen(1)]
    task: Name
    """What is asked of both sides; holds `{subject}`."""
    chosen: Side
    rejected: Side
    instruction: str = ""
    """System turn of the kept prompt, which must name neither side; empty for none."""
    kept_examples: Literal["none", "both"] = "none"
    """both puts the examples of both sides into the kept prompt, in an order drawn anew for each row."""
    n_per_subject: Count = 1

    def __post_init__(self) -> None:
        problem = next(_problems(self), None)
        if problem is not None:
            raise PairSpecError(problem)

    @property
    def n_pairs(self) -> int:
        """Pairs that are asked for."""
        return len(self.subjects) * self.n_per_subject

    def side(self, name: SideName) -> Side:
        """One of the two sides."""
        return self.chosen if name == "chosen" else self.rejected


def load_pair_spec(path: Path) -> PairSpec:
    """The specification in a YAML file; files of subjects are looked up beside it.

    Raises:
        PairSpecError: unknown or missing keys, values that are not allowed, sides that the kept prompt would name.
        DataError: the file of subjects is missing or broken.
        YamlError: the file is no YAML.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    values = read_yaml_mapping(path)
    if isinstance(values.get("subjects"), str):
        values = values | {"subjects": read_subjects(path.parent, values["subjects"])}
    # In a list and through JSON for the reasons that config_files.py gives.
    adapter = TypeAdapter(tuple[PairSpec], config=ConfigDict(extra="forbid", strict=True))
    try:
        (spec,) = adapter.validate_json(json.dumps([values]))
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        raise PairSpecError("\n".join(f"{path}: {_worded(detail)}" for detail in details)) from None
    except PairSpecError as error:
        raise PairSpecError(f"{path}: {error}") from None
    return spec


def read_subjects(folder: Path, file: str) -> list[str]:
    """The subjects in a file: its lines, or the values of a column where it is a file of rows (`papers.jsonl:title`).

    Raises:
        DataError: the file is missing or broken, or has no such column.
    """
    name, _, column = file.partition(":")
    path = folder / name
    if format_of(path) is not None:
        rows = (Row(f"{path}, {where}", columns, source=name) for where, columns in read_file(path))
        return [row.text(column or "subject").strip() for row in rows]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"subjects: {path} cannot be read ({error.strerror}); name a file or list them") from None
    except UnicodeDecodeError as error:
        raise DataError(f"subjects: {path} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    return [line.strip() for line in lines if line.strip()]


def side_prompt(spec: PairSpec, name: SideName, subject: str) -> Prompt:
    """What one side is asked: its own instruction, its own examples as earlier turns, the task."""
    side = spec.side(name)
    return (Turn("system", side.instruction.strip()), *_turns(spec, side.examples), _asked(spec, subject))


def kept_prompt(spec: PairSpec, subject: str, seed: int) -> Prompt:
    """What is kept for training, the same for both answers: the neutral instruction, perhaps all examples, the task.

    Args:
        spec: instruction, examples and task.
        subject: what is asked about.
        seed: decides, with the subject, in which order the examples stand.
    """
    system = (Turn("system", spec.instruction.strip()),) if spec.instruction.strip() else ()
    examples = spec.chosen.examples + spec.rejected.examples if spec.kept_examples == "both" else ()
    order = np.random.default_rng(int(content_id("order", seed, subject), 16)).permutation(len(examples))
    return (*system, *_turns(spec, tuple(examples[index] for index in order)), _asked(spec, subject))


def _asked(spec: PairSpec, subject: str) -> Turn:
    return Turn("user", spec.task.replace(SUBJECT, subject).strip())


def _turns(spec: PairSpec, examples: tuple[ExampleAnswer, ...]) -> Iterator[Turn]:
    for example in examples:
        yield _asked(spec, example.subject)
        yield Turn("assistant", example.answer)


def _problems(spec: PairSpec) -> Iterator[str]:
    if SUBJECT not in spec.task:
        yield f"task must contain {SUBJECT}, where the subject goes, got {shown(spec.task)}"
    for subject, n_times in Counter(spec.subjects).items():
        if n_times > 1 or not subject.strip():
            yield f"subjects must be different and not blank, got {shown(subject)} {n_times} times"
    if spec.chosen == spec.rejected:
        yield "chosen and rejected must differ, in their instructions or in their examples"
    texts = dict.fromkeys(turn.text for subject in spec.subjects for turn in kept_prompt(spec, subject, seed=0))
    for name, other in _OPPOSED:
        for text in texts:
            part = _named_part(text, spec.side(name).instruction.strip(), spec.side(other).instruction)
            if part is not None:
                yield (
                    f"{shown(text)} is kept for training and must name neither side, but {shown(part)} in it is from "
                    f"{name}.instruction; word instruction, task and kept examples neutrally"
                )


def _named_part(text: str, instruction: str, other: str) -> str | None:
    """What stands in the text of one side's instruction: all of it, or four words on end that the other side lacks."""
    if instruction.casefold() in text.casefold():
        return instruction
    words = _words_of(instruction).split()
    n_words = min(_DISTINCTIVE_WORDS, len(words))
    runs = [f" {' '.join(words[start : start + n_words])} " for start in range(len(words) - n_words + 1)]
    here, there = _words_of(text), _words_of(other)
    return next((run.strip() for run in runs if run in here and run not in there), None)


def _words_of(text: str) -> str:
    """The words of a text without case and punctuation, a blank before, between and behind them."""
    return " ".join(["", *re.findall(r"\w+", text.casefold()), ""])


def _worded(detail: Any) -> str:
    """One of pydantic's errors as a line with key, what is allowed, and what was given."""
    key = ".".join(map(str, detail["loc"][1:]))
    if detail["type"] == "unexpected_keyword_argument":
        *sections, unknown = detail["loc"][1:]
        owner = {"chosen": Side, "rejected": Side, "examples": ExampleAnswer}
        known = [each.name for each in fields(next((owner[s] for s in reversed(sections) if s in owner), PairSpec))]
        return f"unknown key {key}{did_you_mean(str(unknown), known)}; known are: {', '.join(known)}"
    if detail["type"] == "missing":
        return f"the key {key} is missing"
    return f"{key}: {detail['msg']}, got {shown(detail['input'])}"
