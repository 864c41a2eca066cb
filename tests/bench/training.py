"""Compares training in packs with TRL's own batches, alternating in one process: `nox -s bench -- training`.

    nox -s bench -- training --only hh_rlhf,sweep --threads 1 --out training.md
    nox -s bench -- training --model ../smollm2      # a model folder in place of random weights
    nox -s bench -- training --quick                 # a tiny model and one step, a smoke test

Measured is everything from encoded rows to the saved adapter, the reference included. TRL gets its best micro-batch.
Both sides run TRL's trainers; only the forward differs. Seconds are those of the CPU where nothing else computes.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch
from rows import all_texts, hh_rlhf_pairs, ultrafeedback_pairs
from subjects import SHAPES, build_subject
from tabulate import tabulate

from harness.config.schema import LoraConfig, ModelConfig, TrainingConfig
from harness.models.base import LoadedModel, load_model
from harness.training.recipe import EncodedRows, Recipe, requests_of
from harness.training.trainer import Folders, train_adapter
from suites.engine.cache.score_cache import ScoreCache
from suites.engine.chat_template import ensure_template
from suites.engine.encoding import Encoder
from suites.inputs import Pair

DATA_ROOT = Path(__file__).parents[3] / "shared" / "data"
ROWS_A_STEP = 8
STEPS = 2
MICRO_BATCHES = (1, 2, 4, 8)
GIB = 2**30
LARGEST_BYTES = 20 * GIB
LEARNING_RATES = (5e-5, 1e-4, 2e-4)
LARGEST_DIFFERENCE = 1e-3
"""Of the losses of a step on both sides."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What both sides train on."""

    name: str
    title: str
    shape: str
    pairs: Callable[[Path, int], list[Pair]]
    max_tokens: int
    at_least: float
    aim: float
    method: str = "dpo"
    learning_rates: tuple[float, ...] = (1e-4,)
    quantization: str = "none"


WORKLOADS = (
    Workload("hh_rlhf", "135 M Llama shape, hh-rlhf, 512 tokens", "llama", hh_rlhf_pairs, 512, 1.9, 2.4),
    Workload("ultrafeedback", "the same, UltraFeedback, 768 tokens", "llama", ultrafeedback_pairs, 768, 1.5, 1.8),
    Workload("gpt2", "GPT-2 124M shape, hh-rlhf, 512 tokens", "gpt2", hh_rlhf_pairs, 512, 2.0, 2.5),
    Workload(
        "sweep",
        "three learning rates, hh-rlhf, 512 tokens",
        "llama",
        hh_rlhf_pairs,
        512,
        2.3,
        3.0,
        learning_rates=LEARNING_RATES,
    ),
    Workload("sft", "SFT, hh-rlhf, 512 tokens", "llama", hh_rlhf_pairs, 512, 1.0, 1.3, method="sft"),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a training took."""

    cpu_seconds: float
    seconds: float
    losses: tuple[float, ...]


@click.command("training", help=(__doc__ or "").split("\n", 1)[0])
@click.option("--only", "named", multiple=True, help="Some workloads; may be repeated (default: all).")
@click.option(
    "--model", "folder", type=click.Path(path_type=Path, exists=True), help="Folder in place of the Llama shape."
)
@click.option("--repetitions", type=click.IntRange(1), default=3, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--quick", is_flag=True, help="A tiny model, one step, one repetition.")
@click.option("--data-root", type=click.Path(path_type=Path), envvar="HARNESS_DATA_ROOT", default=DATA_ROOT)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File that the table is written to.")
def training(
    named: Sequence[str],
    folder: Path | None,
    repetitions: int,
    threads: int,
    quick: bool,
    data_root: Path,
    out: Path | None,
) -> bool:
    """Prints a line for every workload; returns whether both sides had the same losses."""
    names = list(dict.fromkeys(name for part in named for name in part.split(",")))
    unknown = set(names) - {workload.name for workload in WORKLOADS}
    if unknown:
        raise click.BadParameter(f"no workload {', '.join(sorted(unknown))}")
    torch.set_num_threads(threads)
    chosen = [workload for workload in WORKLOADS if not names or workload.name in names]
    texts = all_texts(data_root, 40 if quick else None)
    rows, holds = [], True
    for workload in chosen:
        settings = replace(workload, shape="tiny") if quick else workload
        line, agrees = measure(settings, texts, data_root, folder, 1 if quick else repetitions, quick=quick)
        rows.append(line)
        holds &= agrees
        click.echo(f"{workload.name}: {line}", err=True)
    report = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True) + "\n"
    click.echo(report)
    if out is not None:
        out.write_text(report, encoding="utf-8")
    return holds


def measure(
    workload: Workload, texts: Sequence[str], data_root: Path, folder: Path | None, repetitions: int, *, quick: bool
) -> tuple[dict[str, str], bool]:
    """Returns a line of the table, and whether losses of both sides agree."""
    loaded = _loaded(workload, texts, folder)
    n_steps = 1 if quick else STEPS
    rows = _encoded(loaded, workload, data_root, ROWS_A_STEP * n_steps)
    micro_batches = MICRO_BATCHES[:2] if quick else MICRO_BATCHES
    tried = {micro: _peak_and_cost(loaded, rows, workload, "trl", micro, 1) for micro in micro_batches}
    fitting = {micro: cost for micro, (peak, cost) in tried.items() if peak <= LARGEST_BYTES} or {
        micro: cost for micro, (_, cost) in tried.items()
    }
    best = min(fitting, key=lambda micro: fitting[micro].cpu_seconds)
    ours, theirs = [], []
    for _ in range(repetitions):
        ours.append(_train_all(loaded, rows, workload, "packed", ROWS_A_STEP, n_steps))
        theirs.append(_train_all(loaded, rows, workload, "trl", best, n_steps))
    peaks = {
        "ours": _peak_and_cost(loaded, rows, workload, "packed", ROWS_A_STEP, 1)[0],
        "same": _peak_and_cost(loaded, rows, workload, "packed", best, 1)[0],
        "theirs": tried[best][0],
    }
    ratio = median(other.cpu_seconds / own.cpu_seconds for own, other in zip(ours, theirs, strict=True))
    difference = max(
        abs(one - other)
        for own, their in zip(ours, theirs, strict=True)
        for one, other in zip(own.losses, their.losses, strict=True)
    )
    reached = "reached" if ratio >= workload.at_least else "NOT reached"
    verdict = "" if quick else f" (at least {workload.at_least:g}x: {reached}; aim {workload.aim:g}x)"
    return {
        "workload": workload.title,
        "ours (CPU s)": f"{median(own.cpu_seconds for own in ours):.1f}",
        "TRL (CPU s)": f"{median(their.cpu_seconds for their in theirs):.1f}, {best} rows at a time",
        "ratio": f"{ratio:.2f}x{verdict}",
        "peak": f"{_mib(peaks['ours'])}, with {best} rows at a time {_mib(peaks['same'])}; TRL {_mib(peaks['theirs'])}",
        "TRL by rows at a time": ", ".join(
            f"{micro}: {cost.cpu_seconds:.1f} s, {_mib(peak)}" for micro, (peak, cost) in tried.items()
        ),
        "losses differ by": f"{difference:.1e}",
    }, difference < LARGEST_DIFFERENCE


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f} MiB"


def _train_all(
    loaded: LoadedModel, rows: EncodedRows, workload: Workload, engine: str, micro: int, n_steps: int
) -> Cost:
    """Trains every learning rate of a workload, with one score cache for all of them."""
    with tempfile.TemporaryDirectory() as scratch, _cache(Path(scratch) / "scores.sqlite") as cache:
        start, started = time.process_time(), time.perf_counter()
        losses: list[float] = []
        for number, rate in enumerate(workload.learning_rates):
            recipe = Recipe(
                LoraConfig(rank=16, alpha=16, dropout=0.0),
                TrainingConfig(
                    method=workload.method,  # type: ignore[arg-type]
                    engine=engine,  # type: ignore[arg-type]
                    reference="once" if engine == "packed" else "every_step",
                    batch_size=micro,
                    gradient_accumulation_steps=ROWS_A_STEP // micro,
                    max_steps=n_steps,
                    learning_rate=rate,
                    scheduler="constant",
                    gradient_checkpointing="off",
                ),
                seed=1,
            )
            folders = Folders(Path(scratch) / f"adapter-{number}", Path(scratch) / f"steps-{number}")
            log = train_adapter(loaded, rows, recipe, folders, lambda _line: None, cache=cache)
            losses += [float(line["loss"]) for line in log if line["kind"] == "train"]
        return Cost(time.process_time() - start, time.perf_counter() - started, tuple(losses))


def _peak_and_cost(
    loaded: LoadedModel, rows: EncodedRows, workload: Workload, engine: str, micro: int, n_steps: int
) -> tuple[int, Cost]:
    """Peak memory in bytes of a process that takes so many steps, and what they took."""
    once = replace(workload, learning_rates=workload.learning_rates[:1])
    context = get_context("fork")
    answers = context.SimpleQueue()

    def work() -> None:
        cost = _train_all(loaded, EncodedRows(rows.training[: ROWS_A_STEP * n_steps]), once, engine, micro, n_steps)
        answers.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, cost))

    child = context.Process(target=work)
    child.start()
    child.join()
    if child.exitcode:
        return sys.maxsize, Cost(float("inf"), float("inf"), ())
    peak, cost = answers.get()
    return int(peak), cost


@contextmanager
def _cache(file: Path) -> Iterator[ScoreCache]:
    with ScoreCache.open(file, lambda _line: None) as cache:
        yield cache


def _loaded(workload: Workload, texts: Sequence[str], folder: Path | None) -> LoadedModel:
    """The model of a folder, or of a shape with random weights."""
    if folder is not None and workload.shape == "llama":
        return load_model(ModelConfig(name=str(folder), quantization="none", dtype="float32", device="cpu"))
    subject = build_subject(SHAPES[workload.shape], texts, "cpu")
    ensure_template(subject.tokenizer, "auto")
    for module in subject.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # as in a model that `load_model` loads
    return LoadedModel(
        base=subject.model,
        tokenizer=subject.tokenizer,
        name=workload.shape,
        device="cpu",
        dtype="float32",
        compute_dtype="float32",
        quantization="none",
        template="instruction",
        fingerprint=workload.shape,
        max_positions=SHAPES[workload.shape].positions,
    )


def _encoded(loaded: LoadedModel, workload: Workload, data_root: Path, count: int) -> EncodedRows:
    encoder = Encoder(loaded.tokenizer, max_prompt_tokens=workload.max_tokens // 2, max_tokens=workload.max_tokens)
    pairs: Any = encoder.encode_pairs(workload.pairs(data_root, count))
    return EncodedRows(requests_of(pairs)[::2] if workload.method == "sft" else pairs)
