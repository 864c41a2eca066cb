"""Compares the speed of the scoring engine with its peers, in one process, alternating: `nox -s bench -- engine`.

    nox -s bench -- engine --model gpt2 --only truthfulqa,hh_rlhf --out bench.md
    nox -s bench -- engine --quick          # small samples once, a smoke test

Random weights and real rows: speed depends on shapes and tokens alone.
"""

import os
import platform
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

import click
import torch
from outcomes import Outcome, agreement
from rate import Matmuls, counting, head_rows, matmuls_of, measured_rate, timed
from rows import all_texts
from subjects import SHAPES, build_subject
from table import Line, Times, render
from workloads import NAMES, Bench, Sizes, Workload

DATA_ROOT = Path(__file__).parents[3] / "shared" / "data"
SIZES = {
    "gpt2": Sizes(truthfulqa=16, arc_easy=64, winogrande=128, hh_rlhf=32, ultrafeedback=12, reward=16),
    "llama": Sizes(truthfulqa=6, arc_easy=48, winogrande=96, hh_rlhf=16, ultrafeedback=8, reward=8),
    "llama-1b": Sizes(truthfulqa=128, arc_easy=512, winogrande=512, hh_rlhf=256, ultrafeedback=128, reward=128),
    "tiny": Sizes(truthfulqa=8, arc_easy=16, winogrande=16, hh_rlhf=8, ultrafeedback=4, reward=8),
}
QUICK = Sizes(truthfulqa=2, arc_easy=4, winogrande=4, hh_rlhf=2, ultrafeedback=2, reward=8)
QUICK_ROWS_A_FILE = 40
"""Rows of each file on which the tokenizer of a smoke test is trained."""
LARGEST_RATE_ROWS = 1024


@click.command("engine", help=(__doc__ or "").split("\n", 1)[0])
@click.option("--model", "models", multiple=True, type=click.Choice([*SHAPES]), help="Default: gpt2, llama, llama-1b.")
@click.option("--only", "named", multiple=True, help=f"Some of {', '.join(NAMES)}; may be repeated (default: all).")
@click.option("--repetitions", type=click.IntRange(1), default=3, show_default=True)
@click.option("--quick", is_flag=True, help="Small samples, one repetition.")
@click.option("--threads", type=click.IntRange(1), default=len(os.sched_getaffinity(0)), show_default="all cores")
@click.option("--data-root", type=click.Path(path_type=Path), envvar="HARNESS_DATA_ROOT", default=DATA_ROOT)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File that the table is written to.")
def engine(
    models: Sequence[str],
    named: Sequence[str],
    repetitions: int,
    quick: bool,
    threads: int,
    data_root: Path,
    out: Path | None,
) -> bool:
    """Prints the table of every model asked for; returns whether all numbers agreed that have to."""
    only = list(dict.fromkeys(name for part in named for name in part.split(","))) or list(NAMES)
    unknown = set(only) - set(NAMES)
    if unknown:
        raise click.BadParameter(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if not (data_root / "datasets.yaml").is_file():
        raise click.BadParameter(f"no datasets.yaml in {data_root}: set HARNESS_DATA_ROOT or give --data-root")
    _be_quiet()
    torch.set_num_threads(threads)
    start = time.perf_counter()
    texts = all_texts(data_root, QUICK_ROWS_A_FILE if quick else None)
    parts, holds = [_machine(threads)], True
    for model in models or ("gpt2", "llama", "llama-1b"):
        part, model_holds = run_model(
            model,
            only,
            texts=texts,
            data_root=data_root,
            quick=quick,
            repetitions=1 if quick else repetitions,
        )
        parts.append(part)
        holds &= model_holds
    parts.append(f"The whole session took {(time.perf_counter() - start) / 60:.1f} minutes.")
    report = "\n\n".join(parts) + "\n"
    click.echo(report)
    if out is not None:
        out.write_text(report, encoding="utf-8")
    return holds


def run_model(
    model: str, names: Sequence[str], *, texts: Sequence[str], data_root: Path, quick: bool, repetitions: int
) -> tuple[str, bool]:
    """Returns the table of one model, and whether all numbers agreed that have to."""
    shape = SHAPES[model]
    on_gpu = shape.dtype != torch.float32
    if on_gpu and not torch.cuda.is_available():
        return f"### {shape.title}\n\nNot measured: there is no GPU here.", True
    subject = build_subject(shape, texts, "cuda" if on_gpu else "cpu")
    matmuls = matmuls_of(subject.model)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(subject, data_root, QUICK if quick else SIZES[model], Path(folder), say=_say)
        if on_gpu:
            bench = replace(bench, dpo_batches=(1, 8, 32))
        for name in names:
            start = time.perf_counter()
            lines.append(run_workload(bench.workload(name), matmuls, repetitions))
            _say(f"{model} {name}: {time.perf_counter() - start:.0f} s, ratio {lines[-1].ratio:.2f}")
    characters = sum(len(text) for text in texts[::50])
    n_tokens = sum(len(ids) for ids in subject.tokenizer(texts[::50], verbose=False).input_ids)
    words = f"Tokenizer: {len(subject.tokenizer):,} tokens, {characters / n_tokens:.2f} characters a token."
    exact = shape.dtype == torch.float32
    goals = model == "gpt2" and not quick
    return f"### {shape.title}\n\n{render(lines, exact=exact, with_goals=goals)}\n{words}", all(
        line.holds or not exact for line in lines
    )


def run_workload(workload: Workload, matmuls: Matmuls, repetitions: int) -> Line:
    """Measures one workload."""
    workload.switch.on = True
    workload.ours()  # fills the score cache, checks the path, warms up
    from_cache = [timed(workload.ours) for _ in range(repetitions)]
    workload.switch.on = False
    workload.switch.cache.close()
    stride = part_stride(len(set(workload.requests)), workload.part_requests)
    search = {name: timed(partial(peer, stride)) for name, peer in workload.peers.items()}
    best = min(search, key=lambda name: search[name][0])

    times, outcomes = _alternate(workload, best, repetitions)
    others = [outcomes[1], *(outcome for _, outcome in search.values())]
    timed_one = next((other for other in others if other.sums.keys() == outcomes[0].sums.keys()), outcomes[1])
    agreed = agreement(outcomes[0], timed_one if workload.exact is None else workload.exact(1))
    n_rows = min(LARGEST_RATE_ROWS, max(1, times.n_tokens // times.n_forwards))
    rate = measured_rate(matmuls, n_rows, min(repetitions, 2))
    flops = matmuls.flops(times.n_tokens, workload.n_passes * head_rows(workload.requests))
    return Line(
        title=workload.title,
        at_least=workload.at_least,
        best=best,
        times=times,
        from_cache=tuple(seconds for seconds, _ in from_cache),
        search={name: seconds for name, (seconds, _) in search.items()},
        stride=stride,
        agreed=agreed,
        cache_agrees=agreement(from_cache[-1][1], outcomes[0]).difference_nats == 0,
        share=flops / median(times.ours) / rate,
        rate=f"{rate / 1e9:,.0f} GFLOP/s with {n_rows} rows",
    )


def part_stride(n_requests: int, part_requests: int | None) -> int:
    """Returns the stride, at most 4, that leaves at least `part_requests` requests; 1 for None."""
    return 1 if part_requests is None else max(1, min(4, n_requests // part_requests))


def _alternate(workload: Workload, best: str, repetitions: int) -> tuple[Times, tuple[Outcome, Outcome]]:
    """Runs ours, theirs, ours, theirs ...; returns the times and the last outcomes."""
    ours, theirs = [], []
    for _ in range(repetitions):
        with counting(workload.model) as computed:
            ours.append(timed(workload.ours))
        with counting(workload.peer_model) as peer_computed:
            theirs.append(timed(lambda: workload.peers[best](1)))
    times = Times(
        ours=tuple(seconds for seconds, _ in ours),
        theirs=tuple(seconds for seconds, _ in theirs),
        n_tokens=computed.n_tokens,
        n_forwards=computed.n_forwards,
        n_peer_tokens=peer_computed.n_tokens,
    )
    return times, (ours[-1][1], theirs[-1][1])


def _machine(threads: int) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "lm_eval", "trl", "peft"))
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.machine()}, {os.cpu_count()} cores{gpu}, {threads} threads; {versions}."


def _be_quiet() -> None:
    """Silences everything but the table and a line for every workload."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    from transformers.utils import logging

    logging.set_verbosity_error()


def _say(line: str) -> None:
    click.echo(line, err=True)
