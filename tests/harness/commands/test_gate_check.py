"""`harness check`: files of gates, candidates that are judged, reports and exit codes, margins."""

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from harness.commands import gate_check
from harness.commands.gate_check import EXIT_STOPPED, CheckError, CheckOptions, calibrate, check, load_gates
from harness.config.strict_yaml import YamlError
from reports.comparing.against import IncomparableRunsError
from reports.comparing.compare import compare
from reports.records import ExampleScore, Gate, Metric, MetricScores, Run, Subject
from reports.run_folder import write_run

PERPLEXITY = Metric("truthfulness", "perplexity", "nats per token", higher_is_better=False, display="exp", primary=True)
GATES = "gates:\n  - {metric: truthfulness/perplexity, largest_loss: 0.05, relative: true}\n"
CANDIDATES = {"good": 0.0, "bad": 0.5, "control": 0.5, "unquantised": 0.5}
"""Candidate -> nats per token that it loses."""


def scores(shift: float, name: str) -> tuple[ExampleScore, ...]:
    """Sixty responses of twenty tokens, equal for all subjects but for the shift and a little of their own."""
    base, own = np.random.default_rng(0), np.random.default_rng(zlib.crc32(name.encode()))
    nats = 20 * (base.normal(2, 0.3, 60) + shift + 0.01 * own.normal(size=60))
    return tuple(ExampleScore(f"e{n:02d}", f"g{n}", float(total), 20.0) for n, total in enumerate(nats))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run of the given losses, one candidate each, into a folder of the test's own."""

    def write_folder(name: str = "run", candidates: dict[str, float] = CANDIDATES, **changes: object) -> Path:
        subjects = [
            Subject(
                each, "candidate", each, None if each == "unquantised" else "baseline", is_control=each == "control"
            )
            for each in candidates
        ]
        lost = {"baseline": 0.0} | candidates
        run = Run(
            name=name,
            suite="alignment",
            created="2026-11-21T10:00:00+00:00",
            headline="",
            suite_fingerprint="0123456789abcdef",
            subjects=(Subject("baseline", "baseline", "base model"), *subjects),
            measurements=tuple(
                MetricScores(PERPLEXITY, each, scores(shift, f"{name} {each}")) for each, shift in lost.items()
            ),
        )
        write_run(replace(run, **changes), tmp_path / name)
        return tmp_path / name

    return write_folder


@pytest.fixture
def gates_file(tmp_path: Path) -> Path:
    """A file with one gate."""
    path = tmp_path / "gates.yaml"
    path.write_text(GATES)
    return path


def test_all_but_controls_and_base_models_are_judged(write: Callable[..., Path], gates_file: Path) -> None:
    """A control and an unquantised base may be as bad as they are; one bad candidate stops the check."""
    checked = check(write(), CheckOptions(gates_file=gates_file))

    outcomes = {result.comparison.candidate: result.outcome for result in checked.results}
    assert outcomes == {"good": "pass", "bad": "fail"}
    assert checked.exit_code == EXIT_STOPPED == 3
    assert [line.split()[0] for line in checked.lines] == ["pass", "fail", "Stopped:"]


@pytest.mark.parametrize(("name", "exit_code"), [("good", 0), ("control", EXIT_STOPPED)])
def test_those_that_are_asked_for_are_judged(
    write: Callable[..., Path], gates_file: Path, name: str, exit_code: int
) -> None:
    """Named candidates are judged, whatever they are, and no other."""
    checked = check(write(), CheckOptions(gates_file=gates_file, candidates=(name,)))

    assert [result.comparison.candidate for result in checked.results] == [name]
    assert checked.exit_code == exit_code


def test_the_gates_of_the_suite_stand_in_the_run(write: Callable[..., Path]) -> None:
    """Without a file the gates that the run was measured with are judged, as they come back from disk."""
    gate = Gate("truthfulness/perplexity", 2.0)
    (result,) = check(write(gates=(gate,)), CheckOptions(candidates=("bad",))).results

    assert result.gate == gate
    assert result.outcome == "pass"


def test_strict_stops_where_nothing_can_be_told(write: Callable[..., Path], gates_file: Path) -> None:
    """A loss just as large as allowed stops a strict check alone."""
    folder = write(candidates={"adapter": float(np.log(1.05))})

    assert check(folder, CheckOptions(gates_file=gates_file)).exit_code == 0
    assert check(folder, CheckOptions(gates_file=gates_file, strict=True)).exit_code == EXIT_STOPPED


def test_against_a_reference_run(write: Callable[..., Path], gates_file: Path) -> None:
    """Candidates are compared with those of the same name; one without is listed as not checked."""
    reference = write("reference", {"good": 0.0, "bad": 0.5})
    folder = write("later", {"good": 0.3, "bad": 0.5, "new": 0.0})
    checked = check(folder, CheckOptions(gates_file=gates_file, against=reference))

    assert {result.comparison.candidate: result.outcome for result in checked.results} == {
        "good": "fail",
        "bad": "pass",
    }
    assert checked.lines[0] == "not checked  new: reference has no candidate of that name"


def test_a_run_against_itself_passes_gates_that_allow_nothing(write: Callable[..., Path], tmp_path: Path) -> None:
    """The same adapter twice has lost nothing."""
    path = tmp_path / "gates.yaml"
    path.write_text("gates: [{metric: truthfulness/perplexity, largest_loss: 0}]")
    folder = write()
    checked = check(folder, CheckOptions(gates_file=path, against=folder, strict=True))

    assert checked.exit_code == 0


@pytest.mark.parametrize(("gate", "computes_own"), [("largest_loss: 0.05", False), ("at_least: 0.5", True)])
def test_against_another_run_its_own_differences_are_computed_only_for_required_values(
    gate: str, computes_own: bool, write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comparisons of thousands of rows take seconds, and only `at_least` is judged from them."""
    computed = []
    monkeypatch.setattr(gate_check, "compare", lambda run: computed.append(run.name) or compare(run))
    path = tmp_path / "gates.yaml"
    path.write_text(f"gates:\n  - {{metric: truthfulness/accuracy, {gate}}}\n")
    share = replace(PERPLEXITY, name="accuracy", display="percent", higher_is_better=True)
    names = ("baseline", *CANDIDATES)
    measured = tuple(MetricScores(share, name, scores(0, name)) for name in names)
    folder, there = write(measurements=measured), write("there", measurements=measured)

    check(folder, CheckOptions(gates_file=path, against=there))

    assert computed == (["run"] if computes_own else [])


def test_runs_of_other_suites_are_refused(write: Callable[..., Path], gates_file: Path) -> None:
    """Unequal fingerprints are refused, whatever the numbers say."""
    reference = write("reference", suite="smoke", suite_fingerprint="another")

    with pytest.raises(IncomparableRunsError, match=r"suite \(alignment and smoke\)"):
        check(write(), CheckOptions(gates_file=gates_file, against=reference))


def test_no_name_in_common_is_refused(write: Callable[..., Path], gates_file: Path) -> None:
    """A renamed adapter is an error, not a check of nothing."""
    reference = write("reference", {"other": 0.0})

    with pytest.raises(CheckError, match="reference has no candidate called good or bad, only other"):
        check(write(), CheckOptions(gates_file=gates_file, against=reference))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidates": ("godo",)}, "run has no candidate godo; candidates are: good, bad"),
        ({"gates_file": None}, "the suite alignment has no gates; name a file of gates with --gates"),
        ({"junit": Path("/nonexistent/junit.xml")}, r"cannot write /nonexistent/junit\.xml"),
        ({"summary": Path("/nonexistent/summary.md")}, r"cannot write /nonexistent/summary\.md"),
    ],
)
def test_mistakes_are_one_line(
    write: Callable[..., Path], gates_file: Path, options: dict[str, object], message: str
) -> None:
    """What cannot be checked or written is refused with what to do."""
    with pytest.raises(CheckError, match=message):
        check(write(), CheckOptions(**({"gates_file": gates_file} | options)))


def test_a_run_of_base_models_has_nothing_to_judge(write: Callable[..., Path], gates_file: Path) -> None:
    """A check that would judge nobody is an error."""
    with pytest.raises(CheckError, match="run has no candidate to check; candidates are: unquantised"):
        check(write(candidates={"unquantised": 0.0}), CheckOptions(gates_file=gates_file))


def test_reports_are_written(write: Callable[..., Path], gates_file: Path, tmp_path: Path) -> None:
    """JUnit is a file of its own; the summary is appended to what a job wrote before."""
    junit, summary = tmp_path / "junit.xml", tmp_path / "summary.md"
    summary.write_text("before\n")
    check(write(), CheckOptions(gates_file=gates_file, junit=junit, summary=summary))

    (suite,) = ET.parse(junit).getroot()
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("run", "2", "1")
    assert summary.read_text().startswith("before\n### Stopped: run\n")


def test_gates_are_read_from_yaml(gates_file: Path) -> None:
    """A file holds a list of gates; what a loss is relative to is said by a key of its own."""
    assert load_gates(gates_file) == (Gate("truthfulness/perplexity", 0.05, relative=True),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "gates: []",
            r"gates must be a list that is not empty, each a mapping with keys from metric, .*, got \[\]$",
        ),
        ("gate: []", r"unknown key gate \(did you mean gates\?\); known are: gates"),
        ("gates: [{metric: a/b}]", r"gate a/b: give either largest_loss or at_least, one of the two$"),
        (
            "gates: [{metric: a/b, largest_loss: -1}]",
            r"gates\.0\.largest_loss must be a number from 0 to 1,000,000,000 or null, got -1$",
        ),
        (
            "gates: [{metric: a/b, largest_loss: 5 %}]",
            r"gates\.0\.largest_loss must be a number from 0 to 1,000,000,000 or null, got \"5 %\"$",
        ),
        (
            "gates: [{metric: a/b, largest_loss: .inf}]",
            r"gates\.0\.largest_loss must be a number from 0 to 1,000,000,000 or null, got Infinity$",
        ),
        (
            "gates: [{metric: a/b, largest_loss: 1, relativ: true}]",
            r"unknown key gates\.0\.relativ \(did you mean relative\?\); known are: .*relative, at_least$",
        ),
        (
            "gates: [{metric: a/b, largest_loss: 1, at_least: 0.5}]",
            r"gate a/b: give either largest_loss or at_least, one of the two$",
        ),
        ("gates: [{metric: a/b, largest_loss: 1, relative: 1}]", r"gates\.0\.relative must be true or false, got 1$"),
    ],
)
def test_gates_are_read_strictly(tmp_path: Path, text: str, message: str) -> None:
    """An unknown key, a missing one and a wrong value are refused by name, with what is allowed."""
    path = tmp_path / "gates.yaml"
    path.write_text(text)

    with pytest.raises(CheckError, match=rf"gates\.yaml: {message}"):
        load_gates(path)


def test_a_missing_file_of_gates_is_refused(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(YamlError, match="no such file"):
        load_gates(tmp_path / "gates.yaml")


def test_calibrated_margins_are_a_file_of_gates(write: Callable[..., Path], tmp_path: Path) -> None:
    """What comes out loads, and an adapter of another seed passes it."""
    names = [f"adapter, seed {seed}" for seed in range(4)]

    shifts = [0.0, 0.02, -0.02, 0.01]
    seeds = Run(
        name="seeds",
        suite="alignment",
        created="",
        headline="",
        suite_fingerprint="0123456789abcdef",
        subjects=tuple(Subject(name, "candidate", "", "baseline", recipe="adapter") for name in names),
        measurements=tuple(
            MetricScores(PERPLEXITY, name, scores(shift, name)) for name, shift in zip(names, shifts, strict=True)
        ),
    )
    path = tmp_path / "calibrated.yaml"
    path.write_text(calibrate(seeds, 4))
    reference, folder = write("reference", {"adapter": 0.02}), write("later", {"adapter": 0.0})

    assert path.read_text().startswith("# For `harness check --against`, calibrated on 4 training seeds")
    assert check(folder, CheckOptions(gates_file=path, against=reference, strict=True)).exit_code == 0


def test_a_reference_run_on_other_weights_is_said(write: Callable[..., Path], gates_file: Path, tmp_path: Path) -> None:
    """On the terminal, in the summary and in JUnit: NF4 against unquantised is no news of the adapter alone."""
    base = {"fingerprint": "aa", "quantization": "nf4", "dtype": "float32", "compute_dtype": "float32"}
    run = write("run", {"good": 0.0}, provenance={"base": base})
    there = write("there", {"good": 0.0}, provenance={"base": base | {"quantization": "none"}})

    files = {"summary": tmp_path / "summary.md", "junit": tmp_path / "junit.xml"}
    checked = check(run, CheckOptions(against=there, gates_file=gates_file, **files))

    assert checked.lines[0] in (tmp_path / "junit.xml").read_text()
    assert checked.lines[0].startswith("different weights: quantisation nf4 and none (run and there)")
    assert "different weights: quantisation nf4 and none" in (tmp_path / "summary.md").read_text()


def test_a_reward_on_an_assumed_reference_is_said(write: Callable[..., Path], gates_file: Path) -> None:
    """A gate on it would else pass or fail by what nobody knows."""
    mine = Subject("good", "candidate", "", "baseline", reference_basis="assumed", beta=0.1)
    run = write("run", {"good": 0.0}, subjects=(Subject("baseline", "baseline", ""), mine))
    assert check(run, CheckOptions(gates_file=gates_file)).lines[0].startswith("assumed reference or beta: ")


def test_a_candidate_whose_reference_is_not_here_is_checked(write: Callable[..., Path], gates_file: Path) -> None:
    """It is no base model, although it has no reference either."""
    subjects = (Subject("baseline", "baseline", ""), Subject("bad", "candidate", "", reference_basis="unknown"))
    run = write("run", {"bad": 0.5}, subjects=subjects)

    assert check(run, CheckOptions(gates_file=gates_file)).exit_code == EXIT_STOPPED
