"""The command line: quick help, and the whole job end to end."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness as harness_package
from harness.cli import main
from harness.commands.report_files import REPORTS
from reports.run_folder import read_run, write_run

QUICK = ("--limit", "8", "-o", "training.max_steps=2", "-o", "data.training.limit=24", "-o", "training.batch_size=4")
"""Options that leave a whole job of a few seconds."""


Harness = Callable[..., Any]
"""The fixture that calls the command line."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the embedded experiment has been trained for two steps and measured."""
    workspace = tmp_path_factory.mktemp("finished") / "workspace"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HARNESS_DATA_ROOT", raising=False)
        patch.setenv("HARNESS_THREADS", "1")
        patch.setattr(sys, "argv", ["harness", "train-and-eval", "--workspace", str(workspace), *QUICK])
        main()
    return workspace


def only_run(workspace: Path) -> Path:
    """The one run folder in a workspace."""
    (run,) = (workspace / "runs").iterdir()
    return run


def test_help_answers_at_once() -> None:
    """`harness --help` takes less than half a second of computing, because nothing heavy is imported."""
    command = [sys.executable, "-m", "harness", "--help"]
    subprocess.run(command, check=True, capture_output=True)
    seconds = []
    for _ in range(3):
        before = os.times()
        subprocess.run(command, check=True, capture_output=True)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)

    assert min(seconds) < 0.5


def test_whole_job_writes_a_run_folder(finished: Path) -> None:
    """The main job leaves reports, scores, generations and the training log, and nothing half-written."""
    run = only_run(finished)

    names = {path.name for path in run.iterdir()}
    assert {
        "run.json",
        "scores.parquet",
        "generations.jsonl",
        "training.jsonl",
        "report.md",
        "report.csv",
        "report.html",
    } <= names
    assert not list(finished.rglob("*.partial"))
    title, _, opening = (run / "report.md").read_text().split("\n", 2)
    assert title == "# adapter against baseline (embedded, NF4)"
    assert opening.startswith("TruthfulQA, Winogrande and PKU were not measured")


def test_the_counts_of_an_evaluation_name_its_dataset_and_split(finished: Path) -> None:
    """A model card needs both, and does not find them in the words of the report."""
    counts = {each.evaluation: (each.dataset_name, each.split) for each in read_run(only_run(finished)).counts}

    assert counts["truthfulness"] == ("embedded/truthfulness:generation", "validation")
    assert counts["training"] == ("embedded/preferences", "train")


def test_every_evaluation_of_the_suite_is_in_the_report(finished: Path) -> None:
    """Each evaluation has a row with its n, which is what --limit left."""
    with (only_run(finished) / "report.csv").open() as file:
        rows = list(csv.DictReader(file))

    evaluations = {row["evaluation"] for row in rows}
    assert {
        "preferences",
        "truthfulness",
        "coreference",
        "safety",
        "answers",
        "lm_eval/embedded_truthfulqa_mc2",
        "drift",
        "neutral_text",
        "capability/embedded_winogrande",
    } <= evaluations
    assert all(0 < int(row["n"]) <= 8 for row in rows)


def test_training_log_has_selection_rows_and_starts_at_ln_2(finished: Path) -> None:
    """training.jsonl keeps train, selection and summary rows; the first selection accuracy is a tie, 0.5."""
    rows = [json.loads(line) for line in (only_run(finished) / "training.jsonl").read_text().splitlines()]

    first = next(row for row in rows if row["kind"] == "selection")
    assert first["rewards/accuracies"] == 0.5
    assert rows[-1]["kind"] == "summary"
    assert {"loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "learning_rate"} <= set(rows[1])


@pytest.mark.slow
def test_second_run_reuses_the_adapter(finished: Path, harness: Harness, tmp_path: Path) -> None:
    """The same experiment again trains nothing, says so, and measures the same numbers."""
    out = tmp_path / "second"
    outcome = harness("train-and-eval", "--workspace", finished, "--out", out, *QUICK)

    assert outcome.exit_code == 0, outcome.err
    assert "is reused" in outcome.err
    assert len([path for path in (finished / "fixtures").iterdir() if path.is_dir()]) == 1
    columns = ("metric", "baseline_value", "candidate_value", "low", "high")

    def numbers(folder: Path) -> list[tuple[str, ...]]:
        with (folder / "report.csv").open() as file:
            return [tuple(row[column] for column in columns) for row in csv.DictReader(file)]

    assert numbers(only_run(finished)) == numbers(out)


def test_eval_reads_the_base_from_the_adapter(finished: Path, harness: Harness, tmp_path: Path) -> None:
    """`harness eval` without --model measures adapters on the base they name, under the names given."""
    (fixture,) = (path for path in (finished / "fixtures").iterdir() if path.is_dir())
    outcome = harness(
        "eval", "--suite", "smoke", "--adapter", f"a={fixture}", "--adapter", f"b={fixture}",
        "--limit", "4", "--out", tmp_path / "run",
    )  # fmt: skip

    assert outcome.exit_code == 0, outcome.err
    report = (tmp_path / "run" / "report.md").read_text()
    assert report.startswith("# 2 candidates against baseline")
    assert re.search(r"^\| Metric \| +baseline \| +a \| +b \|$", report, re.MULTILINE)


@pytest.mark.slow
def test_an_adapter_from_elsewhere_is_not_said_to_have_been_kept_from_these_rows(
    finished: Path, harness: Harness, tmp_path: Path
) -> None:
    """All rows are measured and the verdict says what is not known; --trained-on leaves out what overlaps it."""
    (fixture,) = (path for path in (finished / "fixtures").iterdir() if path.is_dir())
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(fixture / name, foreign / name)
    same = ("-o", "data.roles.preferences.split=train", "--suite", "smoke", "--limit", "8", "--adapter", foreign)

    assert harness("eval", *same, "--out", tmp_path / "one").exit_code == 0
    told = harness("eval", *same, "--out", tmp_path / "two", "--trained-on", "embedded/preferences")

    one = read_run(tmp_path / "one")
    assert (one.subject("foreign").reference_basis, one.subject("foreign").knows_rows) == ("assumed", False)
    assert not any("divided" in note for note in one.notes)
    report = (tmp_path / "one" / "report.md").read_text()
    assert "Whether it saw these rows in training is not known." in report
    assert "Its reference and beta are assumed: nothing records them." in report
    assert told.exit_code == 2
    assert "--trained-on embedded/preferences: every row of preferences overlaps it" in told.err


@pytest.mark.slow
def test_an_adapter_of_another_experiment_is_not_measured_on_its_own_training_rows(
    finished: Path, harness: Harness, tmp_path: Path
) -> None:
    """Its record says what it saw, whatever this experiment trains on."""
    (fixture,) = (path for path in (finished / "fixtures").iterdir() if path.is_dir())
    other = ("-o", "data.roles.preferences.split=train", "-o", "data.training.split=test", "--suite", "smoke")

    outcome = harness("eval", *other, "--adapter", fixture, "--out", tmp_path / "run")

    assert outcome.exit_code == 0, outcome.err
    assert "rows of preferences are not measured, because an adapter was trained on" in outcome.err
    trained = set((fixture / "trained_groups.txt").read_text().split())
    measured = [each for each in read_run(tmp_path / "run").measurements if each.metric.evaluation == "preferences"]
    assert trained
    assert measured
    assert not trained & {score.group for each in measured for score in each.scores}


@pytest.mark.slow
def test_an_adapter_on_base_and_sft_has_the_numbers_of_its_own_experiment(harness: Harness, tmp_path: Path) -> None:
    """`harness eval` finds its start and its beta: every number is that of train-and-eval, rewards and drift too."""
    few = ("--limit", "16", "-o", "training.max_steps=3", "-o", "sft.training.max_steps=3", "-o", "training.beta=0.3")
    trained = harness("train-and-eval", "--preset", "sft-then-dpo", *few, "--out", tmp_path / "trained")
    assert trained.exit_code == 0, trained.err
    fixtures = [path for path in (tmp_path / "workspace" / "fixtures").iterdir() if path.is_dir()]
    (dpo,) = (path for path in fixtures if json.loads((path / "fixture.json").read_text())["start"])

    measured = harness("eval", "--adapter", f"sft+dpo={dpo}", "--limit", "16", "--out", tmp_path / "measured")
    assert measured.exit_code == 0, measured.err
    one, two = read_run(tmp_path / "trained"), read_run(tmp_path / "measured")

    assert (two.subject("sft+dpo").reference, two.subject("sft+dpo").beta) == ("sft", 0.3)
    assert {(each.metric, each.subject, each.scores) for each in one.measurements} == {
        (each.metric, each.subject, each.scores) for each in two.measurements
    }
    assert one.suite_fingerprint == two.suite_fingerprint
    assert harness("check", tmp_path / "measured", "--against", tmp_path / "trained").exit_code in (0, 3)


def test_report_is_rendered_anew_from_records(finished: Path, harness: Harness) -> None:
    """`harness report` writes the very same report without loading a model."""
    run = only_run(finished)
    before = (run / "report.md").read_text()
    (run / "report.md").unlink()

    assert harness("report", run, "--format", "md").exit_code == 0
    assert before == (run / "report.md").read_text()


def test_a_fault_in_a_report_loses_nothing_that_was_measured(
    finished: Path, harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records are on disk before a report is rendered: the fault names them, and `harness report` renders them."""

    def broken(*_: object) -> str:
        raise RuntimeError("a fault in the renderer")

    (fixture,) = (path for path in (finished / "fixtures").iterdir() if path.is_dir())
    renderers = dict(REPORTS)
    monkeypatch.setitem(REPORTS, "md", ("report.md", broken))
    with pytest.raises(RuntimeError, match="a fault in the renderer") as caught:
        harness("eval", "--suite", "smoke", "--adapter", fixture, "--limit", "4", "--out", tmp_path / "run")

    assert f"`harness report {tmp_path / 'run'}` writes its reports" in caught.value.__notes__[0]
    assert not (tmp_path / "run" / "report.md").exists()
    monkeypatch.setitem(REPORTS, "md", renderers["md"])
    assert harness("report", tmp_path / "run").exit_code == 0
    assert "against baseline" in (tmp_path / "run" / "report.md").read_text()


def test_scores_are_kept_and_can_be_cleared(finished: Path, harness: Harness) -> None:
    """The score cache of a workspace tells what it holds, and is empty after it was cleared."""
    assert int(harness("cache", "info", "--workspace", finished).out.split(" holds ")[1].split()[0]) > 0
    assert harness("cache", "clear", "--workspace", finished).exit_code == 0
    assert " holds 0 scores" in harness("cache", "info", "--workspace", finished).out


def test_a_cache_that_cannot_be_opened_costs_a_line(harness: Harness, tmp_path: Path) -> None:
    """A folder in its place ends no evaluation; asking for a cache that is not there makes no workspace."""
    nothing = harness("cache", "info", "--workspace", tmp_path / "none")
    assert nothing.out == f"there is no score cache in {tmp_path / 'none'}\n"
    assert not (tmp_path / "none").exists()

    (tmp_path / "w" / "scores.sqlite").mkdir(parents=True)
    base = Path(harness_package.__file__).parent / "embedded" / "base_model"
    options = ("--workspace", tmp_path / "w", "--limit", "4", "-o", "model.quantization=none")
    done = harness("eval", "--suite", "smoke", "--model", "embedded", "--candidate", f"copy={base}", *options)
    assert done.exit_code == 0
    assert "Scores are not kept for later runs" in done.err
    assert "it is a folder" in done.err


@pytest.mark.slow
def test_no_cache_gives_the_same_numbers_and_keeps_none(finished: Path, harness: Harness, tmp_path: Path) -> None:
    """--no-cache scores anew, equal to what the cache would have given, and writes no cache."""
    (fixture,) = (path for path in (finished / "fixtures").iterdir() if path.is_dir())
    reports = []
    for name, options in {"cached": (), "again": (), "anew": ("--no-cache",)}.items():
        out = tmp_path / name
        workspace = tmp_path / ("none" if options else "kept")
        outcome = harness(
            "eval", "--suite", "smoke", "--adapter", fixture, "--limit", "4", "--out", out,
            "--workspace", workspace, *options,
        )  # fmt: skip
        assert outcome.exit_code == 0, outcome.err
        reports.append([line.split(",", 1)[1] for line in (out / "report.csv").read_text().splitlines()])
    assert reports[0] == reports[1] == reports[2]
    assert (tmp_path / "kept" / "scores.sqlite").exists()
    assert not (tmp_path / "none" / "scores.sqlite").exists()


@pytest.mark.parametrize("what", ["suites", "presets", "datasets", "runs"])
def test_list_names_what_there_is(finished: Path, harness: Harness, what: str) -> None:
    """Each list has a known entry in it."""
    known = {"suites": "alignment", "presets": "tiny-real", "datasets": "Anthropic/hh-rlhf", "runs": "tiny-alignment"}

    assert known[what] in harness("list", what, "--workspace", finished).out


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama_folder", "gpt2_folder"])
def test_whole_job_on_a_local_model(
    architecture: str, request: pytest.FixtureRequest, harness: Harness, tmp_path: Path
) -> None:
    """Llama and GPT-2 from a local folder go through the whole job, GPT-2 with the instruction template."""
    folder = request.getfixturevalue(architecture)
    outcome = harness(
        "train-and-eval", "--preset", "tiny", "-o", f"model.name={folder}", "--out", tmp_path / "run", *QUICK
    )

    assert outcome.exit_code == 0, outcome.err
    template = json.loads((tmp_path / "run" / "run.json").read_text())["provenance"]["base"]["template"]
    assert template == {"llama_folder": "model", "gpt2_folder": "instruction"}[architecture]


def test_an_adapter_of_another_base_is_refused(finished: Path, harness: Harness, llama_folder: Path) -> None:
    """An adapter is not measured on a base it was not trained on."""
    (fixture,) = (path for path in (finished / "fixtures").iterdir() if path.is_dir())
    chosen = ("--suite", "smoke", "--preset", "tiny")
    outcome = harness("eval", *chosen, "--model", llama_folder, "--adapter", fixture)

    assert outcome.exit_code == 2
    assert "belongs to base model 'embedded'" in outcome.err


@pytest.mark.slow
def test_ctrl_c_leaves_no_half_run(tmp_path: Path) -> None:
    """An interrupted job exits with 130 and leaves neither a run folder nor a half-written adapter."""
    workspace = tmp_path / "workspace"
    command = [sys.executable, "-m", "harness", "train-and-eval", "--workspace", str(workspace)]

    def heed_interrupts() -> None:
        """A process that a shell starts in the background ignores them, and so would its children."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - it only sets a handler
    ) as job:  # fmt: skip
        deadline = time.monotonic() + 120
        while not list(workspace.glob("fixtures/*.partial")):
            assert time.monotonic() < deadline, "training never started"
            assert job.poll() is None, "the job ended by itself"
            time.sleep(0.1)
        time.sleep(2)
        job.send_signal(signal.SIGINT)
        _, err = job.communicate(timeout=60)

    assert job.returncode == 130
    assert "interrupted" in err
    left = [path for path in workspace.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    kept = ("scores.sqlite", ".packs.json")  # what was scored until then, and that packs agree with TRL on this base
    assert all(any(part in path.name for part in kept) for path in left)


def test_all_formats_come_from_one_run(finished: Path, harness: Harness, tmp_path: Path) -> None:
    """`harness report` writes Markdown, CSV, JSON, LaTeX, the page, and the answers for a judge, wherever asked."""
    outcome = harness(
        "report", only_run(finished), "--format", "md,csv,json,latex,html,answers", "--out", tmp_path / "out"
    )

    assert outcome.exit_code == 0, outcome.err
    names = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert {"report.md", "report.csv", "report.json", "report.tex", "report.html"} < names
    assert all(str(name) in outcome.out for name in names)


def test_the_published_layout_has_sets_as_rows(finished: Path, harness: Harness, tmp_path: Path) -> None:
    """Rows are sets, columns are subjects, on the terminal as in the file."""
    outcome = harness("report", only_run(finished), "--layout", "published", "--out", tmp_path / "out")

    assert outcome.exit_code == 0, outcome.err
    assert "| truthfulness" in outcome.out
    assert "| truthfulness" in (tmp_path / "out" / "report.md").read_text()


def test_two_runs_make_one_report_and_one_run_twice_none(finished: Path, harness: Harness, tmp_path: Path) -> None:
    """Two runs of one suite make one report, in a folder that has to be named; the same run would count twice."""
    run = only_run(finished)
    other = tmp_path / "other"
    write_run(replace(read_run(run), name="other"), other)
    assert "--out" in harness("report", run, other).err
    assert "is the same run as" in harness("report", run, run, "--out", tmp_path / "both").err
    outcome = harness("report", run, other, "--out", tmp_path / "both")

    assert outcome.exit_code == 0, outcome.err
    assert "adapter (other)" in (tmp_path / "both" / "report.md").read_text()


def test_an_unknown_format_is_refused(finished: Path, harness: Harness) -> None:
    """The message names the formats there are."""
    outcome = harness("report", only_run(finished), "--format", "md,pdf")
    assert outcome.exit_code == 2
    assert "pdf is unknown; formats are: md, csv, json, latex, html, answers" in outcome.err


def test_a_run_passes_against_itself_and_fails_a_gate_it_cannot_meet(
    finished: Path, harness: Harness, tmp_path: Path
) -> None:
    """The same adapter twice lost nothing, whatever the margin; a gate on a metric that nobody measured is refused."""
    run = only_run(finished)
    gates = tmp_path / "gates.yaml"
    gates.write_text("gates:\n  - {metric: truthfulness/perplexity, largest_loss: 0.001}\n")
    outcome = harness("check", run, "--against", run, "--gates", gates, "--strict", "--junit", tmp_path / "junit.xml")
    assert outcome.exit_code == 0, outcome.err + outcome.out
    assert "<testsuite" in (tmp_path / "junit.xml").read_text()

    gates.write_text("gates:\n  - {metric: truthfulness/perplexitty, largest_loss: 0.001}\n")
    wrong = harness("check", run, "--gates", gates)
    assert wrong.exit_code == 2
    assert "truthfulness/perplexitty" in wrong.err
    assert harness("check").exit_code == 2


@pytest.mark.slow
def test_a_merged_adapter_is_measured_beside_it(finished: Path, harness: Harness, tmp_path: Path) -> None:
    """`harness merge` writes a model that `harness eval --candidate` measures, with the unquantised base between."""
    (fixture,) = (path for path in (finished / "fixtures").iterdir() if path.is_dir())
    merged = tmp_path / "merged"
    assert harness("merge", fixture, "--dtype", "bfloat16", "--out", merged).exit_code == 0
    outcome = harness(
        "eval", "--suite", "smoke", "--adapter", f"adapter={fixture}", "--candidate", f"shipped={merged}",
        "--limit", "4", "--out", tmp_path / "run",
    )  # fmt: skip

    assert outcome.exit_code == 0, outcome.err
    subjects = json.loads((tmp_path / "run" / "run.json").read_text())["subjects"]
    assert [each["name"] for each in subjects if each["kind"] != "ruler"] == [
        "baseline", "adapter", "unquantised", "shipped",
    ]  # fmt: skip
    taken = harness("eval", "--adapter", f"a={fixture}", "--candidate", f"a={merged}")
    assert (taken.exit_code, "'a' is taken" in taken.err) == (2, True)
