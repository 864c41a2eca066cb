"""The section on what was measured: subjects, rows that were read, left out and changed, and notes."""

from collections.abc import Mapping

from reports.records import EvaluationCounts, Run, Subject
from reports.rendering.content.blocks import Block, Bullets, Section, Strong, Table, Words
from reports.rendering.content.display import NOTHING


def measured_section(run: Run) -> Section:
    """Return the subjects that were measured, and the rows that were read, left out and changed."""
    subjects = tuple(
        (
            Strong(subject.name),
            "control" if subject.is_control else subject.kind,
            _description(subject),
            reference_text(subject),
        )
        for subject in run.subjects
    )
    blocks: list[Block] = [Table(("Subject", "Kind", "What it is", "Reference"), subjects, "llll")]
    if run.counts:
        header = ("Evaluation", "Rows from", "Read", "Used", "Groups", "Left out", "Touched")
        blocks.append(Table(header, tuple(_count_row(counts) for counts in run.counts), "llrrrll"))
    if run.notes:
        blocks.append(Bullets(run.notes))
    return Section(
        "measured", "What was measured", tuple(blocks), "subjects, data, rows left out and touched, notes of the run"
    )


def reference_text(subject: Subject) -> str:
    """Return a subject's reference and beta, each marked where nothing says it and it is assumed."""
    if subject.reference_basis == "unknown":
        return "not here"
    if subject.reference is None:
        return NOTHING
    assumed = {"recorded": "", "unknown": "", "assumed": " (assumed)"}
    beta = "" if subject.beta is None else f", beta {subject.beta:g}{assumed[subject.beta_basis]}"
    return f"{subject.reference}{assumed[subject.reference_basis]}{beta}"


def _description(subject: Subject) -> Words:
    if subject.same_weights:
        return subject.description
    return (f"{subject.description} (", Strong("different weights"), ")")


def _count_row(counts: EvaluationCounts) -> tuple[Words, ...]:
    group = f" ({counts.suite_group})" if counts.suite_group else ""
    return (
        counts.evaluation + group,
        counts.dataset,
        f"{counts.n_read:,}",
        f"{counts.n_scored:,}",
        f"{counts.n_groups:,}",
        _tally(counts.left_out),
        _tally(counts.touched),
    )


def _tally(counts: Mapping[str, int]) -> str:
    found = [f"{reason}: {rows:,}" for reason, rows in sorted(counts.items()) if rows]
    return "; ".join(found) or NOTHING
