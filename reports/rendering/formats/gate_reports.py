"""Results of gates as lines for the terminal, JUnit XML for a test report, and Markdown for a pull request."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from xml.etree import ElementTree as ET

from reports.comparing.gates import GateOutcome, GateResult, is_stopped
from reports.rendering.content.display import NOTHING, cells, plain
from reports.rendering.formats.markdown_text import code, escape

_COLUMNS = (
    *("result", "metric", "candidate", "against"),
    *("value there", "value", "difference", "at worst", "at best", "allowed"),
)
_MARKS: dict[GateOutcome, str] = {"fail": "\u274c", "cannot tell": "\u2754", "pass": "\u2705"}
"""Outcome -> its sign, failures first."""


def gate_lines(results: Sequence[GateResult], *, strict: bool = False) -> list[str]:
    """Return one line for each gate and candidate, and a closing one with what follows from them."""
    widest = max(len(_name(result)) for result in results)
    lines = [f"{result.outcome:11}  {_name(result):{widest}}  {_finding(result)}" for result in results]
    return [*lines, f"{_verdict(results, strict=strict)}: {_tally(results)}{_advice(results, strict=strict)}"]


def _verdict(results: Sequence[GateResult], *, strict: bool) -> str:
    return "Stopped" if is_stopped(results, strict=strict) else "Not stopped"


def _tally(results: Sequence[GateResult]) -> str:
    """Return how many results there are of each kind, failures first."""
    counts = Counter(result.outcome for result in results)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in _MARKS if counts[outcome])


def _advice(results: Sequence[GateResult], *, strict: bool) -> str:
    """Return what a result that cannot tell means for the release, and what would tell; nothing without one."""
    if all(result.outcome != "cannot tell" for result in results):
        return "."
    does_stop = "stops here (--strict)" if strict else "does not stop without --strict"
    return f". What cannot be told {does_stop}; more rows, or a wider margin, can tell."


def junit_report(name: str, results: Sequence[GateResult], notes: Sequence[str] = (), *, strict: bool = False) -> str:
    """Return JUnit XML: a test case for each gate and candidate; "cannot tell" is skipped or, if strict, a failure.

    The notes, on candidates that were not checked, weights, references and betas, are the output of the suite.
    """
    elements = [_element(result, strict=strict) for result in results]
    counts = Counter(elements)
    suite = ET.Element(
        "testsuite",
        name=plain(name),
        tests=str(len(results)),
        failures=str(counts["failure"]),
        errors="0",
        skipped=str(counts["skipped"]),
    )
    for result, element in zip(results, elements, strict=True):
        case = ET.SubElement(suite, "testcase", classname=plain(result.comparison.candidate), name=result.gate.metric)
        if element:
            ET.SubElement(case, element, message=f"{result.outcome}: {_finding(result)}")
        else:
            ET.SubElement(case, "system-out").text = _finding(result)
    if notes:
        ET.SubElement(suite, "system-out").text = "\n".join(map(plain, notes))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def summary(
    title: str,
    results: Sequence[GateResult],
    names: Mapping[str, str],
    notes: Sequence[str] = (),
    *,
    strict: bool = False,
) -> str:
    """Return GitHub-flavoured Markdown: the result in one line, and a table of the gates, failures first.

    Args:
        title: What was checked.
        results: Results of `check_gates`.
        names: Metric as a gate names it -> what people call it.
        notes: Lines below the table.
        strict: Whether what cannot be told stops too.
    """
    order = list(_MARKS)
    rows = [
        f"| {_MARKS[result.outcome]} {result.outcome} | {_names(result, names)} "
        f"| {escape(result.comparison.candidate)} | {escape(result.comparison.baseline)} "
        f"| {' | '.join(map(escape, _numbers(result)))} |"
        for result in sorted(results, key=lambda each: order.index(each.outcome))
    ]
    return "\n".join(
        [
            f"### {_verdict(results, strict=strict)}: {escape(title)}",
            "",
            f"Gates: {_tally(results)}{_advice(results, strict=strict)}",
            "",
            f"| {' | '.join(_COLUMNS)} |",
            f"| {' | '.join(['---'] * 4 + ['---:'] * 6)} |",
            *rows,
            "",
            "At worst: one-sided 95 % bound. At best: the other bound, adjusted for the number of results.",
            *(
                f"- {_names(result, names)}, {escape(result.comparison.candidate)}: {escape(result.reason)}"
                for result in results
                if result.reason
            ),
            *(f"- {escape(note)}" for note in notes),
            "",
        ]
    )


def _names(result: GateResult, names: Mapping[str, str]) -> str:
    """Return what people call a gate's metric, and its name in gate files."""
    machine = result.gate.metric
    name = names.get(machine, machine)
    return escape(name) if name == machine else f"{escape(name)} ({code(machine)})"


def _element(result: GateResult, *, strict: bool) -> str | None:
    """Return the name of the element that marks a JUnit test case as not passed, or None."""
    if is_stopped([result], strict=strict):
        return "failure"
    return None if result.outcome == "pass" else "skipped"


def _name(result: GateResult) -> str:
    return f"{result.gate.metric}  {plain(result.comparison.candidate)}"


def _finding(result: GateResult) -> str:
    """Return the numbers that a result is based on in one line, or the reason why there are none."""
    there, value, difference, worst, best, limit = _numbers(result)
    values = f"{there} \u2192 {value}"
    if result.reason:
        return f"{values}: {result.reason}"
    ranges = {"pass": f"at worst {worst}", "fail": f"at best {best}", "cannot tell": f"from {best} to {worst}"}
    if result.gate.at_least is not None:
        return f"{value}: {difference}, {ranges[result.outcome]}; required {limit}"
    return f"{values}: {difference}, {ranges[result.outcome]}; allowed {limit}"


def _numbers(result: GateResult) -> tuple[str, str, str, str, str, str]:
    """Return baseline value, value, difference, bounds and limit, in the units of the tables."""
    row = result.comparison
    shown = cells(row)
    limit = _difference(result, result.limit)
    if row.metric.higher_is_better is None and result.limit is not None:
        limit = f"\u00b1{limit.removeprefix('+')}"
    if result.gate.at_least is not None:
        limit = f"at least {shown.baseline}"
    worst, best = _difference(result, result.worst), _difference(result, result.best)
    return shown.baseline, shown.candidate, shown.difference, worst, best, limit


def _difference(result: GateResult, difference: float | None) -> str:
    if difference is None:
        return NOTHING
    return "any" if math.isinf(difference) else cells(replace(result.comparison, difference=difference)).difference
