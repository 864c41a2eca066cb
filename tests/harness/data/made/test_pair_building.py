"""Pairs of the embedded model's own answers: what is written, and that no interruption changes a byte of it."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.config.schema import ModelConfig
from harness.data.files import read_file
from harness.data.made import pair_building
from harness.data.made.pair_building import Output, PairBuildingError, PairFile, build_pairs
from harness.data.made.pair_spec import ExampleAnswer, PairSpec, Side, kept_prompt
from harness.data.made.resumable_file import ResumableFileError
from harness.data.row import Row
from harness.data.sources.preferences import pair
from harness.models.base import LoadedModel, load_model
from suites.engine.decoding import Decoding
from suites.inputs import Pair

SPEC = PairSpec(
    subjects=("bread", "rain", "a telescope", "the moon", "an oak"),
    task="What is {subject}?",
    chosen=Side("Answer in one short true sentence.", (ExampleAnswer("salt", "Salt is a mineral."),)),
    rejected=Side("Ramble about everything you know.", (ExampleAnswer("a dog", "Well, dogs, and also cats."),)),
    instruction="You answer questions.",
    kept_examples="both",
    n_per_subject=2,
)
DECODING = Decoding(max_new_tokens=8, temperature=1.0, top_p=0.95, seed=11)
BATCH = 3


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    """The model that ships with the project."""
    return load_model(ModelConfig(name="embedded", quantization="none", device="cpu"))


@pytest.fixture(scope="module", autouse=True)
def small_batches() -> Iterator[None]:
    """Ten pairs are four batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_building, "BATCH_SIZE", BATCH)
        yield


@pytest.fixture(scope="module")
def build_in(loaded: LoadedModel) -> Callable[..., PairFile]:
    """Builds a file in a folder."""

    def build(folder: Path, name: str = "rows.jsonl", spec: PairSpec = SPEC, **options: Any) -> PairFile:
        output = Output(folder / name, unpaired=options.pop("unpaired", False), force=options.pop("force", False))
        return build_pairs(spec, loaded, output, **({"decoding": DECODING, "say": lambda _: None} | options))

    return build


@pytest.fixture
def build(build_in: Callable[..., PairFile], tmp_path: Path) -> Callable[..., PairFile]:
    """Builds a file below the test's folder."""
    return partial(build_in, tmp_path)


@dataclasses.dataclass(frozen=True)
class Whole:
    """A file that was built without interruption."""

    built: PairFile
    done: list[int]
    """What was told of the progress."""


@pytest.fixture(scope="module")
def whole(build_in: Callable[..., PairFile], tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The pairs of `SPEC`, built once."""
    done: list[int] = []
    return Whole(build_in(tmp_path_factory.mktemp("whole"), progress=done.append), done)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_pairs_have_one_neutral_prompt_and_two_different_answers(whole: Whole) -> None:
    """Each row has the kept prompt of its subject and seed, and its group is the subject."""
    built = whole.built

    rows = rows_of(built.path)
    assert whole.done == [3, 6, 9, 10]
    assert (len(rows), built.left_out, built.reused) == (built.n_rows, 10 - built.n_rows, False)
    assert built.n_rows >= 8
    for row in rows:
        assert [*row] == ["prompt", "chosen", "rejected", "group", "subject", "seed"]
        expected = kept_prompt(SPEC, row["subject"], row["seed"])
        assert [(turn.speaker, turn.text) for turn in expected] == [
            (message["role"], message["content"]) for message in row["prompt"]
        ]
        chosen, rejected = (row[side][0]["content"] for side in ("chosen", "rejected"))
        assert chosen
        assert rejected
        assert chosen != rejected
        assert row["group"] == row["subject"]
    assert len({row["seed"] for row in rows if row["subject"] == "rain"}) > 1


def test_rows_load_as_pairs_that_are_grouped_by_subject(whole: Whole) -> None:
    """Our own loader reads them, and two rows of one subject have one group."""
    built = whole.built

    pairs = [pair(Row(where, columns, source="reviews")) for where, columns in read_file(built.path)]

    assert all(isinstance(one, Pair) for one in pairs)
    assert len({one.group for one in pairs}) == len({row["subject"] for row in rows_of(built.path)})
    assert pairs[0].prompt[0].text == "You answer questions."


def test_unpaired_rows_are_the_same_answers_one_by_one(build: Callable[..., PairFile], whole: Whole) -> None:
    """Every pair makes a good and a bad completion of one prompt."""
    pairs = rows_of(whole.built.path)
    built = build("unpaired.jsonl", unpaired=True)

    rows = rows_of(built.path)
    assert built.n_rows == 2 * len(pairs)
    for one, good, bad in zip(pairs, rows[::2], rows[1::2], strict=True):
        assert (good["completion"], bad["completion"]) == (one["chosen"], one["rejected"])
        assert (good["label"], bad["label"]) == (True, False)
        assert good["prompt"] == bad["prompt"] == one["prompt"]


@pytest.mark.parametrize("n_before", [1, 3, 4])
def test_an_interrupted_build_ends_with_the_same_bytes(
    build: Callable[..., PairFile], whole: Whole, n_before: int
) -> None:
    """Stopped after any batch, the next call goes on from there."""

    def stop(n_done: int) -> None:
        if n_done >= min(n_before * BATCH, SPEC.n_pairs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build("cut.jsonl", progress=stop)
    said: list[str] = []
    done: list[int] = []
    built = build("cut.jsonl", say=said.append, progress=done.append)

    assert built.path.read_bytes() == whole.built.path.read_bytes()
    n_kept = min(n_before * BATCH, SPEC.n_pairs)
    assert said[0] == f"{n_kept} of 10 pairs exist already; building continues after them."
    assert done == [n for n in (3, 6, 9, 10) if n > n_kept]


def test_a_finished_file_is_reused_and_another_one_is_not_touched(build: Callable[..., PairFile]) -> None:
    """Equal inputs give the file that is there; another seed is refused with what differs, unless forced."""
    first = build()
    before = first.path.read_bytes()
    said: list[str] = []

    again = build(say=said.append)
    assert again == PairFile(first.path, first.n_rows, first.left_out, reused=True)
    assert said == [f"{first.path} is reused, because nothing that determines its rows has changed."]

    other = Decoding(max_new_tokens=8, temperature=1.0, top_p=0.95, seed=12)
    with pytest.raises(ResumableFileError, match=r"decoding\.seed is 11 there, 12 here"):
        build(decoding=other)
    assert first.path.read_bytes() == before
    forced = build(decoding=other, force=True)
    assert not forced.reused
    assert forced.path.read_bytes() != before


def scripted(answers: dict[str, Callable[[int], str]], loaded: LoadedModel) -> Callable[..., list[list[int]]]:
    """In place of a model: the n-th answer of each side, for any subject."""
    n_asked = dict.fromkeys(answers, 0)

    def generate(_model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], **_options: Any) -> list[list[int]]:
        side = "chosen" if "short true" in tokenizer.decode(prompts[0]) else "rejected"
        n_asked[side] += 1
        return [loaded.tokenizer(answers[side](n_asked[side]), add_special_tokens=False).input_ids for _ in prompts]

    return generate


def test_equal_or_empty_answers_are_tried_again_with_other_seeds(
    build: Callable[..., PairFile], loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal at first, then empty, then different: the third seed is the row's own."""
    texts = {"chosen": lambda n: ["", "same", "", "bread"][n], "rejected": lambda _: "same"}
    monkeypatch.setattr(pair_building, "generate", scripted(texts, loaded))

    [row] = rows_of(build(spec=_with(subjects=("rain",), n_per_subject=1)).path)

    assert (row["chosen"][0]["content"], row["rejected"][0]["content"], row["seed"]) == ("bread", "same", 11 + 2)


def test_what_stays_equal_is_left_out_and_counted(
    build: Callable[..., PairFile], loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch never differs within four tries, later ones do; where none does, no file appears."""
    said: list[str] = []
    texts = {"chosen": lambda n: "same" if n <= 4 else "bread", "rejected": lambda _: "same"}
    with monkeypatch.context() as patched:
        patched.setattr(pair_building, "generate", scripted(texts, loaded))
        built = build(say=said.append)
    assert (built.n_rows, built.left_out) == (7, 3)
    assert said == ["3 of 10 pairs are left out, because their answers stayed empty or equal."]
    assert build().left_out == 3

    monkeypatch.setattr(
        pair_building, "generate", scripted({"chosen": lambda _: "", "rejected": lambda _: "x"}, loaded)
    )
    with pytest.raises(PairBuildingError, match="no pair could be built"):
        build("none.jsonl")
    assert not built.path.with_name("none.jsonl").exists()


def test_greedy_answers_are_asked_for_once(
    build: Callable[..., PairFile], loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second try would be the same, and so would a second answer, which is refused before anything is generated."""
    greedy = Decoding(max_new_tokens=8)
    with pytest.raises(PairBuildingError, match="n_per_subject must be 1 at temperature 0"):
        build(decoding=greedy)

    n_batches: list[int] = []
    script = scripted({"chosen": lambda n: n_batches.append(n) or "x", "rejected": lambda _: "y"}, loaded)
    monkeypatch.setattr(pair_building, "generate", script)
    build(spec=_with(n_per_subject=1), decoding=greedy)
    assert max(n_batches) == 2


def test_prompts_that_leave_no_room_are_refused(build: Callable[..., PairFile]) -> None:
    """Nothing is cut off in silence: the longest prompt is named with its length."""
    long = _with(subjects=("rain", "bread " * 500))

    with pytest.raises(PairBuildingError, match=r"prompt for \"bread .* leaves no room for 1900 new ones in 2048"):
        build(spec=long, decoding=Decoding(max_new_tokens=1900, temperature=1.0))


def test_a_pair_depends_on_its_subject_and_seed_alone(build: Callable[..., PairFile], whole: Whole) -> None:
    """Fewer subjects, hence other batches: the rows that are left are the same in fp32."""
    some = [row for row in rows_of(whole.built.path) if row["subject"] in ("rain", "an oak")]

    assert some == rows_of(build("some.jsonl", spec=_with(subjects=("rain", "an oak"))).path)


@pytest.mark.slow
def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(
    build: Callable[..., PairFile], whole: Whole, tmp_path: Path
) -> None:
    """Kill -9 between or within batches, twice, loses what was not whole and changes nothing."""
    partial = tmp_path / "killed.jsonl.partial"
    code = (
        f"import pathlib, sys, time; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_pair_building as test\n"
        f"test.pair_building.BATCH_SIZE = {BATCH}\n"
        "from harness.models.base import load_model\n"
        "loaded = load_model(test.ModelConfig(name='embedded', quantization='none', device='cpu'))\n"
        f"output = test.Output(pathlib.Path({str(tmp_path / 'killed.jsonl')!r}))\n"
        "slowly = lambda n_done: time.sleep(0.5)\n"
        "test.build_pairs(test.SPEC, loaded, output, decoding=test.DECODING, say=print, progress=slowly)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[4]), *sys.path])}
    for n_lines in (4, 7):
        with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
            deadline = time.monotonic() + 90
            while not partial.exists() or partial.read_bytes().count(b"\n") < n_lines:
                assert process.poll() is None, "the build ended before it could be killed"
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
    assert not partial.with_name("killed.jsonl").exists()
    said: list[str] = []

    built = build("killed.jsonl", say=said.append)

    assert said[0].startswith("6 of 10 pairs exist already")
    assert built.path.read_bytes() == whole.built.path.read_bytes()


def _with(**changes: Any) -> PairSpec:
    """The specification with some of it changed."""
    return dataclasses.replace(SPEC, **changes)
