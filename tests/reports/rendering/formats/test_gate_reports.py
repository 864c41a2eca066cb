"""Verdicts as lines, JUnit XML and Markdown."""

from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import pytest

from reports.comparing.compare import compare
from reports.comparing.gates import GateResult, check_gates
from reports.records import Gate, Metric
from reports.rendering.formats.gate_reports import gate_lines, junit_report, summary

LENGTH = Metric("answers", "length", "tokens", higher_is_better=None)


@pytest.fixture
def results(fakes: SimpleNamespace) -> tuple[GateResult, ...]:
    """One of each outcome: accuracy 75 % on twelve pairs, 5 nats more in 180 tokens, and too little to say."""
    shifts = [5.0 * tokens / 180 for tokens in [10, 20] * 6]
    run = fakes.small_run(
        {
            (fakes.ACCURACY, "a|b <c>"): fakes.scores([1] * 11 + [0]),
            (fakes.PERPLEXITY, "base"): fakes.scores([20.0, 40.0] * 6, [10, 20] * 6),
            (fakes.PERPLEXITY, "a|b <c>"): fakes.scores(
                [
                    nats + shift + place / 100
                    for place, (nats, shift) in enumerate(zip([20.0, 40.0] * 6, shifts, strict=True))
                ],
                [10, 20] * 6,
            ),
            (fakes.MC1, "base"): fakes.scores([1, 0] * 6),
            (fakes.MC1, "a|b <c>"): fakes.scores([0, 1, 1, 0] * 3),
            (LENGTH, "base"): fakes.scores([10, 12, 14] * 4),
            (LENGTH, "a|b <c>"): fakes.scores([11, 12, 14, 15] * 3),
        }
    )
    gates = [
        Gate("preferences/accuracy", at_least=0.5),
        Gate("lm_eval/truthfulqa_mc1 acc", 0.02),
        Gate("truthfulness/perplexity", 0.01, relative=True),
        Gate("answers/length", 5.0),
    ]
    return check_gates(gates, compare(run))


def test_one_line_a_gate(results: tuple[GateResult, ...]) -> None:
    """Each line has outcome, metric, candidate, values, the bound that decided and what is allowed, in table units."""
    lines = gate_lines(results)

    assert [result.outcome for result in results] == ["pass", "cannot tell", "fail", "pass"]
    assert lines[0].startswith("pass         preferences/accuracy  a|b <c>  ")
    assert "  91.7 %: +41.7 pp, at worst +" in lines[0]
    assert lines[0].endswith("; required at least 50.0 %")
    assert ", from +" in lines[1]
    assert lines[1].endswith("; allowed \u22122.0 pp")
    assert ", at best +" in lines[2]
    assert lines[2].endswith("; allowed +1.00 %")
    assert "; allowed \u00b15" in lines[3]


def test_a_closing_line_says_what_follows(results: tuple[GateResult, ...]) -> None:
    """It counts the results, says whether they stop, and what becomes of those that cannot be told."""
    stopped, strict = gate_lines(results)[-1], gate_lines(results, strict=True)[-1]
    lenient = gate_lines(results[:2])[-1]

    assert stopped.startswith(
        "Stopped: 1 fail, 1 cannot tell, 2 pass. What cannot be told does not stop without --strict"
    )
    assert "stops here (--strict)" in strict
    assert lenient.startswith("Not stopped: 1 cannot tell, 1 pass. ")
    assert gate_lines(results[:1])[-1] == "Not stopped: 1 pass."


def test_junit_has_a_case_for_each_verdict(results: tuple[GateResult, ...]) -> None:
    """A fail is a failure, what cannot be told is skipped, and the counts say so."""
    root = ET.fromstring(junit_report("run", results).encode())
    (suite,) = root.findall("testsuite")

    assert suite.attrib == {"name": "run", "tests": "4", "failures": "1", "errors": "0", "skipped": "1"}
    cases = suite.findall("testcase")
    assert {case.get("classname") for case in cases} == {"a|b <c>"}
    assert [case[0].tag for case in cases] == ["system-out", "skipped", "failure", "system-out"]
    assert "at best" in str(cases[2][0].get("message"))


def test_junit_has_the_notes_as_the_output_of_the_suite(results: tuple[GateResult, ...]) -> None:
    """Lines on weights, references and betas are read there too, each on one line, last as the schema wants it."""
    notes = ["different weights: nf4 here,\nnone there", "assumed reference or beta: <b> & \x08"]
    suite = ET.fromstring(junit_report("run", results, notes).encode())[0]
    assert suite[-1].tag == "system-out"
    assert suite[-1].text == "different weights: nf4 here, none there\nassumed reference or beta: <b> &"
    assert len(suite.findall("testcase")) == len(results)
    assert ET.fromstring(junit_report("run", results).encode())[0].find("system-out") is None


def test_strict_junit_fails_what_cannot_be_told(results: tuple[GateResult, ...]) -> None:
    """With strict, nothing is skipped, and a failure says whether it is one or cannot be told."""
    suite = ET.fromstring(junit_report("run", results, strict=True).encode())[0]

    assert (suite.get("failures"), suite.get("skipped")) == ("2", "0")
    messages = [str(case[0].get("message")) for case in suite if case[0].tag == "failure"]
    assert [message.split(": ")[0] for message in messages] == ["cannot tell", "fail"]


def test_names_that_xml_cannot_hold_are_made_plain(results: tuple[GateResult, ...]) -> None:
    """A control character in a name does not spoil the file."""
    odd = replace(results[0], comparison=replace(results[0].comparison, candidate="a\x00b\x1bc"))

    assert ET.fromstring(junit_report("run\x08", [odd]).encode())[0][0].get("classname") == "a b c"


def test_the_summary_begins_with_what_stopped_it(results: tuple[GateResult, ...]) -> None:
    """The Markdown says in its first line whether it was stopped, and lists fails before passes, all of it literal."""
    names = {"preferences/accuracy": "Preferred | answers"}
    lines = summary("run", results, names).split("\n")
    rows = [line for line in lines if line.startswith("| ")]

    assert lines[0] == "### Stopped: run"
    assert lines[2].startswith("Gates: 1 fail, 1 cannot tell, 2 pass. What cannot be told does not stop")
    assert [row.split("|")[1].split()[-1] for row in rows[2:]] == ["fail", "tell", "pass", "pass"]
    assert all(row.replace("\\|", "").count("|") == 11 for row in rows)
    assert "<c>" not in "\n".join(lines)
    assert "| Preferred \\| answers (`preferences/accuracy`) |" in rows[4]
    assert "| truthfulness/perplexity |" in rows[2]


def test_the_summary_says_why_there_are_no_numbers(fakes: SimpleNamespace) -> None:
    """A result without bounds gives its reason, in the summary and in its line."""
    scores = fakes.scores([1.0, 2.0, 3.0])
    run = fakes.small_run({(fakes.PERPLEXITY, name): scores for name in ("base", "same")})
    results = check_gates([Gate("truthfulness/perplexity", 0.1)], compare(run))

    assert summary("run", results, {}).startswith("### Not stopped: run")
    assert "- truthfulness/perplexity, same: identical scores" in summary("run", results, {})
    named = summary("run", results, {"truthfulness/perplexity": "TruthfulQA, perplexity"})
    assert "- TruthfulQA, perplexity (`truthfulness/perplexity`), same: identical scores" in named
    assert gate_lines(results)[0].endswith(": identical scores")


def test_a_limit_without_end_is_no_number(fakes: SimpleNamespace) -> None:
    """Where everything may be lost, any difference is allowed."""
    likelihood = replace(fakes.PERPLEXITY, higher_is_better=True)
    run = fakes.small_run(
        {(likelihood, name): fakes.scores([1.0 * n, 2, 3] * 6) for n, name in enumerate(("base", "other"))}
    )
    (line, _) = gate_lines(check_gates([Gate("truthfulness/perplexity", 1.0, relative=True)], compare(run)))

    assert line.endswith("; allowed any")
