"""What the benchmark of training measures: workloads, and one training of a workload with its time and memory."""

import math
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from rows import hh_rlhf_pairs, ultrafeedback_pairs
from subjects import SHAPES, build_subject

from harness.config.schema import LoraConfig, ModelConfig, TrainingConfig
from harness.models.base import LoadedModel, load_model
from harness.training import trainer
from harness.training.recipe import EncodedRows, Recipe, requests_of, usable_recipe
from harness.training.trainer import Folders, train_adapter
from suites.engine.cache.score_cache import ScoreCache
from suites.engine.encoding import Encoder
from suites.engine.units import is_out_of_memory
from suites.inputs import Pair

ROWS_A_STEP = 8
MICRO_BATCHES = (1, 2, 4, 8)
GIB = 2**30
LARGEST_BYTES = 20 * GIB
LEFT_FREE_BYTES = GIB
SFT_TOKENS = range(20, 401)
"""Lengths of the answers of SFT."""
LEARNING_RATES = (5e-5, 1e-4, 2e-4)
Kind = Literal["speed", "memory", "nf4"]


@dataclass(frozen=True, slots=True)
class Workload:
    """What both sides train on, and the bar: a least ratio of times, or a largest one of memory or of NF4's time."""

    name: str
    title: str
    shape: str
    pairs: Callable[[Path, int], list[Pair]]
    max_tokens: int
    bar: float
    aim: float
    method: str = "dpo"
    learning_rates: tuple[float, ...] = (1e-4,)
    kind: Kind = "speed"
    device: str = "cpu"


WORKLOADS = (
    Workload("hh_rlhf", "135 M Llama, hh-rlhf, 512 tokens", "llama", hh_rlhf_pairs, 512, 1.9, 2.4),
    Workload("ultrafeedback", "the same, UltraFeedback, 768 tokens", "llama", ultrafeedback_pairs, 768, 1.5, 1.8),
    Workload("gpt2", "GPT-2 124M shape, hh-rlhf, 512 tokens", "gpt2", hh_rlhf_pairs, 512, 2.0, 2.5),
    Workload(
        "sweep", "three learning rates, first row", "llama", hh_rlhf_pairs, 512, 2.3, 3.0, learning_rates=LEARNING_RATES
    ),
    Workload("sft", "SFT, answers of 20-400 tokens, batch 8", "llama", hh_rlhf_pairs, 512, 1.0, 1.3, method="sft"),
    Workload("memory", "peak memory of the first row", "llama", hh_rlhf_pairs, 512, 1.0, 0.6, kind="memory"),
    Workload("nf4", "NF4, first row, without fast bf16", "llama", hh_rlhf_pairs, 512, 1.5, 1.1, kind="nf4"),
    Workload(
        "gpu_hh_rlhf", "1 B Llama, bf16, hh-rlhf", "llama-1b", hh_rlhf_pairs, 512, 1.4, 2.0, device="cuda"
    ),
    Workload(
        "gpu_ultrafeedback",
        "1 B Llama, bf16, UltraFeedback",
        "llama-1b",
        ultrafeedback_pairs,
        768,
        1.15,
        1.5,
        device="cuda",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """What a training took."""

    cpu_seconds: float
    seconds: float
    check_seconds: float
    """Of the CPU for the check that packs agree with TRL, which is made once however many steps follow."""
    losses: tuple[float, ...]

    def time(self, device: str) -> float:
        """Seconds of the CPU, or those on the clock where a GPU computes."""
        return self.seconds if device == "cuda" else self.cpu_seconds


@dataclass(frozen=True, slots=True)
class Step:
    """What one step took; infinite where it did not end."""

    peak_bytes: float = math.inf
    time: float = math.inf
    problem: str = ""
    """Why it did not end."""

    def __str__(self) -> str:
        return self.problem or f"{self.time:.1f} s, {self.peak_bytes / 2**20:,.0f} MiB"


def train_all(loaded: LoadedModel, rows: EncodedRows, workload: Workload, engine: str, micro: int, steps: int) -> Cost:
    """Train every learning rate of a workload, with one score cache for all of them."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        ScoreCache.open(Path(scratch) / "scores.sqlite", lambda _line: None) as cache,
        _checks_timed() as check_seconds,
    ):
        start, started = time.process_time(), time.perf_counter()
        losses: list[float] = []
        for number, rate in enumerate(workload.learning_rates):
            recipe, _ = usable_recipe(
                Recipe(
                    LoraConfig(rank=16, alpha=16, dropout=0.0),
                    TrainingConfig(
                        method=workload.method,  # type: ignore[arg-type]
                        engine=engine,  # type: ignore[arg-type]
                        reference="once" if engine == "packed" else "every_step",
                        batch_size=micro,
                        gradient_accumulation_steps=ROWS_A_STEP // micro,
                        max_steps=steps,
                        learning_rate=rate,
                        scheduler="constant",
                        gradient_checkpointing="off",
                    ),
                    seed=1,
                ),
                loaded,
            )
            folders = Folders(
                adapter=Path(scratch) / f"adapter-{number}",
                checkpoints=Path(scratch) / f"steps-{number}",
                check=Path(scratch) / "check.json",
            )
            log = train_adapter(loaded, rows, recipe, folders, lambda _line: None, cache=cache)
            losses += [float(line["loss"]) for line in log if line["kind"] == "train"]
        return Cost(time.process_time() - start, time.perf_counter() - started, sum(check_seconds), tuple(losses))


def one_step(train: Callable[[], Cost], device: str, longest: float = math.inf) -> Step:
    """Take a step and return its peak memory and time; on a CPU in a process of its own, within a limit of memory.

    Args:
        train: takes the step.
        device: "cpu" or "cuda".
        longest: CPU seconds after which the process is ended, because it cannot be the fastest any more.
    """
    if device == "cuda":
        return _step_on_gpu(train)
    context = get_context("fork")
    answers = context.SimpleQueue()
    largest = largest_bytes()
    too_large = Step(problem=f"does not fit {largest / GIB:.1f} GiB")

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (largest, largest))
        if longest < math.inf:
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(longest), math.ceil(longest) + 60))
        try:
            cost = train()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            answers.put(too_large)
        else:
            answers.put(Step(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, cost.cpu_seconds))

    child = context.Process(target=work)
    child.start()
    child.join()
    if child.exitcode == -signal.SIGXCPU:
        return Step(problem=f"more than {longest:.1f} s")
    if child.exitcode == -signal.SIGKILL:  # by the system, where memory ran out in spite of the limit
        return too_large
    if child.exitcode:
        raise RuntimeError(f"a training in a process of its own ended with {child.exitcode}")
    return answers.get()


def largest_bytes() -> int:
    """The memory that a step may take: 20 GiB, or what the machine has free but for one, where that is less."""
    own = psutil.Process().memory_info().rss
    return min(LARGEST_BYTES, psutil.virtual_memory().available + own - LEFT_FREE_BYTES)


def _step_on_gpu(train: Callable[[], Cost]) -> Step:
    """Takes the step twice: in the first one FlexAttention is compiled for lengths that it has not met."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        train()
        cost = train()
    except torch.cuda.OutOfMemoryError:
        return Step(problem="does not fit")
    return Step(torch.cuda.max_memory_allocated(), cost.seconds)


@lru_cache(maxsize=1)
def load(shape: str, device: str, quantization: str, texts: tuple[str, ...], folder: Path | None) -> LoadedModel:
    """The model of a folder in place of the Llama shape, or a shape with random weights; the newest is kept."""
    options: dict[str, Any] = {"quantization": quantization, "device": device}
    options["dtype"] = "bfloat16" if device == "cuda" else "float32"
    if folder is not None and shape == "llama":
        return load_model(ModelConfig(name=str(folder), **options))
    with tempfile.TemporaryDirectory() as scratch:
        subject = build_subject(SHAPES[shape], texts, "cpu")
        subject.model.save_pretrained(scratch)
        subject.tokenizer.save_pretrained(scratch)
        return load_model(ModelConfig(name=scratch, **options))


def encode(loaded: LoadedModel, workload: Workload, data_root: Path, count: int) -> EncodedRows:
    """The first rows of a workload in token ids."""
    encoder = Encoder(loaded.tokenizer, max_prompt_tokens=workload.max_tokens // 2, max_tokens=workload.max_tokens)
    if workload.method != "sft":
        return EncodedRows(encoder.encode_pairs(workload.pairs(data_root, count)))
    answers = requests_of(encoder.encode_pairs(workload.pairs(data_root, 4 * count)))[::2]
    return EncodedRows([each for each in answers if len(each.response_ids) in SFT_TOKENS][:count])


@contextmanager
def _checks_timed() -> Iterator[list[float]]:
    """Yields the CPU seconds of each check of the packed engine within the block."""
    seconds: list[float] = []
    check = trainer.check_packed_step

    def timed(*arguments: Any) -> Any:
        start = time.process_time()
        result = check(*arguments)
        seconds.append(time.process_time() - start)
        return result

    trainer.check_packed_step = timed
    try:
        yield seconds
    finally:
        trainer.check_packed_step = check
