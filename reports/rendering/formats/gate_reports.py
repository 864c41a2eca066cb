"""Verdicts of gates as lines for the terminal, JUnit XML for a test report, and Markdown for a pull request."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree as ET

from reports.comparing.gates import GateOutcome, Verdict, is_stopped
from reports.rendering.content.display import NOTHING, cells, escape, label, plain

_COLUMNS = (
    *("verdict", "metric", "candidate", "against"),
    *("value there", "value", "difference", "at worst", "at best", "allowed"),
)
_MARKS: dict[GateOutcome, str] = {"pass": "\u2705", "cannot tell": "\u2754", "fail": "\u274c"}


def gate_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """One line a gate and candidate."""
    widest = max(len(_name(verdict)) for verdict in verdicts)
    return [f"{verdict.outcome:11}  {_name(verdict):{widest}}  {_finding(verdict)}" for verdict in verdicts]


def junit_report(name: str, verdicts: Sequence[Verdict], *, strict: bool = False) -> str:
    """JUnit XML: one test case a gate and candidate; what cannot be told is skipped or, if strict, a failure."""
    elements = [_element(verdict, strict=strict) for verdict in verdicts]
    counts = Counter(elements)
    suite = ET.Element(
        "testsuite",
        name=plain(name),
        tests=str(len(verdicts)),
        failures=str(counts["failure"]),
        errors="0",
        skipped=str(counts["skipped"]),
    )
    for verdict, element in zip(verdicts, elements, strict=True):
        case = ET.SubElement(suite, "testcase", classname=plain(verdict.comparison.candidate), name=verdict.gate.metric)
        if element:
            ET.SubElement(case, element, message=_finding(verdict))
        else:
            ET.SubElement(case, "system-out").text = _finding(verdict)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def summary(title: str, verdicts: Sequence[Verdict], *, strict: bool = False) -> str:
    """GitHub-flavoured Markdown: what happened in one line, and a table of the gates, those that stop it first."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("fail", "cannot tell", "pass") if counts[outcome])
    order: list[GateOutcome] = ["fail", "cannot tell", "pass"]
    rows = [
        f"| {_MARKS[verdict.outcome]} {verdict.outcome} | {escape(label(verdict.comparison.metric))} "
        f"| {escape(verdict.comparison.candidate)} | {escape(verdict.comparison.baseline)} "
        f"| {' | '.join(map(escape, _numbers(verdict)))} |"
        for verdict in sorted(verdicts, key=lambda each: order.index(each.outcome))
    ]
    return "\n".join(
        [
            f"### {'Stopped' if is_stopped(verdicts, strict=strict) else 'Not stopped'}: {escape(title)}",
            "",
            f"Gates: {told}.",
            "",
            f"| {' | '.join(_COLUMNS)} |",
            f"| {' | '.join(['---'] * 4 + ['---:'] * 6)} |",
            *rows,
            "",
            "At worst: one-sided 95 % bound. At best: the other bound, adjusted for the number of verdicts.",
            *(
                f"- {escape(verdict.gate.metric)}, {escape(verdict.comparison.candidate)}: {escape(verdict.reason)}"
                for verdict in verdicts
                if verdict.reason
            ),
            "",
        ]
    )


def _element(verdict: Verdict, *, strict: bool) -> str | None:
    """The element in a JUnit test case that says that it did not pass."""
    if is_stopped([verdict], strict=strict):
        return "failure"
    return None if verdict.outcome == "pass" else "skipped"


def _name(verdict: Verdict) -> str:
    return f"{verdict.gate.metric}  {plain(verdict.comparison.candidate)}"


def _finding(verdict: Verdict) -> str:
    """What a verdict rests on in one line, or why there is nothing."""
    there, value, difference, worst, best, limit = _numbers(verdict)
    values = f"{there} \u2192 {value}"
    if verdict.reason:
        return f"{values}: {verdict.reason}"
    telling = {"pass": f"at worst {worst}", "fail": f"at best {best}", "cannot tell": f"from {best} to {worst}"}
    return f"{values}: {difference}, {telling[verdict.outcome]}; allowed {limit}"


def _numbers(verdict: Verdict) -> tuple[str, str, str, str, str, str]:
    """Value held against, value, difference, bounds and limit, in the units of the tables."""
    row = verdict.comparison
    shown = cells(row)
    limit = _difference(verdict, verdict.limit)
    if row.metric.higher_is_better is None and verdict.limit is not None:
        limit = f"\u00b1{limit.removeprefix('+')}"
    worst, best = _difference(verdict, verdict.worst), _difference(verdict, verdict.best)
    return shown.baseline, shown.candidate, shown.difference, worst, best, limit


def _difference(verdict: Verdict, difference: float | None) -> str:
    if difference is None:
        return NOTHING
    return "any" if math.isinf(difference) else cells(replace(verdict.comparison, difference=difference)).difference
