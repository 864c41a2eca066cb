"""Units fill the stores, and the ordinary command then writes the report that one process would have written."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compared_runs import comparable, first_difference
from failing_engine import Engine

from harness.commands.job import train_and_measure
from harness.commands.report_files import RunReports
from harness.measuring.experiment import Experiment
from harness.measuring.kinds import MissingResultError
from harness.measuring.lineup import Candidate, MissingAdapterError, TrainedAdapter, train, trained_candidates
from harness.measuring.opening import open_job
from harness.measuring.own_rows import CHOSEN_ANSWERS
from harness.measuring.run import Filled, first_plan, measure
from harness.measuring.units.engine import Done, ForeignNodeError, UnitDied
from harness.measuring.units.filling import Asked, EngineMaker, fill_on
from harness.measuring.units.in_process import InProcess
from harness.measuring.units.inputs import inputs_of
from harness.measuring.units.measurements import UnkeptOutcomeError
from harness.measuring.units.unit import Tell
from harness.models.adapter_files.folder import AdapterError
from harness.models.adapters import detach_adapters
from harness.training.recipe import TrainingError
from reports.records import Run
from suites.engine import scoring
from suites.engine.cache.score_cache import ScoreCache
from suites.engine.plan import PathCheck, ScoringPlan
from suites.engine.self_check.check import check_path
from suites.inputs import Example

pytestmark = pytest.mark.slow

InWorkspace = Callable[..., Experiment]
TUNED = "adapter, seed 43"
BELOW_FP32 = ("scorers", "units.doing", "units.stores")
"""Modules that ask whether scores depend on how they are computed."""


def engines(made: list[Engine] | None = None, **options: Any) -> EngineMaker:
    """Makes such engines, and adds each to a list."""

    def make(experiment: Experiment, inputs: Mapping[str, str], tell: Tell) -> Engine:
        engine = Engine(experiment, inputs, tell, **options)
        if made is not None:
            made.append(engine)
        return engine

    return make


def main_job(experiment: Experiment, **options: Any) -> tuple[Run, RunReports]:
    """What `harness train-and-eval` does, in a process that did it before."""
    detach_adapters(experiment.loaded)
    return train_and_measure(experiment, **options)


def filled(experiment: Experiment, make: EngineMaker, **asked: Any) -> Filled:
    """Fills the workspace of an experiment, trainings and measurements."""
    detach_adapters(experiment.loaded)
    suite = open_job(experiment, (), trains=True)
    log = experiment.workspace.logs / "run.log"
    return fill_on(make, experiment, Asked(inputs_of(experiment), log, suite=suite, **asked))


def contents(experiment: Experiment) -> dict[str, set[Any]]:
    """Everything in a score cache."""
    with sqlite3.connect(experiment.workspace.scores) as connection:
        scores = connection.execute(
            "SELECT context, request_key, log_probabilities FROM scores JOIN contexts USING (context_id)"
        )
        return {"scores": set(scores), "results": set(connection.execute("SELECT key, value FROM results"))}


def weights(adapters: tuple[TrainedAdapter, ...]) -> list[tuple[str, bytes]]:
    """Fingerprint and weights of each adapter."""
    return [
        (each.fixture.fingerprint, (each.fixture.folder / "adapter_model.safetensors").read_bytes())
        for each in adapters
    ]


@pytest.fixture
def single(in_workspace: InWorkspace, trained: tuple[TrainedAdapter, ...]) -> Path:
    """The run folder of the ordinary command."""
    experiment = in_workspace("single", trained)
    main_job(experiment)
    (folder,) = experiment.workspace.runs.iterdir()
    return folder


def test_the_report_is_that_of_one_process(
    in_workspace: InWorkspace, trained: tuple[TrainedAdapter, ...], single: Path
) -> None:
    """Byte by byte, and the engine did every evaluation of every subject once."""
    made: list[Engine] = []
    experiment = in_workspace("filled", trained)
    main_job(experiment, make=engines(made))
    (folder,) = experiment.workspace.runs.iterdir()

    assert not first_difference(comparable(single), comparable(folder))
    assert len(made[0].done) == len(set(made[0].done)) == 4 * 4 + 3  # the baseline drifts from nothing


def test_a_workspace_that_is_full_needs_no_unit(in_workspace: InWorkspace, trained: tuple[TrainedAdapter, ...]) -> None:
    """Whether units filled it, or the ordinary command did."""
    experiment = in_workspace("by units", trained)
    filled(experiment, engines())
    other = in_workspace("by the command", trained)
    measure(other, trained_candidates(other, trained), open_job(other, (), trains=True), trained, name="run")
    for each in (experiment, other):
        made: list[Engine] = []
        assert filled(each, engines(made)).missing == {}
        assert made[0].done == []


def test_an_adapter_that_does_not_fit_is_told_before_anything_is_measured(
    in_workspace: InWorkspace, trained: tuple[TrainedAdapter, ...], tmp_path: Path
) -> None:
    """As in one process, which attaches all of them before it scores."""
    experiment, made = in_workspace("filled", trained), list[Engine]()
    foreign = Path(shutil.copytree(trained[0].fixture.folder, tmp_path / "foreign"))
    record = json.loads((foreign / "fixture.json").read_text())
    record["base"]["fingerprint"] = "another"
    (foreign / "fixture.json").write_text(json.dumps(record))
    own, other = (Candidate(folder.name, "", adapter=str(folder)) for folder in (trained[1].fixture.folder, foreign))

    with pytest.raises(AdapterError, match="was trained on other weights"):
        filled(experiment, engines(made), others=(own, other))

    assert made == []
    assert experiment.loaded.adapters is None


def test_the_stores_are_the_same_whatever_the_order_of_results(
    in_workspace: InWorkspace, trained: tuple[TrainedAdapter, ...]
) -> None:
    """Adapters that are trained by units are those of the ordinary command, bit for bit."""
    found = []
    for name, last_first in (("first", False), ("last", True)):
        experiment = in_workspace(name)
        assert filled(experiment, engines(last_first=last_first)).missing == {}
        assert weights(train(experiment, {})) == weights(trained)
        found.append(contents(experiment))
    assert found[0] == found[1]


def test_a_candidate_that_fails_is_left_out_and_told_first(
    in_workspace: InWorkspace, trained: tuple[TrainedAdapter, ...], single: Path
) -> None:
    """A death, a mistake of the user's and a fault; the others are measured, and the same command completes it."""
    experiment = in_workspace("incomplete", trained)
    fails = {
        f"safety: {TUNED}": UnitDied(f"safety: {TUNED}", "its process died", 3, "node-b"),
        "answers: control: sft on chosen": RuntimeError("something odd"),
    }
    run, reports = main_job(experiment, make=engines(fails=fails))

    assert [each.name for each in run.candidates] == ["adapter, seed 42"]
    assert run.candidates[0].compared_with == ()
    lines = (
        "adapter, seed 43: not measured: safety: its process died 3 times, last on node node-b",
        "control: sft on chosen: not measured: answers: RuntimeError: something odd",
    )
    assert set(run.not_measured) == set(lines)
    text = next(file for file in reports.files if file.suffix == ".md").read_text()
    assert all(text.index(line) < text.index("## ") for line in lines)
    (log,) = experiment.workspace.logs.glob("*.log")
    assert log.read_text() == "answers: control: sft on chosen\nTraceback ...\n"

    made: list[Engine] = []
    run, _ = main_job(experiment, make=engines(made))
    assert set(made[0].done) == set(fails)
    folder = experiment.workspace.runs / run.name
    assert not first_difference(comparable(single), comparable(folder))


def test_a_training_that_diverges_fails_alone(in_workspace: InWorkspace, trained: tuple[TrainedAdapter, ...]) -> None:
    """Its subject is left out; the adapters and evaluations of the others are there."""
    experiment = in_workspace("diverged", trained[:1])
    made: list[Engine] = []
    mistake = TrainingError("training.learning_rate: the loss became nan at step 1 of 2")
    result = filled(experiment, engines(made, fails={f"train: {TUNED}": mistake}))

    assert result.missing == {TUNED: str(mistake)}
    assert result.has_report
    assert not [key for key in made[0].done if key.endswith(f": {TUNED}") and not key.startswith("train")]
    assert [each.variant.name for each in train(experiment, result.missing)] == [
        "adapter, seed 42",
        "control: sft on chosen",
    ]
    with pytest.raises(MissingAdapterError, match=f"{TUNED}: must be trained and is not in"):
        train(experiment, {})


def test_without_the_baseline_there_is_no_report(
    in_workspace: InWorkspace, trained: tuple[TrainedAdapter, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The list alone, and exit code 4; what was computed stays."""
    experiment = in_workspace("no baseline", trained)
    died = UnitDied("safety: baseline", "memory ran out", 3)
    with pytest.raises(SystemExit) as ended:
        main_job(experiment, make=engines(fails={died.key: died}))

    assert ended.value.code == 4
    assert "baseline: not measured: safety: memory ran out 3 times" in capsys.readouterr().err
    assert [*experiment.workspace.runs.glob("[!.]*")] == []
    made: list[Engine] = []
    main_job(experiment, make=engines(made))
    assert died.key in made[0].done
    assert len(made[0].done) < 10


def test_a_node_that_read_something_else_ends_the_command(
    in_workspace: InWorkspace, trained: tuple[TrainedAdapter, ...]
) -> None:
    """One line that names it, whether its process or the driver notices."""
    experiment = in_workspace("foreign", trained)
    suite = open_job(experiment, (), trains=True)
    inputs = inputs_of(experiment) | {"rows to measure": "others"}
    asked = Asked(inputs, experiment.workspace.logs / "run.log", suite=suite)
    with pytest.raises(ForeignNodeError, match="has other rows to measure than the machine"):
        fill_on(lambda each, _, tell: InProcess(each, inputs_of(each), tell), experiment, asked)
    with pytest.raises(ForeignNodeError, match="node b cannot prepare"):
        filled(experiment, engines(fails={"safety: baseline": ForeignNodeError("node b cannot prepare this job")}))


def test_what_is_missing_in_the_drivers_pass_is_an_error_that_names_it(
    in_workspace: InWorkspace, trained: tuple[TrainedAdapter, ...]
) -> None:
    """Evaluation and subject, and nothing is computed in its place."""
    experiment = in_workspace("torn", trained)
    filled(experiment, engines())
    with sqlite3.connect(experiment.workspace.scores) as connection:
        (context,) = connection.execute("SELECT MAX(context_id) FROM scores").fetchone()
        connection.execute("DELETE FROM scores WHERE context_id = ?", (context,))
    run = measure_found(experiment, trained)
    with pytest.raises(MissingResultError, match=r"^\w+: [\w,: ]+: \d+ scores of it must be there"):
        run()


def measure_found(experiment: Experiment, trained: tuple[TrainedAdapter, ...]) -> Callable[[], object]:
    """The driver's pass over a workspace that was filled."""
    suite = open_job(experiment, (), trains=True)
    given = Filled(first_plan(experiment))
    return lambda: measure(
        experiment, trained_candidates(experiment, trained), suite, trained, name="run", filled=given
    )


def leaving_its_path(monkeypatch: pytest.MonkeyPatch, key: str, made: list[Engine]) -> EngineMaker:
    """Computes as below fp32, where the path tree fails for one unit alone; makes engines as `engines` does."""
    for module in ("suites.engine.scoring", *(f"harness.measuring.{each}" for each in BELOW_FP32)):
        monkeypatch.setattr(f"{module}.computes_exactly", lambda _model: False)
    at_work: list[str] = [""]

    def check(maker: Any, units: Any, chosen: Any, plan: ScoringPlan, *others: Any, **options: Any) -> Any:
        if at_work[0] == key and plan.path == "tree":
            return PathCheck("tree", 1, 1.0, 1e-4), {}
        return check_path(maker, units, chosen, plan, *others, **options)

    class Leaving(Engine):
        def next_done(self) -> Done:
            at_work[0] = self._waiting[0][0].key
            try:
                return super().next_done()
            finally:
                at_work[0] = ""

    monkeypatch.setattr(scoring, "check_path", check)

    def make(*given: Any) -> Engine:
        made.append(Leaving(*given))
        return made[-1]

    return make


def test_units_that_left_the_plan_are_found_by_the_drivers_pass(
    in_workspace: InWorkspace, trained: tuple[TrainedAdapter, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below fp32 a path fails for one subject: that evaluation and those after it are submitted again for all."""
    made: list[Engine] = []
    experiment = in_workspace("moved", trained)
    make = leaving_its_path(monkeypatch, f"safety: {TUNED}", made)

    assert filled(experiment, make).missing == {}
    again = sorted(key for key in set(made[0].done) if made[0].done.count(key) > 1)
    subjects = sorted(["baseline", *(each.variant.name for each in trained)])
    assert again == [f"{evaluation}: {each}" for evaluation in ("lm_eval", "safety") for each in subjects]
    measure_found(experiment, trained)()


def test_below_fp32_an_evaluation_of_anothers_rows_that_left_the_plan_is_found_too(
    in_workspace: InWorkspace, trained: tuple[TrainedAdapter, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for no score of the other one, which it could not find."""
    made: list[Engine] = []
    experiment = in_workspace("shared", trained)
    pairs = experiment.data.pairs["preferences"]
    chosen = tuple(Example(each.example_id, each.group, each.prompt, each.chosen) for each in pairs.rows)
    data = replace(experiment.data, examples={"preferences": replace(pairs, rows=chosen)})
    evaluations = (experiment.suite.evaluations[0], CHOSEN_ANSWERS)
    experiment = replace(experiment, data=data, suite=replace(experiment.suite, evaluations=evaluations))
    make = leaving_its_path(monkeypatch, f"chosen_answers: {TUNED}", made)

    assert filled(experiment, make).missing == {}
    assert made[0].done.count(f"chosen_answers: {TUNED}") == 2
    measure_found(experiment, trained)()


def test_a_cache_that_takes_nothing_more_ends_the_command(
    in_workspace: InWorkspace, trained: tuple[TrainedAdapter, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No unit is done a second time; what was kept before is found by the next command."""
    made: list[Engine] = []
    experiment = in_workspace("full", trained)
    store_result, n_kept = ScoreCache.store_result, [0]

    def full(cache: ScoreCache, key: bytes, value: Any) -> None:
        n_kept[0] += 1
        if n_kept[0] == 10:
            cache._file.connection.execute("PRAGMA max_page_count = 1")
        store_result(cache, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(ScoreCache, "store_result", full)
        with pytest.raises(UnkeptOutcomeError, match="--workspace: what was measured cannot be kept"):
            filled(experiment, engines(made))
    assert len(made[0].done) == len(set(made[0].done))

    assert filled(experiment, engines(made)).missing == {}
    n_again = len(set(made[0].done) & set(made[1].done))
    assert 0 < n_again < len(made[0].done)
