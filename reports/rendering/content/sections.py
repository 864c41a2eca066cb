"""The sections of a Markdown report around its results; a section without content has no lines."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from reports.records import EvaluationCounts, Generation, Run, Subject
from reports.rendering.content.display import NOTHING, escape, escape_line, quote

MOST_PROMPTS = 24
"""Most prompts whose answers are shown; the others are in generations.jsonl."""
MOST_ANSWERS = 48
"""Most answers of all subjects together: a comment on a pull request holds 65,536 characters."""
LONGEST_FACT = 200
"""Most characters of a line of provenance."""


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], alignment: str) -> list[str]:
    """Return the lines of a pipe table; `alignment` has one letter a column: l, r or c."""
    names = {"l": "left", "r": "right", "c": "center"}
    columns = [names[letter] for letter in alignment]
    return tabulate(rows, header, tablefmt="pipe", colalign=columns, disable_numparse=True).splitlines()


def folded(summary: str, lines: Sequence[str]) -> list[str]:
    """Return lines that are shown after a click on the summary, which is not escaped and must not contain data."""
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>"]


def measured_section(run: Run) -> list[str]:
    """Return the subjects that were measured, and the rows that were read, left out and changed."""
    subjects = [
        [
            f"**{escape(subject.name)}**",
            "control" if subject.is_control else subject.kind,
            escape(subject.description) + ("" if subject.same_weights else " (**different weights**)"),
            escape(reference_text(subject)),
        ]
        for subject in run.subjects
    ]
    lines = [
        "## What was measured",
        "",
        *markdown_table(["subject", "kind", "what it is", "reference"], subjects, "llll"),
    ]
    if run.counts:
        header = ["evaluation", "rows from", "read", "used", "groups", "left out", "touched"]
        lines += ["", *markdown_table(header, [_count_row(counts) for counts in run.counts], "llrrrll")]
    if run.notes:
        lines += ["", *(f"- {escape_line(note)}" for note in run.notes)]
    return lines


def reference_text(subject: Subject) -> str:
    """Return a subject's reference and beta, each marked where nothing says it and it is assumed."""
    if subject.reference_basis == "unknown":
        return "not here"
    if subject.reference is None:
        return NOTHING
    assumed = {"recorded": "", "unknown": "", "assumed": " (assumed)"}
    beta = "" if subject.beta is None else f", beta {subject.beta:g}{assumed[subject.beta_basis]}"
    return f"{subject.reference}{assumed[subject.reference_basis]}{beta}"


def _count_row(counts: EvaluationCounts) -> list[str]:
    return [
        escape(counts.evaluation) + (f" ({escape(counts.suite_group)})" if counts.suite_group else ""),
        escape(counts.dataset),
        f"{counts.n_read:,}",
        f"{counts.n_scored:,}",
        f"{counts.n_groups:,}",
        _tally(counts.left_out),
        _tally(counts.touched),
    ]


def _tally(counts: Mapping[str, int]) -> str:
    found = [f"{escape(reason)}: {rows:,}" for reason, rows in sorted(counts.items()) if rows]
    return "; ".join(found) or NOTHING


def answers_section(run: Run) -> list[str]:
    """Return counts of refusals by kind of prompt, and every subject's answer to each prompt."""
    if not run.generations:
        return []
    subjects = list(dict.fromkeys(answer.subject for answer in run.generations))
    by_prompt: dict[tuple[str, str], list[Generation]] = {}
    for answer in run.generations:
        by_prompt.setdefault((answer.evaluation, answer.example_id), []).append(answer)
    shown = list(by_prompt.values())[: min(MOST_PROMPTS, max(1, MOST_ANSWERS // len(subjects)))]
    rest = len(by_prompt) - len(shown)
    lines = ["## Answers side by side", ""]
    lines += markdown_table(
        ["refused, by kind of prompt", *map(escape, subjects)],
        _refusals(run.generations, subjects),
        "l" + "r" * len(subjects),
    )
    texts = []
    for position, answers in enumerate(shown, start=1):
        kind = f" {escape(answers[0].kind)}" if answers[0].kind else ""
        texts += [f"**{position}.{kind}**", "", quote(answers[0].prompt), ""]
        for answer in answers:
            texts += [
                f"{escape(answer.subject)}{' (refused)' if answer.refused else ''}:",
                "",
                quote(answer.answer),
                "",
            ]
    if rest > 0:
        texts += [f"{rest:,} more prompts are in generations.jsonl.", ""]
    return [*lines, "", *folded(f"{len(shown)} prompts and their answers", texts[:-1])]


def _refusals(generations: Sequence[Generation], subjects: Sequence[str]) -> list[list[str]]:
    asked = Counter((answer.kind, answer.subject) for answer in generations)
    refused = Counter((answer.kind, answer.subject) for answer in generations if answer.refused)
    kinds = dict.fromkeys(answer.kind for answer in generations)
    return [
        [
            escape(kind) or "prompts",
            *(
                f"{refused[kind, subject]} of {asked[kind, subject]}" if asked[kind, subject] else NOTHING
                for subject in subjects
            ),
        ]
        for kind in kinds
    ]


def provenance_section(run: Run) -> list[str]:
    """Return versions, device and seeds; the whole configuration is in run.json."""
    facts = {"run": run.name, "suite": run.suite, "suite fingerprint": run.suite_fingerprint, "created": run.created}
    rows = [[escape(key), escape(value[:LONGEST_FACT])] for key, value in (facts | dict(_flat(run.provenance))).items()]
    table = markdown_table(["what", "value"], rows, "ll")
    return [
        "## Provenance",
        "",
        *folded("Versions, device, seeds", [*table, "", "The resolved configuration is in run.json."]),
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in sorted(values.items()):
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
