"""What is kept beside scores comes back bit for bit, under its own key alone, and never changed."""

import math
import sqlite3
from collections.abc import Callable
from pathlib import Path

from suites.engine.cache.kept import KeptResults
from suites.engine.cache.score_cache import VERSION, ScoreCache
from suites.inputs import Request, ResponseScore

ScoresOf = Callable[[int, int], dict[Request, ResponseScore]]


def test_numbers_and_texts_come_back_as_they_were(cache: ScoreCache) -> None:
    """Every bit of a number, NaN and infinity too, and nothing where there is nothing."""
    kept = KeptResults(cache, "weights")
    value = [0.1 + 0.2, 5e-324, -math.inf, None, "ähm", {"a": [1]}]
    assert kept.find("answers", [1, 2]) is None
    kept.keep(value, "answers", [1, 2])
    kept.keep(math.nan, "divergence", [1, 2])

    assert kept.find("answers", [1, 2]) == value
    assert kept.find("answers", (1, 2)) == value
    assert math.isnan(kept.find("divergence", [1, 2]))


def test_context_kind_and_every_part_are_the_key(cache: ScoreCache) -> None:
    """Another subject, another kind of result or another prompt finds nothing."""
    KeptResults(cache, "weights").keep(1, "answers", [1, 2], "greedy")
    others = [
        ("other weights", ("answers", [1, 2], "greedy")),
        ("weights", ("divergence", [1, 2], "greedy")),
        ("weights", ("answers", [1], [2], "greedy")),
        ("weights", ("answers", [1, 2], "drawn")),
        ("weights", ("answers", [1, 2])),
    ]
    assert [KeptResults(cache, context).find(kind, *parts) for context, (kind, *parts) in others] == [None] * 5


def test_without_a_store_nothing_is_found_and_nothing_fails() -> None:
    """As with --no-cache."""
    kept = KeptResults()
    kept.keep(1, "answers")
    assert kept.find("answers") is None


def test_a_result_that_is_not_as_stored_is_computed_again(path: Path, lines: list[str]) -> None:
    """Its checksum does not fit; the next one takes its place."""
    with ScoreCache.open(path, lines.append) as cache:
        KeptResults(cache, "weights").keep([1.0], "answers")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE results SET value = CAST('[2.0]' AS BLOB)")
    connection.close()

    with ScoreCache.open(path, lines.append) as cache:
        kept = KeptResults(cache, "weights")
        assert kept.find("answers") is None
        assert cache.n_corrupt == 1
        kept.keep([3.0], "answers")
        assert kept.find("answers") == [3.0]
        assert cache.info().n_results == 1
        assert cache.clear().n_results == 1
        assert kept.find("answers") is None
    assert lines == []


def test_a_file_of_before_keeps_its_scores(path: Path, lines: list[str], context: str, scores_of: ScoresOf) -> None:
    """Version 1 had no results; the table is added, and the scores are found."""
    with ScoreCache.open(path, lines.append) as cache:
        cache.store(context, scores_of(0, 10))
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE results")
        connection.execute("PRAGMA user_version = 1")
    connection.close()

    with ScoreCache.open(path, lines.append) as cache:
        assert len(cache.lookup(context, list(scores_of(0, 10)))) == 10
        KeptResults(cache, "weights").keep(1, "answers")
        assert KeptResults(cache, "weights").find("answers") == 1
        assert cache._file.connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert lines == []
