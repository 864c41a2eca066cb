"""The command line: `harness --help`. Heavy imports stay inside the commands, so that help answers at once."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness.commands.options import (
    candidate_options,
    experiment_options,
    measuring_options,
    place_options,
    subject_options,
    suite_option,
    workspace_option,
)
from reports.errors import UserError

EXIT_CODES = """\b
Exit codes: 0 fine; 1 unexpected failure; 2 usage, configuration or data; 3 stopped by a gate; 130 interrupted."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(package_name="dpo-harness")
def cli() -> None:
    """Did this preference tuning help, what did it cost, and is the difference real?"""


@cli.command("train-and-eval")
@experiment_options
@candidate_options
@subject_options
@measuring_options
@place_options
def train_and_eval(models: tuple[str, ...], **options: Any) -> None:
    """Trains the adapter (or reuses it), measures it beside its base, writes the report."""
    from harness.commands.output import show, write_missing_cards, write_results
    from harness.measuring.experiment import Options, prepare
    from harness.measuring.lineup import named_models, train, trained_candidates
    from harness.measuring.run import measure

    experiment = prepare(Options(**options))
    others = named_models(models, experiment.config)
    with experiment.reserve_run() as folder:
        trained = train(experiment)
        write_missing_cards(trained)
        run = measure(experiment, trained_candidates(experiment, trained, others), trained, name=folder.name)
        show(write_results(run, folder, trained, experiment.terminal))


@cli.command("train")
@experiment_options
@candidate_options
@suite_option
@click.option("--dry-run", is_flag=True, help="Only tells rows, tokens, steps, memory and time, from a short probe.")
@place_options
def train_command(*, dry_run: bool, **options: Any) -> None:
    """Trains the adapters of an experiment, or says that they are there already.

    What the suite measures is kept out of training.
    """
    from harness.commands.output import write_missing_cards
    from harness.measuring.experiment import Options, prepare
    from harness.measuring.lineup import train, training_runs

    experiment = prepare(Options(**options))
    if dry_run:
        from harness.training.dry_run import estimates

        click.echo(estimates(experiment.loaded, training_runs(experiment)))
        return
    trained = train(experiment)
    write_missing_cards(trained)
    for each in trained:
        click.echo(each.fixture.folder)


@cli.command("eval")
@click.option("--model", metavar="BASE", help="Base model; read from the adapter's own configuration if not given.")
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    metavar="PATH_OR_ID",
    help="A trained adapter; may be repeated. NAME=PATH names its column.",
)
@subject_options
@experiment_options
@measuring_options
@place_options
def eval_command(model: str | None, adapters: tuple[str, ...], models: tuple[str, ...], **options: Any) -> None:
    """Measures adapters, and full models, that exist already beside their base."""
    from harness.commands.output import show, write_results
    from harness.measuring.experiment import Options, prepare
    from harness.measuring.lineup import existing_candidates
    from harness.measuring.run import measure
    from harness.models.adapters import common_base, named_adapters

    if not adapters and not models:
        raise click.UsageError("give at least one --adapter or --candidate")
    named = named_adapters(adapters)
    if model is None and named:
        model = common_base(named)
    experiment = prepare(Options(**options, model=model))
    candidates = existing_candidates(experiment.config, named, models)
    with experiment.reserve_run() as folder:
        run = measure(experiment, candidates, name=folder.name)
        show(write_results(run, folder, (), experiment.terminal))


@cli.command("merge")
@click.argument("adapter")
@click.option("--dtype", type=click.Choice(["float16", "bfloat16"]), required=True, help="Of the merged weights.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--model", metavar="BASE", help="Base model; read from the adapter's own configuration if not given.")
@click.option("--revision", help="Of a base model on the hub.")
def merge_command(adapter: str, dtype: Any, out: Path, model: str | None, revision: str | None) -> None:
    """Merges an adapter into its unquantised base: the model to deploy.

    Measure what you ship: `harness eval --adapter ADAPTER --candidate merged=DIR`.
    """
    from harness.models.merge import merge_adapter

    merged = merge_adapter(adapter, out, dtype=dtype, base=model, revision=revision)
    for note in merged.notes:
        click.echo(note, err=True)
    click.echo(merged.folder)


@cli.command("doctor")
@place_options
def doctor_command(workspace: Path, data_root: Path | None) -> None:
    """Looks at versions, devices, quantisation, hub, data and disk, and says what to mend."""
    from harness.commands.examination import as_text, examine, worst

    checks = examine(workspace, data_root)
    click.echo(as_text(checks))
    sys.exit(2 if worst(checks) == "problem" else 0)


@cli.group("data")
def data_group() -> None:
    """Looks at rows as they are trained on, and makes new ones."""


@data_group.command("inspect")
@click.argument("name")
@click.option("--rows", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--split", help="Default: what training would take.")
@experiment_options
@place_options
def inspect_command(name: str, rows: int, split: str | None, data_root: Path | None, **options: Any) -> None:
    """Shows rows of a dataset, or of a file, as they will be trained on: prompt, boundary, response, token counts."""
    from harness.config.load import load_experiment
    from harness.data.inspection import inspect_dataset

    config = load_experiment(options["preset"], options["config_file"], options["overrides"])
    click.echo(inspect_dataset(name, split, config, n_rows=rows, data_root=data_root))


@data_group.command("build-pairs")
@click.argument("specification", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="JSONL file to write.")
@click.option("--unpaired", is_flag=True, help="Rows of prompt, completion and label instead of pairs.")
@click.option("--temperature", type=click.FloatRange(min=0), default=0.8, show_default=True)
@click.option("--top-p", type=click.FloatRange(min=0, max=1, min_open=True), default=0.95, show_default=True)
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True)
@click.option("--force", is_flag=True, help="Replaces a file that was made otherwise.")
@experiment_options
def build_pairs_command(
    specification: Path,
    out: Path,
    *,
    unpaired: bool,
    force: bool,
    preset: str | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    **decoding: Any,
) -> None:
    """Makes preference pairs of two opposed instructions, answered by the configured model."""
    from harness.config.load import load_experiment
    from harness.data.made.pair_building import Output, build_pairs
    from harness.data.made.pair_spec import load_pair_spec
    from harness.models.base import load_model
    from harness.models.threads import apply_threads, choose_threads
    from harness.terminal import Terminal
    from suites.engine.decoding import Decoding

    terminal = Terminal()
    spec = load_pair_spec(specification)
    config = load_experiment(preset, config_file, overrides)
    apply_threads(choose_threads())
    with terminal.waiting("loading the model"):
        loaded = load_model(config.model)
    with terminal.progress("pairs", spec.n_pairs) as done:
        built = build_pairs(
            spec, loaded, Output(out, unpaired, force), decoding=Decoding(**decoding), say=terminal.say, progress=done
        )
    click.echo(f"{built.path}: {built.n_rows} rows; {built.left_out} pairs left out, their answers empty or equal")


@cli.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "formats",
    default="md,csv",
    show_default=True,
    metavar="A,B",
    help="Of md, csv, json, latex, html, answers.",
)
@click.option(
    "--layout",
    type=click.Choice(["differences", "published"]),
    default="differences",
    show_default=True,
    help="published: rows are sets, columns are subjects, cells are cross-entropies (md, csv, latex).",
)
@click.option(
    "--verdicts", type=click.Path(path_type=Path), help="Verdicts on the answers, by a judge or people: JSONL or CSV."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to (default: the run's own).")
def report_command(runs: tuple[Path, ...], formats: str, **options: Any) -> None:
    """Writes the reports of a finished run anew, or one report of several runs of one suite, and prints its table."""
    from harness.commands.output import show
    from harness.commands.report_files import ReportOptions, write_reports

    names = tuple(name.strip() for name in formats.split(",") if name.strip())
    show(write_reports(runs, ReportOptions(formats=names, **options)))


@cli.command("check")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--against", type=click.Path(path_type=Path), metavar="RUN", help="Reference run, in place of the baseline."
)
@click.option("--gates", "gates_file", type=click.Path(path_type=Path), help="File of gates, in place of the suite's.")
@click.option(
    "--candidate", "candidates", multiple=True, metavar="NAME", help="Judges this one alone; may be repeated."
)
@click.option("--strict", is_flag=True, help="A gate that cannot tell stops too.")
@click.option("--junit", type=click.Path(path_type=Path), help="JUnit XML file to write.")
@click.option("--summary", type=click.Path(path_type=Path), help="Markdown file to append to ($GITHUB_STEP_SUMMARY).")
@click.option(
    "--calibrate",
    type=click.IntRange(min=3),
    metavar="N",
    help="In place of RUN: repeats the experiment with N training seeds and proposes gates from their spread.",
)
@experiment_options
@suite_option
@place_options
def check_command(run: Path | None, calibrate: int | None, **options: Any) -> None:
    """Judges a run's candidates by its gates: exit code 3 where one got worse than is allowed."""
    if (run is None) == (calibrate is None):
        raise click.UsageError("give a RUN to judge, or --calibrate N")
    names = ("preset", "config_file", "overrides", "suite", "workspace", "data_root")
    experiment_of = {name: options.pop(name) for name in names}
    if calibrate is not None:
        click.echo(_calibrated(calibrate, experiment_of), nl=False)
        return
    from harness.commands.gate_check import CheckOptions, check

    assert run is not None
    checked = check(run, CheckOptions(**options))
    click.echo("\n".join(checked.lines))
    sys.exit(checked.exit_code)


def _calibrated(n_seeds: int, options: dict[str, Any]) -> str:
    """A file of gates from the spread over training seeds."""
    from harness.commands.gate_check import calibrate
    from harness.commands.output import write_missing_cards, write_results
    from harness.measuring.experiment import Options, prepare
    from harness.measuring.lineup import train, trained_candidates
    from harness.measuring.run import measure
    from reports.records import Run

    def repeat(n_seeds: int) -> Run:
        experiment = prepare(Options(**options, seeds=n_seeds))
        with experiment.reserve_run() as folder:
            trained = train(experiment)
            write_missing_cards(trained)
            run = measure(experiment, trained_candidates(experiment, trained), trained, name=folder.name)
            write_results(run, folder, trained, experiment.terminal)
        return run

    return calibrate(repeat, n_seeds)


@cli.command("list")
@click.argument("what", type=click.Choice(["suites", "presets", "datasets", "runs"]))
@workspace_option
def list_command(what: str, workspace: Path) -> None:
    """Lists what there is to choose from."""
    from harness.commands import listings

    tables: dict[str, Callable[[], str]] = {
        "suites": listings.suites,
        "presets": listings.presets,
        "datasets": listings.datasets,
        "runs": lambda: listings.runs(workspace),
    }
    click.echo(tables[what]())


@cli.command("cache")
@click.argument("what", type=click.Choice(["info", "clear"]))
@workspace_option
def cache_command(what: str, workspace: Path) -> None:
    """Tells how much the score cache holds, or empties it."""
    from harness.workspace import Workspace
    from suites.engine.score_cache import ScoreCache

    with ScoreCache.open(Workspace(workspace).scores, lambda line: click.echo(line, err=True)) as cache:
        info = cache.info() if what == "info" else cache.clear()
    done = "holds" if what == "info" else "was emptied of"
    click.echo(f"{info.path} {done} {info.n_scores} scores of {info.n_contexts} contexts, {info.n_bytes:,} bytes")


@cli.command("lm-eval", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lm_eval_command(arguments: tuple[str, ...]) -> None:
    """Runs lm-eval's own command line on this project's scoring engine (`--model harness`, the default)."""
    from suites.lm_eval.model import run_command_line

    run_command_line(arguments or ("--help",))


@cli.command("show-config")
@experiment_options
def show_config(preset: str | None, config_file: Path | None, overrides: tuple[str, ...]) -> None:
    """Prints the resolved configuration as YAML."""
    from harness.config.load import load_experiment, to_yaml

    click.echo(to_yaml(load_experiment(preset, config_file, overrides)), nl=False)


def main() -> None:
    """Entry point: every mistake a user can make is one line and exit code 2."""
    from harness.terminal import quiet_libraries

    quiet_libraries()
    try:
        cli.main(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        _leave(f"interrupted; {' '.join(_notes(error)) or 'no run folder was written'}", 130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except UserError as error:
        _leave("\n".join([f"error: {error}", *_notes(error)]), 2)
    except ValueError as error:
        if not isinstance(error, _errors_of_other_rooms()):
            raise
        _leave(f"error: {error}", 2)


def _errors_of_other_rooms() -> tuple[type[ValueError], ...]:
    """The user's mistakes that `reports` finds; they are loaded already where one was raised."""
    from reports.comparing.against import IncomparableRunsError
    from reports.comparing.calibration import CalibrationError
    from reports.comparing.compare import UnpairedExamplesError
    from reports.comparing.gates import GateError
    from reports.run_folder import RunFolderError

    return RunFolderError, UnpairedExamplesError, GateError, IncomparableRunsError, CalibrationError


def _notes(error: BaseException) -> list[str]:
    """Lines that commands added to an error; click raises its own error where a command was interrupted."""
    return [note for each in (error, error.__context__) for note in getattr(each, "__notes__", ())]


def _leave(line: str, exit_code: int) -> None:
    click.echo(line, err=True)
    sys.exit(exit_code)
