"""Judgements by a model or by people: answers out in AlpacaEval's columns, judgements of them in as one more metric."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from harness.config.wording import did_you_mean
from harness.data.files import read_file
from harness.data.row import DataError, Row
from reports.errors import UserError
from reports.records import Metric, MetricScores, Run
from reports.rendering.formats.alpaca_eval import alpaca_eval
from reports.scores import ExampleScores, ScoredExamples
from reports.whole import write_whole

Scale = Literal["score", "preference"]
_SCALES: tuple[Scale, ...] = ("score", "preference")
_FEW = 3
"""Examples that a message names."""


class JudgementError(UserError):
    """Judgements that do not belong to a run, or answers that cannot be written."""


@dataclass(frozen=True, slots=True)
class _Judgement:
    """One line of a file of judgements."""

    where: str
    """File and line, for messages."""
    example_id: str
    subject: str
    value: float
    """The score or the preference that was given."""


def write_answers(run: Run, folder: Path) -> list[Path]:
    """Write every subject's answers as `alpaca_eval_SUBJECT.json` into a folder, replacing files of these names.

    Raises:
        JudgementError: The run has no answers, or the folder cannot be written.
    """
    by_subject = alpaca_eval(run)
    if not by_subject:
        raise JudgementError(f"run {run.name} has no answers; its suite needs an evaluation of the kind generations")
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for subject, rows in by_subject.items():
            file = folder / f"alpaca_eval_{quote(subject, safe=' =,')}.json"
            files.append(write_whole(file, json.dumps(rows, ensure_ascii=False, indent=2) + "\n"))
    except OSError as error:
        raise JudgementError(f"cannot write answers to {folder}: {error.strerror}") from error
    return files


def with_judgements(run: Run, path: Path) -> Run:
    """Return the run with one more metric, `verdict[NAME OF THE FILE]`, of the evaluation whose answers were judged.

    The file is JSONL, JSON or CSV with the columns example_id, subject, and one of

    - score: any number, higher is better; the baseline must have scores too;
    - preference: 0 to 1, how far the candidate's answer is preferred to the baseline's; a tie is 0.5.

    Raises:
        JudgementError: The file cannot be read, or its judgements do not belong to this run, are given twice, or are
            not of the same examples for all subjects.
    """
    try:
        rows = [Row(f"{path}, {where}", columns, "") for where, columns in read_file(path)]
        scale = _scale(rows, path)
        judgements = [
            _Judgement(row.where, row.name("example_id"), row.name("subject"), row.number(scale)) for row in rows
        ]
    except DataError as error:
        raise JudgementError(str(error)) from None
    evaluation = _evaluation(run, judgements)
    metric = _metric(run, evaluation, scale, path)
    groups = {
        score.example_id: score.group
        for one in run.measurements
        if one.metric.evaluation == evaluation
        for score in one.scores
    }
    by_subject = _by_subject(run, judgements, scale, path)
    measurements = tuple(
        MetricScores(
            metric,
            subject,
            ExampleScores.from_columns(ScoredExamples.of(own, (groups.get(id_, id_) for id_ in own)), own.values()),
        )
        for subject, own in by_subject.items()
    )
    n_judged = len(next(iter(by_subject.values())))
    note = f"{evaluation}: {path.name} judges {n_judged} answers of {', '.join(by_subject)}"
    return replace(run, measurements=run.measurements + measurements, notes=(*run.notes, note))


def _scale(rows: Sequence[Row], path: Path) -> Scale:
    """Return which of the two columns the rows have; all of them have the same.

    Raises:
        JudgementError: There are no rows, or they have neither or both of the columns.
    """
    if not rows:
        raise JudgementError(f"{path}: holds no judgements")
    found = [scale for scale in _SCALES if any(scale in row.columns for row in rows)]
    if len(found) != 1:
        given = "both" if found else f"columns {', '.join(rows[0].columns)}"
        raise JudgementError(f"{path}: must have one of the columns score and preference, got {given}")
    return found[0]


def _evaluation(run: Run, judgements: Sequence[_Judgement]) -> str:
    """Return the one evaluation whose answers were judged.

    Raises:
        JudgementError: An example that the run has no answer to, or examples of several evaluations.
    """
    evaluation_of = {answer.example_id: answer.evaluation for answer in run.generations}
    if not evaluation_of:
        raise JudgementError(f"run {run.name} has no answers to be judged")
    unknown = [each for each in judgements if each.example_id not in evaluation_of]
    if unknown:
        raise JudgementError(
            f"{unknown[0].where}: run {run.name} has no answer with the example_id {unknown[0].example_id!r} "
            f"({len(unknown)} of {len(judgements)} judgements); judge the answers of this run"
        )
    evaluations = {evaluation_of[each.example_id] for each in judgements}
    if len(evaluations) > 1:
        raise JudgementError(f"judgements are of {', '.join(sorted(evaluations))}: give a file for each evaluation")
    return evaluations.pop()


def _metric(run: Run, evaluation: str, scale: Scale, path: Path) -> Metric:
    name = f"verdict[{path.name.partition('.')[0]}]"
    if any(one.metric.evaluation == evaluation and one.metric.name == name for one in run.measurements):
        raise JudgementError(f"{path}: run {run.name} has a metric {name} of {evaluation} already; rename the file")
    if scale == "preference":
        return Metric(evaluation, name, "share of answers", higher_is_better=True, display="percent", chance=0.5)
    return Metric(evaluation, name, "score", higher_is_better=True)


def _by_subject(run: Run, judgements: Sequence[_Judgement], scale: Scale, path: Path) -> dict[str, Mapping[str, float]]:
    """Map each subject to its judged value by example id, subjects in the order of the run.

    Raises:
        JudgementError: Judgements that nothing can be compared with.
    """
    baseline = run.baseline.name
    names = list(dict.fromkeys(answer.subject for answer in run.generations))
    answered = {(answer.subject, answer.example_id) for answer in run.generations}
    judged: dict[str, dict[str, float]] = {}
    for each in judgements:
        if each.subject not in names:
            hint = did_you_mean(each.subject, names)
            raise JudgementError(
                f"{each.where}: unknown subject {each.subject!r}{hint}; subjects are {', '.join(names)}"
            )
        if (each.subject, each.example_id) not in answered:
            raise JudgementError(f"{each.where}: {each.subject} has no answer to {each.example_id}")
        if each.example_id in judged.setdefault(each.subject, {}):
            raise JudgementError(
                f"{each.where}: a second judgement of the answer of {each.subject} to {each.example_id}"
            )
        if scale == "preference":
            _check_preference(each, baseline)
        judged[each.subject][each.example_id] = each.value
    if scale == "score" and baseline not in judged:
        raise JudgementError(f"{path}: has no scores of {baseline}, which the others are compared with")
    for subject, own in judged.items():
        lacking = sorted({each.example_id for each in judgements} - set(own))
        if lacking:
            raise JudgementError(
                f"{path}: {len(lacking)} examples are not judged for {subject}: {', '.join(lacking[:_FEW])}"
            )
    return {name: judged[name] for name in names if name in judged}


def _check_preference(judgement: _Judgement, baseline: str) -> None:
    """Refuse a value that is no preference for a candidate.

    Raises:
        JudgementError: A number outside 0 to 1, or a preference for the baseline.
    """
    if not 0 <= judgement.value <= 1:
        raise JudgementError(f"{judgement.where}: preference must lie between 0 and 1, got {judgement.value:g}")
    if judgement.subject == baseline:
        raise JudgementError(
            f"{judgement.where}: a preference is for a candidate over {baseline}, which is the subject"
        )
