"""A dry run tells what the real one takes, from the real thing, and leaves the base as it was."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config.schema import LoraConfig, TrainingConfig
from harness.models.base import LoadedModel
from harness.training import dry_run
from harness.training.dry_run import Estimate, estimate, estimates
from harness.training.memory import training_memory
from harness.training.recipe import EncodedRows, LogLine, RatedRequest, Recipe, TrainingError, requests_of
from harness.training.variants import Variant
from suites.engine.encoding import Encoder
from suites.engine.scoring import ModelScorer
from suites.inputs import Pair

Load = Callable[..., LoadedModel]
Encode = Callable[[LoadedModel], EncodedRows]
GIB = 2**30


def of_method(rows: EncodedRows, method: str) -> EncodedRows:
    """The rows of pairs in the form that a method learns from."""
    if method == "dpo":
        return rows
    requests = [side.request for pair in rows.training for side in (pair.chosen, pair.rejected)]  # type: ignore[union-attr]
    if method == "sft":
        return EncodedRows(requests[::2], rows.selection)
    return EncodedRows([RatedRequest(each, n % 2 == 0) for n, each in enumerate(requests)], rows.selection)


@pytest.mark.parametrize("method", ["dpo", "kto", "sft"])
def test_it_tells_what_training_then_takes(
    method: Any, llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Any
) -> None:
    """Weights and steps are the trainer's own, tokens those of the rows; the base is bit for bit what it was."""
    loaded = load(llama_folder)
    before = {name: weight.clone() for name, weight in loaded.base.state_dict().items()}
    rows = of_method(encode(loaded), method)
    training = replace(recipe.training, method=method, epochs=1.5, gradient_accumulation_steps=2, batch_size=3)
    recipe = replace(recipe, training=training)

    told = estimate(loaded, rows, recipe, probe_seconds=0.1)

    assert loaded.adapters is None
    after = loaded.base.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in after.items())
    summary = train(loaded, rows, recipe)[-1]
    assert (told.trainable_parameters, told.n_steps) == (summary["trainable_parameters"], summary["step"])
    assert (told.n_rows, told.rows_a_step) == (len(rows.training), 6)
    lengths = [
        len(row.prompt_ids) + len(side)
        for row in encode(loaded).training
        for side in (row.chosen_ids, row.rejected_ids)
    ]
    assert told.n_tokens == sum(lengths if method != "sft" else lengths[::2])
    assert told.longest_tokens == max(lengths if method != "sft" else lengths[::2])
    assert told.fits
    assert told.peak_bytes is not None
    assert 0 < told.peak_bytes < told.device_bytes
    assert told.seconds is not None
    assert told.seconds > 0


def test_a_second_pass_takes_twice_as_long(
    llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is tokens by speed: of all passes, of the reference once, and of every time selection rows are measured."""
    loaded, rows = load(llama_folder), encode(load(llama_folder))
    monkeypatch.setattr(dry_run, "_probe", lambda *_: dry_run._Probe(1, 100.0, 1000.0, GIB))

    once, twice, often = (
        estimate(loaded, rows, replace(recipe, training=replace(recipe.training, **changes)))
        for changes in ({"epochs": 1.0}, {"epochs": 2.0}, {"epochs": 2.0, "eval_steps": 1})
    )

    n_selection_tokens = sum(2 * len(r.prompt_ids) + len(r.chosen_ids) + len(r.rejected_ids) for r in rows.selection)
    reference = once.n_tokens / 1000
    assert once.seconds == pytest.approx(once.n_tokens / 100 + reference + 3 * n_selection_tokens / 1000)
    assert twice.seconds == pytest.approx(twice.n_tokens * 2 / 100 + reference + 3 * n_selection_tokens / 1000)
    assert often.seconds == pytest.approx(often.n_tokens * 2 / 100 + reference + 6 * n_selection_tokens / 1000)


@pytest.mark.parametrize("eval_steps", [None, 1, 2, 3, 5])
def test_selection_rows_are_measured_as_often(
    *, eval_steps: int | None, llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The number of passes over selection rows is what training really does."""
    loaded = load(llama_folder)
    passes = []
    plain = ModelScorer.score
    monkeypatch.setattr(ModelScorer, "score", lambda *given: passes.append(1) or plain(*given))  # type: ignore[func-returns-value]

    run = replace(recipe.training, eval_steps=eval_steps, reference="every_step")
    train(loaded, encode(loaded), replace(recipe, training=run))

    assert dry_run._selection_passes(4, eval_steps) == len(passes)


def test_a_device_with_less_memory(
    llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said that it does not fit, with both numbers and what to do."""
    monkeypatch.setattr(dry_run, "free_bytes", lambda *_devices: GIB)
    monkeypatch.setattr(dry_run, "own_bytes", lambda _device: GIB)
    monkeypatch.setattr(dry_run, "_probe", lambda *_: dry_run._Probe(1, 100.0, None, 3 * GIB))
    loaded = load(llama_folder)

    told = estimate(loaded, encode(loaded), recipe)

    assert not told.fits
    assert told.reason.startswith("does not fit: peak 3.0 GiB of 2.0 GiB available on cpu; lower ")
    assert told.peak_bytes == 3 * GIB


def test_memory_by_arithmetic_is_said_before_any_step(
    llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From shapes alone: 16 bytes a trained weight, 8 a logit, 17 x 4 a hidden unit of a layer."""
    loaded = load(llama_folder)
    rows, recipe = encode(loaded), replace(recipe, training=replace(recipe.training, engine="trl"))
    events: list[str] = []
    monkeypatch.setattr(dry_run, "_probe", lambda *_: events.append("step") or dry_run._Probe(1, 100.0, None, GIB))  # type: ignore[func-returns-value]

    told = estimate(loaded, rows, recipe, say=events.append)

    assert events[0].startswith("by arithmetic about ")
    assert events[1:] == ["step"]
    memory = training_memory(loaded, rows, recipe)
    # Four attention and three feed-forward matrices of width 32, 64 inside and 16 for keys and values, in two layers.
    sizes = 2 * ((32 + 32) * 2 + (32 + 16) * 2 + (32 + 64) * 3)
    assert memory.adapter == 16 * 4 * sizes
    n_positions = 2 * 4 * told.longest_tokens
    assert memory.logits == n_positions * loaded.base.config.vocab_size * 8
    assert memory.activations == 17 * 4 * 2 * n_positions * 32
    on = replace(recipe, training=replace(recipe.training, gradient_checkpointing="on"))
    assert training_memory(loaded, rows, on).activations == (2 + 17) * 4 * n_positions * 32


def test_packs_hold_the_activations_of_so_many_tokens_as_are_allowed(
    llama_folder: Path, load: Load, encode: Encode, recipe: Recipe
) -> None:
    """And never more logits than of one chunk."""
    loaded = load(llama_folder)
    packed = replace(recipe, training=replace(recipe.training, engine="packed", max_tokens_at_once=64))

    memory = training_memory(loaded, encode(loaded), packed)

    longest = max(request.n_inputs + 1 for request in requests_of(encode(loaded).training))
    assert memory.activations == 17 * 4 * 2 * max(64, 2 * longest) * 32
    assert memory.logits <= 2**24 * 8


@pytest.mark.parametrize("limit", ["memory", "time"])
def test_a_batch_that_would_not_fit_is_never_tried(
    limit: str, llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row alone tells what a whole batch would take, in memory or in time."""
    plain, sizes = dry_run.train_adapter, []

    def remembered(loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, *others: Any) -> tuple[LogLine, ...]:
        sizes.append(recipe.training.batch_size)
        log = plain(loaded, rows, recipe, *others)
        peak_bytes = 2 * GIB if limit == "memory" else GIB
        return tuple(line | {"peak_memory_bytes": peak_bytes} for line in log)

    monkeypatch.setattr(dry_run, "train_adapter", remembered)
    monkeypatch.setattr(dry_run, "own_bytes", lambda _device: GIB)
    monkeypatch.setattr(dry_run, "free_bytes", lambda *_devices: 3 * GIB)
    if limit == "time":
        monkeypatch.setattr(dry_run, "_LONGEST_STEP_SECONDS", 0.0)
    loaded = load(llama_folder)

    told = estimate(loaded, encode(loaded), recipe, probe_seconds=0.01)

    assert sizes == [1, 1]
    assert told.reason.endswith("extrapolated from a batch of 1" if limit == "time" else "gradient_checkpointing=on")
    if limit == "memory":
        assert (told.fits, told.peak_bytes) == (False, 5 * GIB)  # 1 held, and 1 more for each of 4 rows
    assert told.seconds is not None


@pytest.mark.parametrize(("engine", "sizes"), [("packed", [1, 4, 4]), ("trl", [1, 1])])
def test_a_batch_in_packs_takes_the_memory_of_what_is_held_at_a_time(
    engine: str, sizes: list[int], llama_folder: Path, load: Load, encode: Encode, recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Here of one pair, so that a batch of four takes no more, and is tried; padded batches take four times as much."""
    plain, tried = dry_run.train_adapter, list[int]()

    def remembered(loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, *others: Any) -> tuple[LogLine, ...]:
        tried.append(recipe.training.batch_size)
        return tuple(line | {"peak_memory_bytes": 2 * GIB} for line in plain(loaded, rows, recipe, *others))

    monkeypatch.setattr(dry_run, "train_adapter", remembered)
    monkeypatch.setattr(dry_run, "own_bytes", lambda _device: GIB)
    monkeypatch.setattr(dry_run, "free_bytes", lambda *_devices: 3 * GIB)
    loaded = load(llama_folder)
    training = replace(recipe.training, engine=engine, max_tokens_at_once=32 if engine == "packed" else None)

    told = estimate(loaded, encode(loaded), replace(recipe, training=training), probe_seconds=0.01)

    assert tried == sizes
    assert (told.fits, told.peak_bytes) == ((True, 2 * GIB) if engine == "packed" else (False, 5 * GIB))


def test_running_out_of_memory_is_an_answer(
    llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU raises then is told in words, and time and weights are left open."""

    def run_out(*_: object) -> tuple[LogLine, ...]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(dry_run, "train_adapter", run_out)
    loaded = load(llama_folder)

    told = estimate(loaded, encode(loaded), recipe)

    assert (told.fits, told.seconds, told.trainable_parameters, told.peak_bytes) == (False, None, None, None)
    assert "the probe exceeded the " in told.reason
    assert [line.split()[0] for line in told.as_lines()] == ["rows", "steps", "products", "memory"]


def test_a_recipe_that_cannot_be_trained(llama_folder: Path, load: Load, encode: Encode, recipe: Recipe) -> None:
    """Is refused in the words of the training itself."""
    loaded = load(llama_folder)
    wrong = replace(recipe, training=replace(recipe.training, loss_type=("kto_pair",)))

    with pytest.raises(TrainingError, match=r"training\.loss_type"):
        estimate(loaded, encode(loaded), wrong)


@pytest.fixture
def told() -> Estimate:
    return Estimate(1200, 345_678, 512, 150, 8, "cpu", "in float32, which is fast here", 4 * GIB, fits=True,
                    reason="fits: 1.5 GiB", seconds=100.0, tokens_per_second=3456.7, trainable_parameters=1_081_344,
                    peak_bytes=GIB)  # fmt: skip


def test_lines_for_the_terminal(told: Estimate) -> None:
    """What is known, one fact a line."""
    assert told.as_lines() == (
        "rows             1,200, 345,678 tokens, the longest sequence 512",
        "steps            150 of 8 rows",
        "trained weights  1,081,344",
        "time             about 2 min, 3,457 tokens/s",
        "products         in float32, which is fast here",
        "memory           fits: 1.5 GiB",
    )


def test_adapters_of_equal_cost_are_probed_once(told: Estimate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning rates and seeds share an estimate, a higher rank has its own; the sum is of all."""
    asked: list[Recipe] = []
    monkeypatch.setattr(dry_run, "estimate", lambda _loaded, _rows, recipe, **_: asked.append(recipe) or told)  # type: ignore[func-returns-value]
    rows = EncodedRows((), (), {})
    recipes = {
        "learning_rate=1e-5": Recipe(LoraConfig(), TrainingConfig(learning_rate=1e-5), seed=1),
        "learning_rate=2e-5": Recipe(LoraConfig(), TrainingConfig(learning_rate=2e-5), seed=2),
        "rank=64": Recipe(LoraConfig(rank=64), TrainingConfig(), seed=1),
    }

    text = estimates(Any, [(Variant(name, recipe), rows) for name, recipe in recipes.items()])  # type: ignore[arg-type]

    assert [recipe.lora.rank for recipe in asked] == [16, 64]
    assert text.startswith("learning_rate=1e-5; learning_rate=2e-5:\n  rows ")
    assert text.endswith("\n\nall 3 adapters: about 5 min")

    shared = replace(told, reference_seconds=told.seconds / 2)
    monkeypatch.setattr(dry_run, "estimate", lambda *_, **__: shared)
    text = estimates(Any, [(Variant(name, recipe), rows) for name, recipe in recipes.items()])  # type: ignore[arg-type]
    assert text.endswith("\n\nall 3 adapters: about 3 min")  # 4 halves of 100 s


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "sft"])
def test_the_time_is_about_right(
    method: Any, wide_llama_folder: Path, load: Load, train: Any, preference_pairs: list[Pair]
) -> None:
    """A run of sixty steps takes between a third of what was told and three times as much."""
    loaded = load(wide_llama_folder)
    encoder = Encoder(loaded.tokenizer, max_prompt_tokens=128, max_tokens=256)
    longer = [replace(pair, chosen=pair.chosen * (1 + n % 5)) for n, pair in enumerate(preference_pairs * 20)]
    encoded = encoder.encode_pairs(longer)
    rows = of_method(EncodedRows(encoded[:200], encoded[200:]), method)
    training = TrainingConfig(
        method=method, engine="packed", batch_size=4, max_steps=60, eval_steps=20, learning_rate=1e-4
    )
    recipe = Recipe(LoraConfig(), training, seed=1)

    told = estimate(loaded, rows, recipe)
    started = time.perf_counter()
    real = train(loaded, rows, recipe)
    whole = time.perf_counter() - started

    print(f"{method}: told {told.seconds:.2f} s, took {real[-1]['seconds']:.2f} s, in all {whole:.2f} s")  # noqa: T201
    print(f"told {told.peak_bytes / GIB:.2f} GiB, took {real[-1]['peak_memory_bytes'] / GIB:.2f} GiB")  # noqa: T201
    assert real[-1]["seconds"] / 3 < told.seconds < real[-1]["seconds"] * 3
    assert 0.5 < told.peak_bytes / real[-1]["peak_memory_bytes"] <= 1.0
