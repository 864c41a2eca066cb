"""A damaged or foreign file yields no wrong score and ends no run."""

import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from suites.engine.cache.score_cache import VERSION, ScoreCache
from suites.inputs import Request, ResponseScore

ScoresOf = Callable[[int, int], dict[Request, ResponseScore]]
Bits = Callable[[Mapping[Request, ResponseScore]], dict[Request, tuple[list[int], bool]]]
Process = Callable[..., subprocess.Popen[str]]


def write_garbage(path: Path) -> None:
    """Not a database at all."""
    path.write_bytes(random.Random(0).randbytes(20_000))


def write_text(path: Path) -> None:
    """A text of the user's."""
    path.write_text("not a cache")


def truncate(path: Path) -> None:
    """The second half is gone."""
    os.truncate(path, path.stat().st_size // 2)


def empty_the_header(path: Path) -> None:
    """The first 100 bytes are zeros."""
    path.write_bytes(bytes(100) + path.read_bytes()[100:])


def run_sql(path: Path, *statements: str) -> None:
    """Changes the database behind the cache's back."""
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def change_the_version(path: Path) -> None:
    """The schema of a later release."""
    run_sql(path, f"PRAGMA user_version = {VERSION + 1}")


def drop_a_table(path: Path) -> None:
    """The right version, but not the tables."""
    run_sql(path, "DROP TABLE scores")


def write_another_database(path: Path) -> None:
    """A sound SQLite file of another program."""
    path.unlink()
    run_sql(path, "CREATE TABLE songs (title TEXT)")


def garble_the_schema(path: Path) -> None:
    """A table's definition is bytes that are no text."""
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE contexts (", b"CREATE \xa7\xc1\xff\xfe\xa7 contexts ("))


def change_the_file_format(path: Path) -> None:
    """A schema format number that SQLite does not know."""
    with path.open("r+b") as file:
        file.seek(47)
        file.write(b"\x63")


@pytest.mark.parametrize(
    "damage",
    [
        write_garbage,
        write_text,
        truncate,
        empty_the_header,
        change_the_version,
        drop_a_table,
        garble_the_schema,
        write_another_database,
        change_the_file_format,
    ],
)
def test_a_damaged_or_foreign_file_is_set_aside(
    filled: Path, lines: list[str], damage: object, context: str, scores_of: ScoresOf
) -> None:
    """What is no cache of this version is kept under another name, with one line, and a new cache is begun."""
    assert callable(damage)
    for number in (1, 2):
        damage(filled)
        before = filled.read_bytes()
        with ScoreCache.open(filled, lines.append) as cache:
            assert cache.lookup(context, list(scores_of(0, 400))) == {}
            cache.store(context, scores_of(0, 400))
        with ScoreCache.open(filled, lines.append) as cache:
            assert len(cache.lookup(context, list(scores_of(0, 400)))) == 400

        assert len(lines) == number
        assert f"{filled} is damaged or foreign" in lines[-1]
        assert f"set aside as {filled.name}.corrupt-1" in lines[-1]
        assert before == (filled.parent / f"{filled.name}.corrupt-1").read_bytes()


def test_an_empty_file_is_a_cache_to_begin(filled: Path, lines: list[str], context: str, scores_of: ScoresOf) -> None:
    """What a kill before the first commit leaves is no damage."""
    filled.write_bytes(b"")

    with ScoreCache.open(filled, lines.append) as cache:
        cache.store(context, scores_of(0, 3))
        assert cache.info().n_scores == 3
    assert lines == []


def damage_all_but_the_first_page(path: Path) -> None:
    """Opens as before, but no table can be read."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


def test_damage_found_on_lookup_does_not_end_the_run(
    filled: Path, lines: list[str], context: str, scores_of: ScoresOf, bits: Bits
) -> None:
    """A lookup in a file that broke after it was opened finds nothing, says so once, and goes on with a new file."""
    with ScoreCache.open(filled, lines.append) as cache:
        damage_all_but_the_first_page(filled)

        assert cache.lookup(context, list(scores_of(0, 400))) == {}
        cache.store(context, scores_of(0, 400))
        assert bits(scores_of(0, 400)) == bits(cache.lookup(context, list(scores_of(0, 400))))
    assert len(lines) == 1


def test_damage_found_on_store_loses_nothing_of_that_unit(
    filled: Path, lines: list[str], scores_of: ScoresOf, bits: Bits
) -> None:
    """A unit whose store found the damage is in the new file."""
    with ScoreCache.open(filled, lines.append) as cache:
        damage_all_but_the_first_page(filled)
        cache.store("another context", scores_of(0, 10))

        assert bits(scores_of(0, 10)) == bits(cache.lookup("another context", list(scores_of(0, 10))))
    assert len(lines) == 1


def test_damage_found_by_two_processes_is_set_aside_once(
    filled: Path, lines: list[str], context: str, scores_of: ScoresOf, bits: Bits, process: Process
) -> None:
    """The second to find it takes the first one's new file, and both sets of scores are in it."""
    body = (
        "print('open', flush=True); sys.stdin.readline()\n"
        "first = int(sys.argv[2])\n"
        "assert cache.lookup(context, list(scores_of(0, 400))) == {}\n"
        "cache.store(context, scores_of(first, first + 100))"
    )
    finders = [process(body, filled, first) for first in (1000, 2000)]
    for finder in finders:
        assert finder.stdout is not None
        assert finder.stdout.readline() == "open\n"
    damage_all_but_the_first_page(filled)
    for finder in finders:
        assert finder.stdin is not None
        finder.stdin.write("go\n")
        finder.stdin.flush()
    said = "".join(finder.communicate(timeout=60)[1] for finder in finders)

    assert [finder.returncode for finder in finders] == [0, 0], said
    assert said.count("\n") == 1
    assert [f"{filled.name}.corrupt-1"] == [file.name for file in filled.parent.glob("*.corrupt-?")]
    with ScoreCache.open(filled, lines.append) as cache:
        scores = scores_of(1000, 1100) | scores_of(2000, 2100)
        assert bits(scores) == bits(cache.lookup(context, list(scores)))
    assert lines == []


def test_who_still_has_the_damaged_file_open_does_no_harm(
    filled: Path, lines: list[str], context: str, scores_of: ScoresOf
) -> None:
    """The log goes with the damaged file; whoever had both open leaves the new file's log alone and joins it later."""
    with ScoreCache.open(filled, lines.append) as finder, ScoreCache.open(filled, lines.append) as late:
        damage_all_but_the_first_page(filled)
        finder.store(context, scores_of(0, 100))
        assert filled.with_name(f"{filled.name}.corrupt-1-wal").exists()

        assert late.lookup(context, list(scores_of(0, 100))).keys() == scores_of(0, 100).keys()
        late.store(context, scores_of(100, 200))
        assert len(finder.lookup(context, list(scores_of(0, 200)))) == 200
        with ScoreCache.open(filled, lines.append) as third:
            assert len(third.lookup(context, list(scores_of(0, 200)))) == 200
    assert len(lines) == 1


def test_a_damaged_file_that_is_gone_meanwhile_is_begun_anew(
    filled: Path, lines: list[str], context: str, scores_of: ScoresOf
) -> None:
    """Where there is nothing left to set aside, no line is printed."""
    with ScoreCache.open(filled, lines.append) as cache:
        damage_all_but_the_first_page(filled)
        filled.unlink()
        cache.store(context, scores_of(0, 10))

        assert len(cache.lookup(context, list(scores_of(0, 10)))) == 10
    assert lines == []


def test_damage_where_nothing_can_be_begun_does_not_end_the_run(
    filled: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch, context: str, scores_of: ScoresOf
) -> None:
    """Where the damaged file cannot even be renamed, the run goes on without a cache."""

    def refuse(*_: object) -> None:
        raise PermissionError("planted")

    with ScoreCache.open(filled, lines.append) as cache:
        damage_all_but_the_first_page(filled)
        monkeypatch.setattr(Path, "replace", refuse)

        for _ in range(2):
            assert cache.lookup(context, list(scores_of(0, 400))) == {}
            cache.store(context, scores_of(0, 10))
    assert len(lines) == 1
    assert "planted" in lines[0]


@pytest.mark.parametrize(
    ("statement", "n_found"),
    [
        ("UPDATE scores SET log_probabilities = substr(log_probabilities, 1, 4)", 0),
        ("UPDATE scores SET log_probabilities = X'0102030405060708'", 0),
        ("UPDATE scores SET log_probabilities = 'eight by'", 0),
        ("UPDATE scores SET is_greedy = 1 - is_greedy WHERE rowid <= 100", 300),
        ("UPDATE scores SET is_greedy = 'yes' WHERE rowid <= 100", 300),
        ("UPDATE contexts SET context = 'another'", 0),
    ],
)
def test_rows_that_are_not_as_stored_are_ignored_and_replaced(
    filled: Path, lines: list[str], statement: str, n_found: int, context: str, scores_of: ScoresOf, bits: Bits
) -> None:
    """Wrong lengths, types, values or contexts are not believed; storing anew heals them."""
    run_sql(filled, statement)
    context = "another" if "contexts" in statement else context
    with ScoreCache.open(filled, lines.append) as cache:
        found = cache.lookup(context, list(scores_of(0, 400)))
        assert len(found) == n_found
        assert cache.n_corrupt == 400 - n_found

        cache.store(context, scores_of(0, 400))
        assert bits(scores_of(0, 400)) == bits(cache.lookup(context, list(scores_of(0, 400))))
        assert cache.n_corrupt == 400 - n_found
    assert lines == []


def test_no_damage_ever_yields_a_wrong_number(
    filled: Path, tmp_path: Path, lines: list[str], context: str, scores_of: ScoresOf, bits: Bits
) -> None:
    """Whatever bytes are overwritten, nothing is raised and what is found is what was stored."""
    truth = bits(scores_of(0, 400))
    rng = random.Random(0)
    n_partly = 0
    for trial in range(90):
        copy = tmp_path / f"{trial}.sqlite"
        shutil.copy(filled, copy)
        with copy.open("r+b") as file:
            for _ in range(rng.choice([1, 5])):
                file.seek(rng.randrange(filled.stat().st_size))
                file.write(rng.randbytes(rng.choice([1, 1, 4, 1000])))
        with ScoreCache.open(copy, lines.append) as cache:
            found = bits(cache.lookup(context, list(scores_of(0, 400))))
            assert found.items() <= truth.items()
            n_partly += 0 < len(found) < len(truth)
            cache.store(context, scores_of(0, 400))
            assert bits(cache.lookup(context, list(scores_of(0, 400)))).items() <= truth.items()
    assert n_partly > 5
