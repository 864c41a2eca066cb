"""Judgements: answers out, one more paired metric in, every mistake one line."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.commands.judgements import JudgementError, with_judgements, write_answers
from reports.comparing.compare import compare
from reports.records import ExampleScore, Generation, Metric, MetricScores, Run, Subject
from reports.run_folder import read_run, write_run

LENGTH = Metric("answers", "answer_length", "tokens per answer", higher_is_better=None)
N_PROMPTS = 12


@pytest.fixture
def run() -> Run:
    """Two subjects that answered twelve prompts in groups of two."""
    subjects = ("baseline", "adapter")
    return Run(
        name="run",
        suite="alignment",
        created="2026-11-21T10:00:00+00:00",
        headline="",
        suite_fingerprint="0123",
        subjects=(Subject("baseline", "baseline", ""), Subject("adapter", "candidate", "")),
        measurements=tuple(
            MetricScores(LENGTH, name, tuple(ExampleScore(f"q{n}", f"g{n // 2}", 5.0, 1) for n in range(N_PROMPTS)))
            for name in subjects
        ),
        generations=tuple(
            Generation("answers", f"q{n}", name, "", f"Question {n}?", f"Answer of {name}", refused=False)
            for name in subjects
            for n in range(N_PROMPTS)
        ),
    )


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as the name of the file says."""
    with path.open("w", newline="") as file:
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def scores(**changes: float) -> list[dict[str, Any]]:
    """The adapter is one point better than the baseline on every prompt, or as told."""
    return [
        {"example_id": f"q{n}", "subject": name, "score": changes.get(f"q{n}_{name}", n + (name == "adapter"))}
        for name in ("baseline", "adapter")
        for n in range(N_PROMPTS)
    ]


def preferences() -> list[dict[str, Any]]:
    """Nine wins, two ties and a loss of the adapter."""
    values = [1] * 9 + [0.5] * 2 + [0]
    return [{"example_id": f"q{n}", "subject": "adapter", "preference": value} for n, value in enumerate(values)]


@pytest.mark.parametrize("name", ["judge.jsonl", "judge.csv"])
def test_scores_are_one_more_metric_paired_with_the_baseline(run: Run, tmp_path: Path, name: str) -> None:
    """The difference is exactly what was planted, by groups of prompts; the rest of the run is as it was."""
    judged = with_judgements(run, write(tmp_path / name, scores()))

    (row,) = (row for row in compare(judged) if row.metric.name == "verdict[judge]")
    assert (row.metric.evaluation, row.against, row.difference, row.n, row.n_groups) == (
        "answers", "baseline", 1.0, N_PROMPTS, N_PROMPTS // 2,
    )  # fmt: skip
    assert judged.measurements[:2] == run.measurements
    assert judged.notes == ("answers: " + name + " judges 12 answers of baseline, adapter",)


def test_preferences_are_held_against_a_half(run: Run, tmp_path: Path) -> None:
    """A tie counts half, and the baseline's value is 0.5 by definition."""
    judged = with_judgements(run, write(tmp_path / "people.jsonl", preferences()))

    (row,) = (row for row in compare(judged) if row.metric.name == "verdict[people]")
    assert (row.against, row.baseline_value, row.candidate_value) == ("definition", 0.5, pytest.approx(10 / 12))


def test_each_judge_is_a_metric_of_its_own(run: Run, tmp_path: Path) -> None:
    """Each file is a metric; the run folder keeps both."""
    judged = with_judgements(run, write(tmp_path / "judge.jsonl", scores()))
    judged = with_judgements(judged, write(tmp_path / "people.csv", preferences()))

    write_run(judged, tmp_path / "run")

    assert read_run(tmp_path / "run") == judged
    names = [one.metric.name for one in judged.measurements]
    assert names[2:] == ["verdict[judge]", "verdict[judge]", "verdict[people]"]


def test_some_of_the_answers_may_be_left_unjudged_if_all_subjects_lack_the_same(run: Run, tmp_path: Path) -> None:
    """A judge that saw five prompts gives a metric of five examples."""
    rows = [row for row in scores() if int(row["example_id"][1:]) < 5]

    judged = with_judgements(run, write(tmp_path / "judge.jsonl", rows))

    assert [len(one.scores) for one in judged.measurements[2:]] == [5, 5]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "holds no judgements"),
        (
            [{"example_id": "q0", "subject": "adapter"}],
            "one of the columns score and preference, got columns example_id",
        ),
        ([{"example_id": "q0", "subject": "adapter", "score": 1, "preference": 1}], "score and preference, got both"),
        ([{"example_id": "x", "subject": "adapter", "score": 1}], "line 1: run run has no answer with the example_id"),
        ([{"example_id": "q0", "subject": "adpter", "score": 1}], "'adpter' (did you mean adapter?); subjects are"),
        ([{"example_id": "q0", "subject": "adapter", "score": "good"}], "column 'score' must be a number, got"),
        ([{"subject": "adapter", "score": 1}], "the column 'example_id' is missing"),
        (scores()[N_PROMPTS:], "has no scores of baseline"),
        (scores()[:-2], "2 examples are not judged for adapter: q10, q11"),
        ([*scores(), scores()[0]], "line 25: a second judgement of the answer of baseline to q0"),
        ([*preferences()[:1], {"example_id": "q1", "subject": "adapter", "preference": 2}], "line 2: preference must"),
        ([{"example_id": "q0", "subject": "baseline", "preference": 1}], "a preference is for a candidate over"),
    ],
)
def test_judgements_that_do_not_belong_are_refused_in_one_line(
    run: Run, tmp_path: Path, rows: list[dict[str, Any]], words: str
) -> None:
    """The file, the line where it is one, and what is wrong."""
    with pytest.raises(JudgementError) as caught:
        with_judgements(run, write(tmp_path / "judge.jsonl", rows))

    assert words in str(caught.value)
    assert "judge.jsonl" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_there_or_given_twice_is_refused(run: Run, tmp_path: Path) -> None:
    """Nothing is read from nowhere, and no metric is written over another."""
    with pytest.raises(JudgementError, match="no such file"):
        with_judgements(run, tmp_path / "judge.jsonl")
    file = write(tmp_path / "judge.jsonl", scores())
    with pytest.raises(JudgementError, match=r"has a metric verdict\[judge\] of answers already; rename the file"):
        with_judgements(with_judgements(run, file), file)


def test_a_subject_that_did_not_answer_cannot_be_judged(run: Run, tmp_path: Path) -> None:
    """Nor can a run without answers, nor answers of two evaluations at once."""
    file = write(tmp_path / "judge.jsonl", scores())
    with pytest.raises(JudgementError, match="adapter has no answer to q11"):
        with_judgements(replace(run, generations=run.generations[:-1]), file)
    with pytest.raises(JudgementError, match="run run has no answers to be judged"):
        with_judgements(replace(run, generations=()), file)
    others = tuple(replace(one, evaluation="others") for one in run.generations if one.example_id == "q0")
    with pytest.raises(JudgementError, match="judgements are of answers, others: give a file for each"):
        with_judgements(replace(run, generations=(*run.generations, *others)), file)


def test_answers_are_written_for_a_judge_a_file_a_subject(run: Run, tmp_path: Path) -> None:
    """JSON lists in AlpacaEval's columns; a slash in a name is no folder."""
    named = replace(
        run, generations=tuple(replace(one, subject=one.subject.replace("adapter", "a/b")) for one in run.generations)
    )

    files = write_answers(named, tmp_path / "out")

    assert [file.name for file in files] == ["alpaca_eval_baseline.json", "alpaca_eval_a%2Fb.json"]
    rows = json.loads(files[1].read_text())
    assert len(rows) == N_PROMPTS
    assert rows[0] == {
        "instruction": "Question 0?",
        "output": "Answer of adapter",
        "generator": "a/b",
        "dataset": "answers",
        "example_id": "q0",
    }


def test_what_was_written_and_judged_comes_back(run: Run, tmp_path: Path) -> None:
    """A judge that adds a score to the exported rows needs nothing else."""
    rows = [
        {"example_id": row["example_id"], "subject": row["generator"], "score": len(row["output"])}
        for file in write_answers(run, tmp_path)
        for row in json.loads(file.read_text())
    ]

    judged = with_judgements(run, write(tmp_path / "length.csv", rows))

    assert {score.total for score in judged.measurements[2].scores} == {len("Answer of baseline")}


def test_answers_that_cannot_be_written_are_told(run: Run, tmp_path: Path) -> None:
    """A run without answers, and a folder that is a file."""
    with pytest.raises(JudgementError, match="has no answers; its suite needs an evaluation of the kind generations"):
        write_answers(replace(run, generations=()), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(JudgementError, match="cannot write answers"):
        write_answers(run, tmp_path / "file")
