"""Training in packs: TRL's losses and weights, the reference once, and what happens where memory runs out."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.models.base import LoadedModel
from harness.training.packed_step import budget, forward, frozen_product
from harness.training.recipe import EncodedRows, LogLine, RatedRequest, Recipe, TrainingError, requests_of
from harness.training.reference import REFERENCE_FILE
from harness.training.trainer import Folders, UnpackableModelError, train_adapter
from harness.training.trl import HarnessTrainerMixin
from suites.engine.encoding import EncodedPair, EncodedResponse
from suites.engine.plan import plan_for
from suites.inputs import Request, ResponseScore

Load = Callable[..., LoadedModel]
Encode = Callable[[LoadedModel], EncodedRows]
Train = Callable[..., tuple[LogLine, ...]]

TEN_STEPS: dict[str, Any] = {"batch_size": 2, "epochs": 2.5, "max_steps": 10}
LOGGED = ("loss", "rewards/chosen", "rewards/margins", "logps/chosen", "kl", "mean_token_accuracy", "grad_norm")


def with_training(recipe: Recipe, **changes: object) -> Recipe:
    """The recipe with other settings and without dropout, which packs draw otherwise than padded rows."""
    return replace(
        recipe,
        lora=replace(recipe.lora, dropout=0.0),
        training=replace(recipe.training, **({"engine": "packed"} | changes)),
    )


def steps_of(log: tuple[LogLine, ...]) -> list[LogLine]:
    return [line for line in log if line["kind"] == "train"]


def as_method(rows: EncodedRows, method: str) -> EncodedRows:
    """The pairs as the rows that a method trains on."""
    requests = requests_of(rows.training)
    if method == "sft":
        return EncodedRows(requests[::2])
    if method == "kto":
        return EncodedRows([RatedRequest(each, index % 2 == 0) for index, each in enumerate(requests)])
    return rows


@pytest.fixture(params=["llama_folder", "gpt2_folder"])
def folder(request: pytest.FixtureRequest) -> Path:
    """A Llama, then a GPT-2."""
    found: Path = request.getfixturevalue(request.param)
    return found


METHODS: list[dict[str, Any]] = [
    {"loss_type": ("sigmoid",)},
    {"loss_type": ("ipo",)},
    {"loss_type": ("hinge",)},
    {"method": "kto"},
    {"method": "sft"},
]


@pytest.mark.parametrize("settings", METHODS, ids=lambda settings: str(*settings.values()))
@pytest.mark.parametrize("reference", ["once", "every_step"])
def test_ten_steps_are_those_of_trl(
    folder: Path, settings: dict[str, Any], reference: str, load: Load, encode: Encode, recipe: Recipe, tmp_path: Path
) -> None:
    """Losses, rewards and norms of gradients of ten steps, and the adapter after them."""
    ten = with_training(recipe, **TEN_STEPS, **settings)
    logs = {}
    for engine in ("trl", "packed"):
        loaded = load(folder)
        rows = as_method(encode(loaded), ten.training.method)
        how = with_training(ten, engine=engine, reference="every_step" if engine == "trl" else reference)
        logs[engine] = steps_of(train_adapter(loaded, rows, how, folders_in(tmp_path, engine), str))

    if settings.get("loss_type") == ("sigmoid",):  # every batch has two pairs, in one pack
        assert logs["packed"][0]["loss"] == pytest.approx(log(2), abs=1e-5)
    for packed, plain in zip(logs["packed"], logs["trl"], strict=True):
        for name in LOGGED:
            if name in plain:
                assert packed[name] == pytest.approx(plain[name], rel=2e-3, abs=2e-4), (name, plain["step"])
    weights = {engine: load_file(tmp_path / engine / "adapter_model.safetensors") for engine in logs}
    for name, weight in weights["trl"].items():
        assert (weights["packed"][name] - weight).norm() <= 1e-2 * weight.norm(), name


@pytest.fixture(params=["oneDNN", "MKL"])
def products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products with frozen weights by either library, whichever this CPU has the faster one of."""
    monkeypatch.setattr(frozen_product, "is_faster_here", lambda: request.param == "oneDNN")


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("settings", METHODS, ids=lambda settings: str(*settings.values()))
def test_gradients_are_those_of_trl_at_ten_points_of_a_run(
    settings: dict[str, Any], llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train,
    monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Of every tensor of the adapter, computed both ways at the same weights before each step of TRL's."""
    plain, largest = HarnessTrainerMixin.training_step, []

    def gradients(trainer: Any) -> dict[str, torch.Tensor]:
        found = {name: each.grad for name, each in trainer.model.named_parameters() if each.requires_grad}
        trainer.model.zero_grad()
        return found

    def both(trainer: Any, *arguments: Any, **options: Any) -> torch.Tensor:
        with forward.packed_forward(trainer.model.get_base_model(), budget.Budget(4096)):
            loss = plain(trainer, *arguments, **options)
        packed = gradients(trainer)
        expected = plain(trainer, *arguments, **options)
        assert loss == pytest.approx(float(expected), rel=1e-5, abs=1e-6)
        slopes = gradients(trainer)
        assert any(slope.norm() > 0 for slope in slopes.values())
        shares = [(packed[name] - slope).norm() / slope.norm().clamp(min=1e-12) for name, slope in slopes.items()]
        largest.append(float(max(shares)))
        for name, each in trainer.model.named_parameters():
            each.grad = slopes.get(name)
        return expected

    monkeypatch.setattr(HarnessTrainerMixin, "training_step", both)
    loaded = load(llama_folder)
    ten = with_training(recipe, **TEN_STEPS, engine="trl", reference="every_step", learning_rate=1e-4, **settings)
    train(loaded, as_method(encode(loaded), ten.training.method), ten)

    assert len(largest) == 10
    assert max(largest) < 1e-4


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_budget_above_the_largest_pack_changes_no_bit(
    dropout: float, llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Packs are the same, and what the backward pass computes again is the same: free memory decides on no digit."""
    monkeypatch.setattr(forward, "LARGEST_PACK_TOKENS", {"dense": 64})
    few = with_training(recipe, batch_size=4, max_steps=3)
    for max_tokens in (64, 4096):
        each = replace(few, training=replace(few.training, max_tokens_at_once=max_tokens))
        loaded = load(llama_folder)
        how = replace(each, lora=replace(each.lora, dropout=dropout))
        train_adapter(loaded, encode(loaded), how, folders_in(tmp_path, f"{max_tokens}"), str)

    recomputed, held = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("64", "4096"))
    assert recomputed == held


def folders_in(place: Path, name: str) -> Folders:
    """Folders of an adapter and of its checkpoints."""
    return Folders(place / name, place / f"{name}.steps")


class Store:
    """Keeps scores and counts what was looked up and not found."""

    def __init__(self) -> None:
        self.scores: dict[tuple[str, Request], ResponseScore] = {}
        self.n_missed = 0

    def lookup(self, context: str, requests: list[Request]) -> dict[Request, ResponseScore]:
        """Scores that were stored."""
        found = {each: self.scores[context, each] for each in requests if (context, each) in self.scores}
        self.n_missed += len(requests) - len(found)
        return found

    def store(self, context: str, scores: dict[Request, ResponseScore]) -> None:
        """Keeps scores."""
        self.scores |= {(context, each): score for each, score in scores.items()}


def test_adapters_of_one_base_share_the_reference(
    llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, tmp_path: Path
) -> None:
    """Another seed, rank or learning rate scores no training or selection row under the reference again."""
    store = Store()
    few = with_training(recipe, max_steps=4)  # which see every row
    for number, each in enumerate(
        [
            few,
            replace(few, seed=7),
            replace(few, lora=replace(few.lora, rank=2)),
            with_training(few, learning_rate=1e-4),
        ]
    ):
        loaded = load(llama_folder)
        store.n_missed = 0
        train_adapter(
            loaded,
            encode(loaded),
            each,
            Folders(tmp_path / f"{number}", tmp_path / f"{number}.steps"),
            str,
            cache=store,
        )
        n_requests = len(set(requests_of([*encode(loaded).training, *encode(loaded).selection])))
        assert (store.n_missed == 0) == (number > 0)
        assert len(store.scores) == n_requests


def test_a_second_stage_finds_no_reference_of_the_base(
    llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, tmp_path: Path
) -> None:
    """Its own is the base with the first stage's adapter, which is another key, and its first loss is ln 2."""
    store, few = Store(), with_training(recipe, max_steps=4)
    loaded = load(llama_folder)
    rows, first = encode(loaded), folders_in(tmp_path, "first")
    train_adapter(loaded, as_method(rows, "sft"), with_training(few, method="sft"), first, str)
    train_adapter(loaded, rows, few, folders_in(tmp_path, "of_base"), str, cache=store)
    of_base, store.n_missed = {*store.scores}, 0

    second = replace(folders_in(tmp_path, "second"), start=first.adapter)
    log_lines = train_adapter(loaded, rows, few, second, str, cache=store)

    assert store.n_missed == len(of_base) == len({*store.scores} - of_base)
    assert len({context for context, _ in store.scores}) == 2
    assert steps_of(log_lines)[0]["loss"] == pytest.approx(log(2), abs=1e-5)


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_reference_that_is_scored_once_cancels_in_long_answers(
    method: str, llama_folder: Path, load: Load, recipe: Recipe, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums of a thousand nats and more, which float32 rounds by 6e-5, differ by less before the first update."""
    step, handed = HarnessTrainerMixin.training_step, dict[str, torch.dtype]()

    def seen(trainer: Any, model: Any, inputs: dict[str, torch.Tensor], *rest: Any) -> torch.Tensor:
        handed.update({name: each.dtype for name, each in inputs.items() if name.startswith("ref_")})
        return step(trainer, model, inputs, *rest)

    monkeypatch.setattr(HarnessTrainerMixin, "training_step", seen)
    loaded = load(llama_folder)
    drawn = torch.Generator().manual_seed(0)

    def answer(prompt: tuple[int, ...]) -> Request:
        ids = torch.randint(3, loaded.base.config.vocab_size, (200,), generator=drawn)
        return Request(prompt, tuple(ids.tolist()))

    answers = [answer((3, 4, 5 + n // 2)) for n in range(16)]
    sides = [EncodedResponse(each, 0, 0) for each in answers]
    pairs = [EncodedPair(chosen, rejected) for chosen, rejected in zip(sides[::2], sides[1::2], strict=True)]
    few = with_training(recipe, method=method, max_steps=1, batch_size=4)

    (first,) = steps_of(train(loaded, as_method(EncodedRows(pairs), method), few))

    assert first["logps/chosen"] < -1000
    for name in ("rewards/chosen", "rewards/rejected"):
        assert abs(first[name]) < few.training.beta * 1e-5, name
    assert [*handed.values()] == [torch.float64] * 2


@pytest.mark.parametrize("damage", [None, b"", b'{"rows": 1}', b"[" * 5000])
def test_a_training_goes_on_with_the_reference_that_lies_beside_its_checkpoints(
    damage: bytes | None, llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, tmp_path: Path
) -> None:
    """Without the cache the file gives the same bits; a damaged file is written anew."""
    eight = with_training(recipe, max_steps=4, save_steps=2)
    folders = folders_in(tmp_path, "whole")
    loaded = load(llama_folder)
    train_adapter(loaded, encode(loaded), eight, folders, str)
    again = folders_in(tmp_path, "again")
    shutil.copytree(folders.checkpoints, again.checkpoints)
    kept = (again.checkpoints / REFERENCE_FILE).read_bytes()
    if damage is not None:
        (again.checkpoints / REFERENCE_FILE).write_bytes(damage)

    said: list[str] = []
    loaded = load(llama_folder)
    train_adapter(loaded, encode(loaded), eight, again, said.append)

    assert any("continues from the checkpoint of step 2" in line for line in said)
    assert (again.checkpoints / REFERENCE_FILE).read_bytes() == kept
    assert len(json.loads(kept)["sums"]) == 16
    first, second = ((each.adapter / "adapter_model.safetensors").read_bytes() for each in (folders, again))
    assert first == second


def test_a_step_that_runs_out_of_memory_is_taken_again_with_half(
    llama_folder: Path,
    load: Load,
    encode: Encode,
    recipe: Recipe,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Gradients, metrics and random numbers are those of a training that had the smaller budget from the start."""
    base = replace(
        with_training(recipe, batch_size=4, gradient_accumulation_steps=2), lora=replace(recipe.lora, dropout=0.1)
    )
    plain, calls = forward._values, []

    def running_out(model: Any, packs: Any, max_tokens: int, kernel: Any) -> Any:
        calls.append(max_tokens)
        if len(calls) == 2 and torch.is_grad_enabled():
            torch.rand(3)  # moves the random numbers, as a forward with dropout does
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return plain(model, packs, max_tokens, kernel)

    loaded = load(llama_folder)
    small = train(loaded, encode(loaded), with_dropout(base, 128), "small")
    monkeypatch.setattr(forward, "_values", running_out)
    said: list[str] = []
    loaded = load(llama_folder)
    halved = train(loaded, encode(loaded), with_dropout(base, 256), "halved", say=said.append)

    assert [line for line in said if "out of memory" in line] == [
        "out of memory: training goes on with at most 128 tokens at once"
    ]
    for one, other in zip(steps_of(small), steps_of(halved), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["num_tokens"] == other["num_tokens"]
    assert halved[-1]["max_tokens_at_once"] == 128


def with_dropout(recipe: Recipe, max_tokens: int) -> Recipe:
    return replace(recipe, training=replace(recipe.training, max_tokens_at_once=max_tokens))


def test_where_nothing_can_become_smaller_the_error_is_the_devices() -> None:
    """The budget stops at its lowest."""
    left = budget.Budget(budget.LOWEST_TOKENS_AT_ONCE)

    assert not left.halve()
    assert left.max_tokens == budget.LOWEST_TOKENS_AT_ONCE


def test_a_family_that_gives_other_numbers_is_trained_as_trl_does(
    llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a line that says by how much; where packs were asked for it is an error that says what to type."""
    from harness.training import fixture, trainer
    from harness.training.fixture import Workplace, build_or_reuse, planned_fixture
    from harness.training.packed_step.check import StepCheck

    wrong = StepCheck(16, 0.25, 1e-4, "q_proj")
    monkeypatch.setattr(trainer, "check_packed_step", lambda *_: wrong)
    loaded, said = load(llama_folder), []
    few = with_training(recipe, max_steps=1, engine="auto")

    built = build_or_reuse(loaded, encode(loaded), few, Workplace(tmp_path, said.append))

    assert said[0].startswith("training in packs differs from TRL's padded batches")
    assert said[0].endswith("it is trained in TRL's padded batches")
    assert len(said) == 1
    monkeypatch.setattr(trainer, "check_packed_step", lambda *_: pytest.fail("checked again"))
    assert planned_fixture(loaded, encode(loaded), few, tmp_path / "fixtures").reused
    again = build_or_reuse(loaded, encode(loaded), few, Workplace(tmp_path, said.append))
    assert again.reused
    assert again.folder == built.folder
    assert said[1:] == said[:1]
    monkeypatch.setattr(trainer, "check_packed_step", lambda *_: wrong)
    record = json.loads((built.folder / fixture.FIXTURE_FILE).read_text())
    assert record["recipe"]["training"]["engine"] == "trl"
    with pytest.raises(TrainingError, match=r"training\.engine: .* by at most 2\.5e-01 .*set it to trl"):
        build_or_reuse(loaded, encode(loaded), with_training(few, engine="packed"), Workplace(tmp_path, str))
    with pytest.raises(UnpackableModelError):
        train_adapter(loaded, encode(loaded), with_training(few, engine="packed"), folders_in(tmp_path, "asked"), str)


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("path", ["tree", "prefix", "plain"])
def test_rows_are_scored_between_steps_by_every_path(
    path: str, llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path
) -> None:  # fmt: skip
    """None falls back to a slower one, as where a row is longer than a pack; the statistics are the same by each."""
    monkeypatch.setattr(
        "harness.training.recorder.plan_for", lambda model: replace(plan_for(model), path=path, max_pack_tokens=64)
    )
    loaded, said = load(llama_folder), list[str]()
    rows = encode(loaded)

    log = train_adapter(loaded, rows, with_training(recipe, **TEN_STEPS), folders_in(tmp_path, "packed"), said.append)

    assert not [line for line in said if "scored by path" in line or "out of memory" in line]
    first, last = (line for line in log if line["kind"] == "selection")
    assert first["rewards/accuracies"] == 0.5
    loaded = load(llama_folder)
    by_trl = with_training(recipe, **TEN_STEPS, engine="trl")
    trl = train_adapter(loaded, rows, by_trl, folders_in(tmp_path, "trl"), str)
    (*_, expected) = (line for line in trl if line["kind"] == "selection")
    assert last["rewards/margins"] == pytest.approx(expected["rewards/margins"], rel=2e-3, abs=2e-4)


def test_layers_of_the_adapter_keep_their_gradients_in_steps(
    llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They are no frozen ones, though they were while the reference was scored with the adapter off."""
    monkeypatch.setattr(frozen_product, "is_faster_here", lambda: True)
    replaced: list[list[str]] = []
    log = HarnessTrainerMixin.log

    def logged(trainer: Any, *arguments: Any) -> None:
        layers = trainer.model.named_modules()
        replaced.append([name for name, layer in layers if isinstance(vars(layer).get("forward"), partial)])
        log(trainer, *arguments)

    monkeypatch.setattr(HarnessTrainerMixin, "log", logged)
    loaded = load(llama_folder)
    rows = replace(encode(loaded), selection=())
    train_adapter(loaded, rows, with_training(recipe, **TEN_STEPS), folders_in(tmp_path, "packed"), str)

    assert replaced[0]
    assert not [name for name in replaced[0] if "lora" in name]
