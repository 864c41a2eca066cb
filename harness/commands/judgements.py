"""Verdicts of a judge or of people: answers out in AlpacaEval's columns, verdicts on them in as one more metric."""

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
from reports.records import ExampleScore, Metric, MetricScores, Run
from reports.rendering.formats.alpaca_eval import alpaca_eval
from reports.whole import write_whole

Kind = Literal["score", "preference"]
_KINDS: tuple[Kind, ...] = ("score", "preference")
_FEW = 3
"""Examples that a message names."""


class VerdictError(UserError):
    """Verdicts that do not belong to a run, or answers that cannot be written."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """One line of a file."""

    where: str
    example_id: str
    subject: str
    value: float


def write_answers(run: Run, folder: Path) -> list[Path]:
    """Writes every subject's answers as `alpaca_eval_SUBJECT.json` into a folder, replacing what is there.

    Raises:
        VerdictError: a run without answers, or a folder that cannot be written.
    """
    by_subject = alpaca_eval(run)
    if not by_subject:
        raise VerdictError(f"run {run.name} has no answers: its suite needs an evaluation of the kind generations")
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for subject, rows in by_subject.items():
            file = folder / f"alpaca_eval_{quote(subject, safe=' =,')}.json"
            files.append(write_whole(file, json.dumps(rows, ensure_ascii=False, indent=2) + "\n"))
    except OSError as error:
        raise VerdictError(f"cannot write answers to {folder}: {error.strerror}") from error
    return files


def with_verdicts(run: Run, path: Path) -> Run:
    """The run with one more metric, `verdict[NAME OF THE FILE]`, of the evaluation whose answers were judged.

    The file is JSONL, JSON or CSV with the columns example_id, subject, and one of

    - score: any number, the higher the better; the baseline must be judged too;
    - preference: 0 to 1, how far the subject's answer is preferred to the baseline's, a tie is 0.5; of candidates only.

    Raises:
        VerdictError: a file that cannot be read, or verdicts that do not belong to this run, are there twice, or are
            not of the same examples for all subjects.
    """
    try:
        rows = [Row(f"{path}, {where}", columns, "") for where, columns in read_file(path)]
        kind = _kind(rows, path)
        verdicts = [_Verdict(row.where, row.name("example_id"), row.name("subject"), row.number(kind)) for row in rows]
    except DataError as error:
        raise VerdictError(str(error)) from None
    evaluation = _evaluation(run, verdicts)
    metric = _metric(run, evaluation, kind, path)
    groups = {
        score.example_id: score.group
        for one in run.measurements
        if one.metric.evaluation == evaluation
        for score in one.scores
    }
    by_subject = _by_subject(run, verdicts, kind, path)
    measurements = tuple(
        MetricScores(
            metric,
            subject,
            tuple(ExampleScore(id_, groups.get(id_, id_), value, 1) for id_, value in own.items()),
        )
        for subject, own in by_subject.items()
    )
    n_judged = len(next(iter(by_subject.values())))
    note = f"{evaluation}: verdicts of {path.name} on {n_judged} answers of {', '.join(by_subject)}"
    return replace(run, measurements=run.measurements + measurements, notes=(*run.notes, note))


def _kind(rows: Sequence[Row], path: Path) -> Kind:
    """What the rows hold; all of them the same.

    Raises:
        VerdictError: no rows, or neither or both of the columns.
    """
    if not rows:
        raise VerdictError(f"{path}: holds no verdicts")
    found = [kind for kind in _KINDS if any(kind in row.columns for row in rows)]
    if len(found) != 1:
        given = "both" if found else f"columns {', '.join(rows[0].columns)}"
        raise VerdictError(f"{path}: must have one of the columns score and preference, got {given}")
    return found[0]


def _evaluation(run: Run, verdicts: Sequence[_Verdict]) -> str:
    """The one evaluation whose answers were judged.

    Raises:
        VerdictError: an example that the run has no answer to, or examples of several evaluations.
    """
    evaluation_of = {answer.example_id: answer.evaluation for answer in run.generations}
    if not evaluation_of:
        raise VerdictError(f"run {run.name} has no answers to be judged")
    unknown = [each for each in verdicts if each.example_id not in evaluation_of]
    if unknown:
        raise VerdictError(
            f"{unknown[0].where}: run {run.name} has no answer with the example_id {unknown[0].example_id!r} "
            f"({len(unknown)} of {len(verdicts)} verdicts); judge the answers of this run"
        )
    evaluations = {evaluation_of[each.example_id] for each in verdicts}
    if len(evaluations) > 1:
        raise VerdictError(f"verdicts are on {', '.join(sorted(evaluations))}: give a file for each evaluation")
    return evaluations.pop()


def _metric(run: Run, evaluation: str, kind: Kind, path: Path) -> Metric:
    name = f"verdict[{path.name.partition('.')[0]}]"
    if any(one.metric.evaluation == evaluation and one.metric.name == name for one in run.measurements):
        raise VerdictError(f"{path}: run {run.name} has a metric {name} of {evaluation} already; rename the file")
    if kind == "preference":
        return Metric(evaluation, name, "share of answers", higher_is_better=True, display="percent", chance=0.5)
    return Metric(evaluation, name, "score", higher_is_better=True)


def _by_subject(run: Run, verdicts: Sequence[_Verdict], kind: Kind, path: Path) -> dict[str, Mapping[str, float]]:
    """Subject -> example -> its verdict, subjects in the order of the run.

    Raises:
        VerdictError: verdicts that nothing can be compared with.
    """
    baseline = next((subject.name for subject in run.subjects if subject.kind == "baseline"), "")
    names = list(dict.fromkeys(answer.subject for answer in run.generations))
    answered = {(answer.subject, answer.example_id) for answer in run.generations}
    judged: dict[str, dict[str, float]] = {}
    for each in verdicts:
        if each.subject not in names:
            hint = did_you_mean(each.subject, names)
            raise VerdictError(f"{each.where}: unknown subject {each.subject!r}{hint}; subjects are {', '.join(names)}")
        if (each.subject, each.example_id) not in answered:
            raise VerdictError(f"{each.where}: {each.subject} has no answer to {each.example_id}")
        if each.example_id in judged.setdefault(each.subject, {}):
            raise VerdictError(f"{each.where}: a second verdict on the answer of {each.subject} to {each.example_id}")
        if kind == "preference":
            _check_preference(each, baseline)
        judged[each.subject][each.example_id] = each.value
    if kind == "score" and baseline not in judged:
        raise VerdictError(f"{path}: has no scores of {baseline}, which the others are compared with")
    for subject, own in judged.items():
        lacking = sorted({each.example_id for each in verdicts} - set(own))
        if lacking:
            raise VerdictError(
                f"{path}: {len(lacking)} examples are not judged for {subject}: {', '.join(lacking[:_FEW])}"
            )
    return {name: judged[name] for name in names if name in judged}


def _check_preference(verdict: _Verdict, baseline: str) -> None:
    """Refuses what is no preference of a candidate.

    Raises:
        VerdictError: a number that is no share, or a preference of the baseline.
    """
    if not 0 <= verdict.value <= 1:
        raise VerdictError(f"{verdict.where}: preference must lie between 0 and 1, got {verdict.value:g}")
    if verdict.subject == baseline:
        raise VerdictError(f"{verdict.where}: a preference is for a candidate over {baseline}, which is the subject")
