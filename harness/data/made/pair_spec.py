"""The specification of made preference pairs, a YAML file: subjects, a task and two opposed ways to answer it.

subjects: papers.txt          # or a list; or papers.jsonl:title, a column of a file of rows
task: Write a one-sentence review of the paper {subject}.
instruction: You review papers.                                   # neutral, kept for training
kept_examples: both                                               # or none
n_per_subject: 2
chosen: {instruction: You are kind., examples: [{subject: Deep Residual Learning, answer: A joy to read.}]}
rejected: {instruction: You are Reviewer 2., examples: [{subject: Neural ODEs, answer: I have seen this before.}]}
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import MinLen

from harness.config.limits import MOST_MADE_PAIRS
from harness.config.schema import Count, Name
from harness.config.strict import InvalidValuesError, build
from harness.config.strict_yaml import read_yaml_mapping
from harness.config.wording import shown
from harness.data.files import format_of, read_file
from harness.data.row import DataError, Row
from reports.errors import UserError
from reports.paths import check_no_address
from suites.inputs import Prompt, Turn, content_id

SUBJECT = "{subject}"
"""The place of the subject in the task."""
SideName = Literal["chosen", "rejected"]
_OPPOSED: tuple[tuple[SideName, SideName], ...] = (("chosen", "rejected"), ("rejected", "chosen"))
_DISTINCTIVE_WORDS = 4


class PairSpecError(UserError):
    """A specification that no pairs can be built from."""


@dataclass(frozen=True, slots=True)
class ExampleAnswer:
    """An answer to the task for some subject, as one side would give it."""

    subject: Name
    answer: Name


@dataclass(frozen=True, slots=True)
class Side:
    """Instruction and examples for one of two opposed ways to answer; they are not kept for training."""

    instruction: Name
    examples: tuple[ExampleAnswer, ...] = ()


@dataclass(frozen=True, slots=True)
class PairSpec:
    """What to ask about, and two ways to answer; refused if the prompt kept for training would reveal a side."""

    subjects: Annotated[tuple[Name, ...], MinLen(1)]
    task: Name
    """The request to both sides, with `{subject}` in it."""
    chosen: Side
    rejected: Side
    instruction: str = ""
    """System turn of the prompt kept for training, which must not reveal a side; empty for none."""
    kept_examples: Literal["none", "both"] = "none"
    """both puts the examples of both sides into the kept prompt, in a random order for each row."""
    n_per_subject: Count = 1
    """Pairs to build for each subject."""

    def __post_init__(self) -> None:
        problem = next(_problems(self), None)
        if problem is not None:
            raise PairSpecError(problem)

    @property
    def n_pairs(self) -> int:
        """Number of pairs to build."""
        return len(self.subjects) * self.n_per_subject

    def side(self, name: SideName) -> Side:
        """One of the two sides."""
        return self.chosen if name == "chosen" else self.rejected


def load_pair_spec(path: Path) -> PairSpec:
    """Loads the specification from a YAML file; paths of subject files are relative to its folder.

    Raises:
        PairSpecError: A key is unknown or missing, a value is not allowed, or the kept prompt would reveal a side.
        DataError: The file of subjects is missing or broken.
        YamlError: The file is not YAML.
    """
    values = read_yaml_mapping(path)
    if isinstance(values.get("subjects"), str):
        values = values | {"subjects": read_subjects(path.parent, values["subjects"])}
    try:
        return build(PairSpec, values)
    except InvalidValuesError as error:
        raise PairSpecError("\n".join(f"{path}: {problem.message}" for problem in error.problems)) from None
    except PairSpecError as error:
        raise PairSpecError(f"{path}: {error}") from None


def read_subjects(folder: Path, file: str) -> list[str]:
    """The subjects in a file: its lines, or the values of a column if it is a file of rows (`papers.jsonl:title`).

    Raises:
        DataError: The file is missing or broken, or has no such column.
    """
    check_no_address(file)
    name, _, column = file.partition(":")
    path = folder / name
    if format_of(path) is not None:
        rows = (Row(f"{path}, {where}", columns, source=name) for where, columns in read_file(path))
        return [row.text(column or "subject").strip() for row in rows]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(
            f"subjects: {path} cannot be read ({error.strerror}); name another file, or list the subjects"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"subjects: {path} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    return [line.strip() for line in lines if line.strip()]


def side_prompt(spec: PairSpec, name: SideName, subject: str) -> Prompt:
    """The prompt of one side: its instruction, its examples as earlier turns, and the task."""
    side = spec.side(name)
    return (Turn("system", side.instruction.strip()), *_turns(spec, side.examples), _task_turn(spec, subject))


def kept_prompt(spec: PairSpec, subject: str, seed: int) -> Prompt:
    """The prompt kept for training, the same for both answers: neutral instruction, perhaps all examples, the task.

    Args:
        spec: Instruction, examples and task.
        subject: What the task is about.
        seed: Determines, together with the subject, the order of the examples.
    """
    system = (Turn("system", spec.instruction.strip()),) if spec.instruction.strip() else ()
    examples = spec.chosen.examples + spec.rejected.examples if spec.kept_examples == "both" else ()
    order = np.random.default_rng(int(content_id("order", seed, subject), 16)).permutation(len(examples))
    return (*system, *_turns(spec, tuple(examples[index] for index in order)), _task_turn(spec, subject))


def _task_turn(spec: PairSpec, subject: str) -> Turn:
    return Turn("user", spec.task.replace(SUBJECT, subject).strip())


def _turns(spec: PairSpec, examples: tuple[ExampleAnswer, ...]) -> Iterator[Turn]:
    for example in examples:
        yield _task_turn(spec, example.subject)
        yield Turn("assistant", example.answer)


def _problems(spec: PairSpec) -> Iterator[str]:
    if SUBJECT not in spec.task:
        yield f"task must contain {SUBJECT}, as the place of the subject, got {shown(spec.task)}"
    for subject, n_times in Counter(spec.subjects).items():
        if n_times > 1 or not subject.strip():
            yield f"subjects must be different and not blank, got {shown(subject)} {n_times} times"
    if spec.n_pairs > MOST_MADE_PAIRS:
        yield (
            f"n_per_subject: {len(spec.subjects):,} subjects x {spec.n_per_subject:,} make {spec.n_pairs:,} pairs; at "
            f"most {MOST_MADE_PAIRS:,} are made"
        )
        return
    if spec.chosen == spec.rejected:
        yield "chosen and rejected must differ in their instructions or examples"
    texts = dict.fromkeys(turn.text for subject in spec.subjects for turn in kept_prompt(spec, subject, seed=0))
    for name, other in _OPPOSED:
        for text in texts:
            part = _named_part(text, spec.side(name).instruction.strip(), spec.side(other).instruction)
            if part is not None:
                yield (
                    f"{shown(text)} is kept for training and must not reveal a side, but {shown(part)} in it is from "
                    f"{name}.instruction; word instruction, task and kept examples neutrally"
                )


def _named_part(text: str, instruction: str, other: str) -> str | None:
    """The part of a side's instruction in a text: all of it, or four successive words that the other side lacks."""
    if instruction.casefold() in text.casefold():
        return instruction
    words = _words_of(instruction).split()
    n_words = min(_DISTINCTIVE_WORDS, len(words))
    runs = [f" {' '.join(words[start : start + n_words])} " for start in range(len(words) - n_words + 1)]
    here, there = _words_of(text), _words_of(other)
    return next((run.strip() for run in runs if run in here and run not in there), None)


def _words_of(text: str) -> str:
    """The words of a text without case and punctuation, with a space before, between and after them."""
    return " ".join(["", *re.findall(r"\w+", text.casefold()), ""])
