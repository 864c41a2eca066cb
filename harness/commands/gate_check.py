"""`harness check`: applies gates to a run's candidates; calibrated gates from the spread over training seeds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen

from harness.config.strict import InvalidValuesError, build
from harness.config.strict_yaml import dump_yaml, read_yaml_mapping
from reports.comparing.against import check_same_suite, compare_with, remarks
from reports.comparing.calibration import Proposal, propose_gates
from reports.comparing.compare import Comparison, compare
from reports.comparing.gates import GateResult, check_gates, is_stopped, may_require_values
from reports.comparing.margins import metric_key
from reports.errors import UserError
from reports.records import Gate, Run, gate_contradictions
from reports.rendering.content.names import metric_names
from reports.rendering.formats.gate_reports import gate_lines, junit_report, summary
from reports.run_folder import read_run
from reports.whole import check_writable, write_whole

EXIT_STOPPED = 3
"""Exit code if a gate failed."""


class CheckError(UserError):
    """A check without gates or candidates, or a report of it that cannot be written."""


@dataclass(frozen=True, slots=True)
class GatesConfig:
    """Contents of a file of gates."""

    gates: Annotated[tuple[Gate, ...], MinLen(1)]


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """Options of `harness check`."""

    against: Path | None = None
    """Reference run; None compares with the run's own baseline."""
    gates_file: Path | None = None
    """File of gates; None takes the gates of the run's suite."""
    candidates: tuple[str, ...] = ()
    """Names of the candidates to check; empty means all but controls and base models."""
    strict: bool = False
    """Whether the result "cannot tell" stops too."""
    junit: Path | None = None
    """JUnit XML file to write."""
    summary: Path | None = None
    """Markdown file to append to, such as `$GITHUB_STEP_SUMMARY` of GitHub."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Results of a check."""

    results: tuple[GateResult, ...]
    lines: tuple[str, ...]
    """Candidates that were not checked, other weights or betas, then each gate and candidate, and what follows."""
    exit_code: int
    """0, or 3 if a gate stops it."""


def check(folder: Path, options: CheckOptions) -> CheckResult:
    """Apply gates to a run's candidates and write the reports that the options name.

    Raises:
        CheckError: There are no gates or no such candidate, or a file cannot be written.
        YamlError: The file of gates is not YAML.
        RunFolderError: A run folder is missing or damaged.
        IncomparableRunsError: The runs did not measure the same.
        GateError: A gate names a metric that was not measured, or one whose loss needs a reference run.
    """
    for path in filter(None, (options.junit, options.summary)):
        with _writing(path):
            check_writable(path)
    run = read_run(folder)
    reference = None if options.against is None else read_run(options.against)
    gates = load_gates(options.gates_file) if options.gates_file else run.gates
    if not gates:
        raise CheckError(f"{folder}: the suite {run.suite} has no gates; name a file of gates with --gates")
    names = _chosen(run, options.candidates)
    own = compare(run) if reference is None or may_require_values(gates) else []
    comparisons, notes = _against(reference, run, names) if reference else (own, [])
    notes += [
        f"assumed reference or beta: nothing says what {name} was trained from or with, which its reward depends on"
        for name in names
        if run.subject(name).assumed
    ]
    results = check_gates(gates, *([row for row in rows if row.candidate in names] for rows in (comparisons, own)))
    _write_reports(run, reference, results, notes, options)
    stopped = is_stopped(results, strict=options.strict)
    return CheckResult(results, (*notes, *gate_lines(results, strict=options.strict)), EXIT_STOPPED if stopped else 0)


def load_gates(path: Path) -> tuple[Gate, ...]:
    """Read the gates of a file: a list under the key `gates`, as in a suite.

    Raises:
        YamlError: The file is not YAML.
        CheckError: It has an unknown key or a value that is not allowed.
    """
    try:
        gates = build(GatesConfig, read_yaml_mapping(path)).gates
    except InvalidValuesError as error:
        raise CheckError("\n".join(f"{path}: {problem.message}" for problem in error.problems)) from None
    for _, problem in gate_contradictions(gates):
        raise CheckError(f"{path}: {problem}")
    return gates


def calibrate(run: Run, n_seeds: int) -> str:
    """Return a file of gates whose margins follow from the spread over training seeds.

    Args:
        run: A run with the adapters of one recipe and all seeds.
        n_seeds: Number of seeds: at least 3, better 5.

    Raises:
        CalibrationError: The run has too few seeds, or a sweep.
    """
    proposals = propose_gates(run)
    comments = [
        f"# For `harness check --against`, calibrated on {n_seeds} training seeds: an adapter that differs only in its",
        "# seed passes all of these gates with 95 % probability.",
        "# Margin = seeds + rows, in the metric's own unit:",
        *map(_comment, proposals),
    ]
    return "\n".join(comments) + "\n" + dump_yaml({"gates": [_plain(proposal.gate) for proposal in proposals]})


def _plain(gate: Gate) -> dict[str, object]:
    """Return what a file says of a gate: without what it does not require."""
    return {key: value for key, value in asdict(gate).items() if value is not None}


def _comment(proposal: Proposal) -> str:
    spread = proposal.spread
    return (
        f"# {spread.metric}: {proposal.between_seeds:.3g} + {proposal.between_rows:.3g} "
        f"(mean {spread.mean:.4g}, standard deviation over seeds {spread.standard_deviation:.3g})"
    )


def _chosen(run: Run, asked: Sequence[str]) -> list[str]:
    """Return the names of the candidates to check: without controls and base models, unless they are named."""
    known = [subject.name for subject in run.candidates]
    unknown = sorted(set(asked) - set(known))
    names = list(asked) or [s.name for s in run.candidates if not s.is_control and not s.is_base]
    if unknown or not names:
        what = f"has no candidate {', '.join(unknown)}" if unknown else "has no candidate to check"
        raise CheckError(f"{run.name} {what}; candidates are: {', '.join(known) or 'none'}")
    return names


def _against(reference: Run, run: Run, names: Sequence[str]) -> tuple[list[Comparison], list[str]]:
    """Return comparisons with the reference run's candidates, and lines on those without one and on other weights."""
    check_same_suite(run, reference)
    there = [subject.name for subject in reference.candidates]
    common = [name for name in names if name in there]
    if not common:
        raise CheckError(
            f"{reference.name} has no candidate called {' or '.join(names)}, only {', '.join(there) or 'none'}; "
            "give both the same name, as in --adapter NAME=PATH"
        )
    notes = [
        f"not checked  {name}: {reference.name} has no candidate of that name" for name in names if name not in there
    ]
    return compare_with(reference, run, common), [*notes, *remarks(run, reference)]


def _write_reports(
    run: Run, reference: Run | None, results: Sequence[GateResult], notes: Sequence[str], options: CheckOptions
) -> None:
    title = run.name if reference is None else f"{run.name} against {reference.name}"
    names = {metric_key(metric): name for metric, name in metric_names(run).items()}
    if options.junit is not None:
        with _writing(options.junit):
            write_whole(options.junit, junit_report(title, results, notes, strict=options.strict))
    if options.summary is not None:
        with _writing(options.summary), options.summary.open("a", encoding="utf-8") as file:
            file.write(summary(title, results, names, notes, strict=options.strict))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Report a failure to write in one line.

    Raises:
        CheckError: The block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise CheckError(f"cannot write {path}: {error.strerror}") from error
