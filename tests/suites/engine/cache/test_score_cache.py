"""The score cache gives back exactly what was stored, whoever else writes or is killed."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suites.engine.cache.score_cache import ScoreCache
from suites.inputs import Request, ResponseScore

ScoresOf = Callable[[int, int], dict[Request, ResponseScore]]
Bits = Callable[[Mapping[Request, ResponseScore]], dict[Request, tuple[list[int], bool]]]
Process = Callable[..., subprocess.Popen[str]]

token_ids = st.lists(st.integers(min_value=0, max_value=2**31), min_size=1, max_size=6).map(tuple)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoreCache]:
    """One cache for many examples of a property."""
    with ScoreCache.open(tmp_path_factory.mktemp("cache") / "scores.sqlite", print) as opened:
        yield opened


@given(
    data=st.data(), prompt=token_ids, response=token_ids, is_greedy=st.booleans(), context=st.text("ab é", max_size=5)
)
def test_every_bit_comes_back(
    lasting: ScoreCache,
    data: st.DataObject,
    prompt: tuple[int, ...],
    response: tuple[int, ...],
    is_greedy: bool,
    context: str,
    bits: Bits,
) -> None:
    """Any 32 bits of a float, infinities and the payload of a NaN included, are found as they were stored."""
    words = st.one_of(st.sampled_from([0xFF800000, 0x80000000, 0x7FC00123]), st.integers(0, 2**32 - 1))
    values = data.draw(st.lists(words, min_size=len(response), max_size=len(response)))
    scores = {Request(prompt, response): ResponseScore(np.array(values, np.uint32).view(np.float32), is_greedy)}

    lasting.store(context, scores)
    found = lasting.lookup(context, list(scores))

    assert bits(scores) == bits(found)
    assert found[Request(prompt, response)].token_log_probabilities.flags.writeable
    assert lasting.n_corrupt == 0


def test_only_what_was_stored_is_found(cache: ScoreCache, context: str, scores_of: ScoresOf, bits: Bits) -> None:
    """A lookup leaves out what is missing, and takes requests that are equal."""
    scores = scores_of(0, 3)
    cache.store(context, {})
    cache.store(context, scores)

    assert bits(scores) == bits(cache.lookup(context, [*scores_of(0, 6), *scores]))
    assert cache.lookup(context, []) == {}


def test_what_is_stored_again_is_replaced(cache: ScoreCache, context: str) -> None:
    """The last store of a request counts."""
    request = Request((1,), (2,))
    for value in (-1.0, -2.0):
        cache.store(context, {request: ResponseScore(np.array([value], np.float32), is_greedy=False)})

    assert cache.lookup(context, [request])[request].log_probability == -2.0
    assert cache.info().n_scores == 1


def test_contexts_are_apart(cache: ScoreCache) -> None:
    """A score of one context is not seen in another, and both are kept."""
    request = Request((1,), (2,))
    for value, context in ((-1.0, "base"), (-2.0, "adapter")):
        cache.store(context, {request: ResponseScore(np.array([value], np.float32), is_greedy=False)})

    assert cache.lookup("base", [request])[request].log_probability == -1.0
    assert cache.lookup("adapter", [request])[request].log_probability == -2.0
    assert cache.lookup("Base", [request]) == {}


def test_the_boundary_of_the_prompt_counts(cache: ScoreCache, context: str) -> None:
    """The same tokens with another boundary are another request, also where the number of response tokens is equal."""
    stored = Request((1, 2), (3,))
    cache.store(context, {stored: ResponseScore(np.array([-1.0], np.float32), is_greedy=True)})

    others = [Request((1,), (2, 3)), Request((1, 2, 3), (3,)), Request((1,), (3,)), Request((2, 1), (3,))]
    assert cache.lookup(context, others) == {}
    assert list(cache.lookup(context, [*others, stored])) == [stored]


def test_info_and_clear_count_what_is_there(cache: ScoreCache, path: Path, scores_of: ScoresOf) -> None:
    """Clearing says what it removed, gives the space back, and leaves a working cache."""
    cache.store("one", scores_of(0, 3000))
    cache.store("two", scores_of(0, 10))
    full = cache.info()
    assert (full.n_scores, full.n_contexts, full.path) == (3010, 2, path)
    assert full.n_bytes > 3010 * 8

    removed = cache.clear()
    empty = cache.info()
    assert (removed.n_scores, removed.n_contexts, removed.n_bytes) == (3010, 2, full.n_bytes - empty.n_bytes)
    assert (empty.n_scores, empty.n_contexts) == (0, 0)
    assert empty.n_bytes < 40_000

    cache.store("one", scores_of(0, 3))
    assert cache.info().n_scores == 3


def test_scores_under_keys_of_another_version_are_pointed_out_once(
    path: Path, lines: list[str], context: str, scores_of: ScoresOf
) -> None:
    """The first process after an upgrade says that they are not used again; new files and later ones are silent."""
    with ScoreCache.open(path, lines.append) as cache:
        cache.expect_keys(1)
        cache.store(context, scores_of(0, 3))
    for _ in range(2):
        with ScoreCache.open(path, lines.append) as cache:
            cache.expect_keys(2)
            assert len(cache.lookup(context, list(scores_of(0, 3)))) == 3

    assert len(lines) == 1
    assert lines[0].startswith("3 scores in ")
    assert "harness cache clear" in lines[0]


@pytest.mark.slow
def test_fifty_thousand_scores_take_seconds(cache: ScoreCache, context: str, scores_of: ScoresOf, bits: Bits) -> None:
    """Storing 50,000 scores in units of 100 and finding them again takes seconds, not minutes."""
    scores = scores_of(0, 50_000)
    items = list(scores.items())
    began = time.process_time()
    for start in range(0, len(items), 100):
        cache.store(context, dict(items[start : start + 100]))
    found = cache.lookup(context, list(scores))
    seconds = time.process_time() - began

    assert bits(scores) == bits(found)
    assert seconds < 30


def test_two_processes_write_at_once(
    path: Path, lines: list[str], context: str, scores_of: ScoresOf, bits: Bits, process: Process
) -> None:
    """Two processes that begin one cache together and write in turns both find all their units kept."""
    body = (
        "first = int(sys.argv[2])\n"
        "for start in range(first, first + 1000, 10): cache.store(context, scores_of(start, start + 10))"
    )
    writers = [process(body, path, first) for first in (0, 1000)]
    for writer in writers:
        assert writer.communicate(timeout=60) == ("", "")

    with ScoreCache.open(path, lines.append) as cache:
        assert bits(scores_of(0, 2000)) == bits(cache.lookup(context, list(scores_of(0, 2500))))
    assert lines == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_writer_leaves_whole_units(
    path: Path, lines: list[str], context: str, scores_of: ScoresOf, bits: Bits, process: Process
) -> None:
    """After kill -9 every unit that was announced is there, the one in the making whole or absent."""
    body = (
        "first = int(sys.argv[2])\n"
        "for start in range(first, first + 100_000, 50):\n"
        "    cache.store(context, scores_of(start, start + 50))\n"
        "    print(start + 50, flush=True)"
    )
    for first in (0, 100_000, 200_000):
        writer = process(body, path, first)
        assert writer.stdout is not None
        announced = [int(writer.stdout.readline()) for _ in range(25)][-1]
        writer.kill()
        writer.communicate()

        with ScoreCache.open(path, lines.append) as cache:
            scores = scores_of(first, announced)
            assert bits(scores) == bits(cache.lookup(context, list(scores)))
            assert cache.info().n_scores % 50 == 0
            assert cache._file.connection.execute("PRAGMA integrity_check").fetchone() == (b"ok",)
    assert lines == []
