"""An adapter is trained once, found again while nothing changes, and never half there."""

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.config.schema import LoraConfig, ModelConfig
from harness.models import provenance
from harness.models.adapter_files.folder import CONFIG_FILE, FIXTURE_FILE, GROUPS_FILE, WEIGHTS_FILE
from harness.models.adapters import attach_adapter, base_of_adapter
from harness.models.base import BASELINE, LoadedModel, load_model
from harness.models.origin import origin_of_adapter
from harness.models.provenance import score_context
from harness.training import fixture
from harness.training.checkpoints import UnwritableError
from harness.training.fixture import (
    LOG_FILE,
    Fixture,
    Workplace,
    build_or_reuse,
    fixture_inputs,
    note_on_earlier_fixtures,
    planned_fixture,
)
from harness.training.recipe import EncodedRows, LogLine, Progress, RatedRequest, Recipe, requests_of
from harness.training.trainer import Folders
from harness.workspace import WorkspaceError

Encode = Callable[[LoadedModel], EncodedRows]
Build = Callable[..., Fixture]


@pytest.fixture
def loaded(llama_folder: Path) -> LoadedModel:
    return load_model(ModelConfig(name=str(llama_folder), quantization="none"))


@pytest.fixture
def build(loaded: LoadedModel, encode: Encode, recipe: Recipe, tmp_path: Path) -> Build:
    """Builds in a workspace of the test's own."""

    def build_here(
        recipe: Recipe = recipe,
        progress: Progress | None = None,
        *,
        say: Callable[[str], object] = pytest.fail,
        start: Fixture | None = None,
    ) -> Fixture:
        return build_or_reuse(loaded, encode(loaded), recipe, Workplace(tmp_path, say, progress), start=start)

    return build_here


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """Training that only writes files; lists what was asked of it."""
    trained: list[Recipe] = []

    def pretend(
        _loaded: LoadedModel, _rows: EncodedRows, recipe: Recipe, folders: Folders, *_: object, **__: object
    ) -> tuple[LogLine, ...]:
        trained.append(recipe)
        (folders.adapter / CONFIG_FILE).write_text('{"peft_type": "LORA"}')
        (folders.adapter / WEIGHTS_FILE).write_bytes(b"weights")
        return ({"kind": "summary", "step": 0},)

    monkeypatch.setattr(fixture, "train_adapter", pretend)
    return trained


def entries(workspace: Path) -> list[str]:
    return sorted(path.name for path in (workspace / "fixtures").iterdir() if not path.name.startswith("."))


def with_training(recipe: Recipe, **changes: object) -> Recipe:
    return replace(recipe, training=replace(recipe.training, **changes))


def test_the_second_call_reuses_the_first(build: Build, pretended: list[Recipe], tmp_path: Path) -> None:
    """Same inputs, same folder, same rows, no training, and a line that says so, which is no note of a report."""
    first = build()

    second = build()

    assert len(pretended) == 1
    assert (first.reused, second.reused) == (False, True)
    assert second.told == f"The trained adapter {first.fingerprint} is reused: nothing that determines it has changed."
    assert (first.told, first.notes, second.notes) == ("", (), ())
    assert second.folder == first.folder == tmp_path / "fixtures" / first.fingerprint
    assert second.log == first.log
    assert entries(tmp_path) == [first.fingerprint]


def test_a_dry_run_knows_what_is_there(
    build: Build, loaded: LoadedModel, encode: Encode, recipe: Recipe, tmp_path: Path
) -> None:
    """The fixture that a training would write, with its fingerprint, and whether it is whole."""
    planned = planned_fixture(loaded, encode(loaded), recipe, tmp_path / "fixtures")
    assert not planned.reused
    built = build()
    there = planned_fixture(loaded, encode(loaded), recipe, tmp_path / "fixtures")
    assert (there.reused, there.fingerprint, there.folder) == (True, planned.fingerprint, built.folder)
    (built.folder / WEIGHTS_FILE).write_bytes(b"damaged")
    assert not planned_fixture(loaded, encode(loaded), recipe, tmp_path / "fixtures").reused
    assert built.folder.is_dir()


def test_a_fixture_holds_what_it_is(build: Build, loaded: LoadedModel) -> None:
    """PEFT's files, the rows, and a record of base, recipe, versions and counts; it attaches to its base."""
    built = build()
    record = json.loads((built.folder / FIXTURE_FILE).read_text())

    assert {CONFIG_FILE, WEIGHTS_FILE, LOG_FILE, FIXTURE_FILE} <= {path.name for path in built.folder.iterdir()}
    assert record["fingerprint"] == built.fingerprint
    assert (record["base"]["name"], record["base"]["fingerprint"]) == (loaded.name, loaded.fingerprint)
    assert (record["rows"]["training"]["n"], record["rows"]["selection"]["n"]) == (8, 4)
    assert record["recipe"]["training"]["learning_rate"] == 1e-2
    assert None not in record["versions"].values()
    assert attach_adapter(loaded, "tuned", str(built.folder)) == []


def test_the_embedded_base_keeps_its_name(encode: Encode, recipe: Recipe, tmp_path: Path) -> None:
    """No path of this machine stands in an adapter of the model that ships with the project."""
    loaded = load_model(ModelConfig())

    built = build_or_reuse(loaded, encode(loaded), with_training(recipe, max_steps=1), Workplace(tmp_path, pytest.fail))

    assert base_of_adapter(str(built.folder)) == "embedded"
    assert str(Path(fixture.__file__).parent) not in (built.folder / FIXTURE_FILE).read_text()


def test_whatever_determines_the_adapter_changes_the_fingerprint(
    loaded: LoadedModel, encode: Encode, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Recipe, engine, seed, adapter, rows and their kind, weights, types, template, start, versions: each alone."""
    rows = encode(loaded)
    requests = requests_of(rows.training)
    start = Fixture(tmp_path, "1234", reused=True, log=(), notes=())
    variants = [
        fixture_inputs(loaded, rows, recipe),
        fixture_inputs(loaded, rows, with_training(recipe, learning_rate=2e-2)),
        fixture_inputs(loaded, rows, with_training(recipe, method="kto")),
        fixture_inputs(loaded, rows, with_training(recipe, engine="trl")),
        fixture_inputs(loaded, rows, replace(recipe, seed=2)),
        fixture_inputs(loaded, rows, replace(recipe, lora=LoraConfig(rank=8))),
        fixture_inputs(loaded, EncodedRows(rows.training[1:], rows.selection), recipe),
        fixture_inputs(loaded, EncodedRows(rows.training, rows.selection[1:]), recipe),
        fixture_inputs(loaded, EncodedRows(rows.training[::-1], rows.selection), recipe),
        fixture_inputs(loaded, EncodedRows(requests, rows.selection), recipe),
        fixture_inputs(loaded, EncodedRows([RatedRequest(each, True) for each in requests], rows.selection), recipe),
        fixture_inputs(loaded, EncodedRows([RatedRequest(each, False) for each in requests], rows.selection), recipe),
        fixture_inputs(replace(loaded, fingerprint="other"), rows, recipe),
        fixture_inputs(replace(loaded, quantization="nf4"), rows, recipe),
        fixture_inputs(replace(loaded, dtype="bfloat16"), rows, recipe),
        fixture_inputs(replace(loaded, compute_dtype="bfloat16"), rows, recipe),
        fixture_inputs(replace(loaded, device="cuda"), rows, recipe),
        fixture_inputs(loaded, rows, recipe, start),
        fixture_inputs(loaded, rows, recipe, replace(start, fingerprint="5678")),
    ]
    monkeypatch.setattr(fixture, "PACKED_STEP_VERSION", 0)
    variants.append(fixture_inputs(loaded, rows, recipe))
    monkeypatch.setattr(fixture, "package_versions", lambda _names: {"torch": "0"})
    variants.append(fixture_inputs(loaded, rows, recipe))
    loaded.tokenizer.chat_template += " "
    variants.append(fixture_inputs(loaded, rows, recipe))

    assert len({json.dumps(inputs) for inputs in variants}) == len(variants)


def test_several_processes_that_are_planned_have_the_key_of_several(
    loaded: LoadedModel, encode: Encode, recipe: Recipe
) -> None:
    """So that a process that starts them finds what they trained."""
    rows = encode(loaded)

    planned = fixture_inputs(loaded, rows, replace(recipe, n_ranks=2))

    assert planned == fixture_inputs(loaded, rows, recipe) | {"ranks": 2}


def test_a_new_key_version_changes_the_keys_of_adapters_and_of_scores(
    loaded: LoadedModel, encode: Encode, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raising it sets both keys apart from before."""
    rows = encode(loaded)
    inputs, context = fixture_inputs(loaded, rows, recipe), score_context(loaded, BASELINE)
    newer = provenance.KEY_VERSION + 1
    monkeypatch.setattr(provenance, "KEY_VERSION", newer)

    assert fixture_inputs(loaded, rows, recipe) == inputs | {"key_version": newer}
    assert json.loads(score_context(loaded, BASELINE)) == json.loads(context) | {"key_version": newer}


def test_threads_are_recorded_and_a_reused_adapter_keeps_its_own(
    build: Build, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record says how many threads trained it; a machine that uses another number finds the same adapter."""
    n_threads = torch.get_num_threads()
    built = build(with_training(recipe, max_steps=1))
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads + 1)

    again = build(with_training(recipe, max_steps=1))

    assert again.reused
    assert again.folder == built.folder
    assert json.loads((again.folder / FIXTURE_FILE).read_text())["n_threads"] == n_threads


def test_the_groups_that_were_trained_on_lie_beside_the_adapter(
    loaded: LoadedModel, encode: Encode, recipe: Recipe, pretended: list[Recipe], tmp_path: Path
) -> None:
    """Each once, in order, so that whoever measures it later, by another experiment, can leave them out."""
    rows = replace(encode(loaded), groups=frozenset({"b", "a"}))
    built = build_or_reuse(loaded, rows, recipe, Workplace(tmp_path, pytest.fail))

    assert (built.folder / GROUPS_FILE).read_text() == "a\nb\n"
    assert origin_of_adapter(built.folder).groups == {"a", "b"}
    (built.folder / GROUPS_FILE).write_text("c\n")
    assert "damaged" in build_or_reuse(loaded, rows, recipe, Workplace(tmp_path, pytest.fail)).told
    assert len(pretended) == 2


def test_adapters_of_an_earlier_version_are_pointed_out(tmp_path: Path) -> None:
    """A line says how many are not reused; those of this version and damaged ones are not counted."""
    records = {"now": {"key_version": provenance.KEY_VERSION}, "before": {}, "other": {"key_version": 1}}
    for name, record in records.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / FIXTURE_FILE).write_text(json.dumps(record))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / FIXTURE_FILE).write_text("{")

    assert note_on_earlier_fixtures(tmp_path).startswith("2 adapters were trained here by another version")
    assert note_on_earlier_fixtures(tmp_path / "nowhere") == ""


def test_whatever_does_not_determine_the_adapter_does_not(loaded: LoadedModel, encode: Encode, recipe: Recipe) -> None:
    """Checkpoints, loggers and the place of the same weights leave the fingerprint alone."""
    rows = encode(loaded)
    told = with_training(recipe, save_steps=2, report_to=("wandb",))

    assert fixture_inputs(replace(loaded, name="elsewhere"), rows, told) == fixture_inputs(loaded, rows, recipe)


def test_an_optimizer_is_recorded_as_it_was_used(build: Build, pretended: list[Recipe], recipe: Recipe) -> None:
    """On a CPU paged_adamw_8bit is adamw_torch: said, trained so, recorded so, and the same adapter as that."""
    asked = build(with_training(recipe, optimizer="paged_adamw_8bit"))

    assert [each.training.optimizer for each in pretended] == ["adamw_torch"]
    assert asked.notes[0].startswith("training.optimizer paged_adamw_8bit")
    record = json.loads((asked.folder / FIXTURE_FILE).read_text())
    assert record["recipe"]["training"]["optimizer"] == "adamw_torch"
    assert build(recipe).folder == asked.folder


def test_a_started_fixture_names_its_start(build: Build, recipe: Recipe, loaded: LoadedModel) -> None:
    """Two stages are two folders; the second one says which the first was, also when it is found again."""
    first = build(with_training(recipe, max_steps=1))

    second = build(with_training(recipe, max_steps=2), start=first)

    assert (first.start, second.start) == (None, first.fingerprint)
    assert json.loads((second.folder / FIXTURE_FILE).read_text())["start"] == first.fingerprint
    again = build(with_training(recipe, max_steps=2), start=first)
    assert (again.reused, again.start) == (True, first.fingerprint)
    assert attach_adapter(loaded, "both", str(second.folder)) == []


def test_another_learning_rate_is_another_folder(
    build: Build, pretended: list[Recipe], recipe: Recipe, tmp_path: Path
) -> None:
    """Both stay."""
    built = [build(), build(with_training(recipe, learning_rate=2e-2))]

    assert [each.training.learning_rate for each in pretended] == [1e-2, 2e-2]
    assert [each.reused for each in built] == [False, False]
    assert entries(tmp_path) == sorted(each.fingerprint for each in built)


def interrupt(step: int, _n_steps: int, _row: object) -> None:
    if step == 2:
        raise KeyboardInterrupt


def test_an_interrupted_build_is_gone_on_from(build: Build, recipe: Recipe, tmp_path: Path) -> None:
    """Ctrl-C in the middle of training leaves its checkpoints, and no fixture; the next call ends what was begun."""
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        build(progress=interrupt, say=said.append)

    partial = [path for path in (tmp_path / "fixtures").iterdir() if path.suffix == ".partial"]
    assert [path.name for path in partial[0].iterdir()] == ["checkpoints"]
    built = build(say=said.append)
    assert not built.reused
    assert said == [
        "Interrupted: the checkpoint of step 1 is kept; the next call continues from it.",
        "Training continues from the checkpoint of step 1.",
    ]
    assert entries(tmp_path) == [built.fingerprint]
    assert [row["step"] for row in built.log if row["kind"] == "train"] == [1, 2, 3, 4]
    assert build(with_training(recipe, save_steps=3)).reused


def test_a_build_without_a_checkpoint_leaves_nothing(build: Build, recipe: Recipe, tmp_path: Path) -> None:
    """There is nothing to go on from; the next call starts on a clean base."""
    seldom = with_training(recipe, save_steps=3)
    with pytest.raises(KeyboardInterrupt):
        build(seldom, interrupt, say=str)

    assert entries(tmp_path) == []
    assert build(seldom).log[0]["rewards/accuracies"] == 0.5


def test_no_room_for_the_record_is_one_line(
    build: Build, pretended: list[Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full at the very end leaves no fixture."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fixture, "_write_record", full)
        with pytest.raises(UnwritableError, match="No space left on device"):
            build()

    assert entries(tmp_path) == []
    assert not build().reused
    assert len(pretended) == 2


@pytest.mark.usefixtures("pretended")
def test_what_a_killed_process_left_is_not_used(build: Build, tmp_path: Path) -> None:
    """A partial folder is cleared away by the next build."""
    first = build()
    partial = first.folder.rename(first.folder.with_name(f"{first.fingerprint}.partial"))
    (partial / "half").touch()

    second = build()

    assert not second.reused
    assert entries(tmp_path) == [first.fingerprint]
    assert not (second.folder / "half").exists()
    partial.mkdir()
    assert build().reused
    assert entries(tmp_path) == [first.fingerprint]


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE, LOG_FILE, FIXTURE_FILE])
@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_a_damaged_fixture_is_set_aside_and_built_anew(
    name: str, damage: str, build: Build, pretended: list[Recipe], tmp_path: Path
) -> None:
    """A file that is missing or cut off is noticed and said; the damaged folder is kept beside."""
    first = build()
    file = first.folder / name
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-5])

    second = build()

    assert not second.reused
    assert "is damaged" in second.told
    assert second.notes == ()
    assert entries(tmp_path) == [first.fingerprint, f"{first.fingerprint}.damaged"]
    assert build().reused
    assert len(pretended) == 2


HOLDER = (
    "import sys; from filelock import FileLock\nwith FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
)


@pytest.mark.usefixtures("pretended")
def test_a_second_process_waits_for_the_first(
    build: Build, loaded: LoadedModel, encode: Encode, recipe: Recipe, tmp_path: Path
) -> None:
    """While another process holds the lock a line is said; then the adapter is there."""
    lock = tmp_path / "fixtures" / f".{build().fingerprint}.lock"
    said = []
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        release = other.stdin.close

        def hear(line: str) -> None:
            said.append(line)
            release()

        assert build_or_reuse(loaded, encode(loaded), recipe, Workplace(tmp_path, hear)).reused
    assert said == [f"Another process is training this adapter; waiting for it ({lock})."]


def test_a_workspace_that_cannot_be_written_is_one_line(
    loaded: LoadedModel, encode: Encode, recipe: Recipe, pretended: list[Recipe], tmp_path: Path
) -> None:
    """Said before any work."""
    (tmp_path / "file").touch()

    with pytest.raises(WorkspaceError, match=r"--workspace: .*file/workspace cannot be written .*name another folder"):
        build_or_reuse(loaded, encode(loaded), recipe, Workplace(tmp_path / "file" / "workspace", pytest.fail))
    assert pretended == []
