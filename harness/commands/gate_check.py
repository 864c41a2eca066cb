"""`harness check`: a run against its gates, or against a reference run; margins for gates from training seeds."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen

from harness.config.strict import InvalidValuesError, build
from harness.config.strict_yaml import dump_yaml, read_yaml_mapping
from reports.comparing.against import check_same_suite, compare_with
from reports.comparing.calibration import Proposal, propose_gates
from reports.comparing.compare import Comparison, compare
from reports.comparing.gates import Verdict, is_stopped, judge
from reports.errors import UserError
from reports.records import Gate, Run
from reports.rendering.formats.gate_reports import gate_lines, junit_report, summary
from reports.run_folder import read_run

EXIT_STOPPED = 3
"""Exit code where a gate failed."""


class CheckError(UserError):
    """A check that cannot be made, or a report of it that cannot be written."""


@dataclass(frozen=True, slots=True)
class GatesConfig:
    """What a file of gates holds."""

    gates: Annotated[tuple[Gate, ...], MinLen(1)]


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What the command line says of a check."""

    against: Path | None = None
    """Reference run; None is the run's own baseline."""
    gates_file: Path | None = None
    """None takes the gates of the run's suite."""
    candidates: tuple[str, ...] = ()
    """Names of those to judge; none are all but controls and base models."""
    strict: bool = False
    """Whether a gate that cannot tell stops too."""
    junit: Path | None = None
    """XML file to write."""
    summary: Path | None = None
    """Markdown file to append to, as GitHub wants it of `$GITHUB_STEP_SUMMARY`."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What came out."""

    verdicts: tuple[Verdict, ...]
    lines: tuple[str, ...]
    """One a gate and candidate, and what was not judged."""
    exit_code: int
    """0, or 3 where a gate stops it."""


def check(folder: Path, options: CheckOptions) -> Checked:
    """Judges a run's candidates and writes the reports that are asked for.

    Raises:
        CheckError: no gates, no such candidate, or a file that cannot be written.
        YamlError: a file of gates that is not YAML.
        RunFolderError: no run there, or a damaged one.
        IncomparableRunsError: the runs did not measure the same.
        GateError: a gate on a metric that nobody measured.
    """
    run = read_run(folder)
    reference = None if options.against is None else read_run(options.against)
    gates = load_gates(options.gates_file) if options.gates_file else run.gates
    if not gates:
        raise CheckError(f"{folder}: the suite {run.suite} has no gates; name a file of them with --gates")
    names = _chosen(run, options.candidates)
    comparisons, notes = _against(reference, run, names) if reference else (compare(run), [])
    verdicts = judge(gates, [row for row in comparisons if row.candidate in names])
    _write_reports(run, reference, verdicts, options)
    stopped = is_stopped(verdicts, strict=options.strict)
    return Checked(verdicts, (*gate_lines(verdicts), *notes), EXIT_STOPPED if stopped else 0)


def load_gates(path: Path) -> tuple[Gate, ...]:
    """The gates of a file: a list under the key `gates`, as in a suite.

    Raises:
        YamlError: it is not YAML.
        CheckError: an unknown key or a value that is not allowed.
    """
    try:
        return build(GatesConfig, read_yaml_mapping(path)).gates
    except InvalidValuesError as error:
        raise CheckError("\n".join(f"{path}: {problem.message}" for problem in error.problems)) from None


def calibrate(repeat: Callable[[int], Run], n_seeds: int) -> str:
    """Margins from the spread over training seeds, as a file of gates.

    Args:
        repeat: trains an experiment with so many seeds, counted up from its own, and measures all of the adapters.
        n_seeds: at least 3, better 5.

    Raises:
        CalibrationError: a run with too few seeds, or with a sweep.
    """
    proposals = propose_gates(repeat(n_seeds))
    comments = [
        f"# For `harness check --against`: another of {n_seeds} training seeds passes all of these with 95 %.",
        "# Margin = seeds + rows, in the metric's own unit:",
        *map(_comment, proposals),
    ]
    return "\n".join(comments) + "\n" + dump_yaml({"gates": [asdict(proposal.gate) for proposal in proposals]})


def _comment(proposal: Proposal) -> str:
    spread = proposal.spread
    return (
        f"# {spread.metric}: {proposal.between_seeds:.3g} + {proposal.between_rows:.3g} "
        f"(mean {spread.mean:.4g}, standard deviation over seeds {spread.standard_deviation:.3g})"
    )


def _chosen(run: Run, asked: Sequence[str]) -> list[str]:
    """Names of the candidates to judge: neither controls nor a base model as it came, unless they are asked for."""
    known = [subject for subject in run.subjects if subject.kind == "candidate"]
    unknown = sorted(set(asked) - {subject.name for subject in known})
    names = list(asked) or [s.name for s in known if not s.is_control and s.reference is not None]
    if unknown or not names:
        what = f"has no candidate {', '.join(unknown)}" if unknown else "has nothing to judge"
        raise CheckError(f"{run.name} {what}; candidates are: {', '.join(s.name for s in known) or 'none'}")
    return names


def _against(reference: Run, run: Run, names: Sequence[str]) -> tuple[list[Comparison], list[str]]:
    """Comparisons with the reference run's candidates, and what could not be compared."""
    check_same_suite(run, reference)
    there = [subject.name for subject in reference.subjects if subject.kind == "candidate"]
    common = [name for name in names if name in there]
    if not common:
        raise CheckError(
            f"{reference.name} has no candidate called {' or '.join(names)}, only {', '.join(there) or 'none'}; "
            "give both the same name, as in --adapter NAME=PATH"
        )
    notes = [
        f"not judged  {name}: {reference.name} has no candidate of that name" for name in names if name not in there
    ]
    return compare_with(reference, run, common), notes


def _write_reports(run: Run, reference: Run | None, verdicts: Sequence[Verdict], options: CheckOptions) -> None:
    title = run.name if reference is None else f"{run.name} against {reference.name}"
    reports = (
        (options.junit, "w", junit_report(title, verdicts, strict=options.strict)),
        (options.summary, "a", summary(title, verdicts, strict=options.strict)),
    )
    for path, mode, text in reports:
        if path is None:
            continue
        try:
            with path.open(mode, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise CheckError(f"cannot write {path}: {error.strerror}") from error
