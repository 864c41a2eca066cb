"""The score cache gives back exactly what was stored, whoever else writes, is killed, or damages the file."""

import inspect
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import suites
from suites.engine.score_cache import VERSION, CacheNotWritableError, ScoreCache
from suites.inputs import Request, ResponseScore, SuiteError

CONTEXT = "weights 1234, float32, cpu"

token_ids = st.lists(st.integers(min_value=0, max_value=2**31), min_size=1, max_size=6).map(tuple)


def scores_of(first: int, last: int) -> dict[Request, ResponseScore]:
    """Scores made of the numbers from `first` to before `last`."""
    return {
        Request((n, 7), (1, n)): ResponseScore(np.array([-n, n / 3], np.float32), n % 2 == 0)
        for n in range(first, last)
    }


def bits(scores: Mapping[Request, ResponseScore]) -> dict[Request, tuple[list[int], bool]]:
    """What compares equal only where every bit is."""
    return {
        request: (score.token_log_probabilities.view(np.uint32).tolist(), score.is_greedy)
        for request, score in scores.items()
    }


def process(body: str, path: Path, *arguments: object) -> subprocess.Popen[str]:
    """Another Python process with the cache at `path` open as `cache`, its lines going to stderr, running `body`."""
    script = "\n".join(
        [
            "import sys",
            "from pathlib import Path",
            "import numpy as np",
            "from suites.inputs import Request, ResponseScore",
            "from suites.engine.score_cache import ScoreCache",
            inspect.getsource(scores_of),
            "cache = ScoreCache.open(Path(sys.argv[1]), lambda line: print(line, file=sys.stderr))",
            f"context = {CONTEXT!r}",
            body,
        ]
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(suites.__file__).parents[1])},
    )


@pytest.fixture
def lines() -> list[str]:
    """What the cache said."""
    return []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the cache stands; the folder has yet to be made."""
    return tmp_path / "caches" / "scores.sqlite"


@pytest.fixture
def cache(path: Path, lines: list[str]) -> Iterator[ScoreCache]:
    """A new cache."""
    with ScoreCache.open(path, lines.append) as opened:
        yield opened


@pytest.fixture
def filled(path: Path, lines: list[str]) -> Path:
    """A closed cache with 400 scores, of which no write-ahead log is left."""
    with ScoreCache.open(path, lines.append) as opened:
        opened.store(CONTEXT, scores_of(0, 400))
    return path


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoreCache]:
    """One cache for many examples of a property."""
    with ScoreCache.open(tmp_path_factory.mktemp("cache") / "scores.sqlite", print) as opened:
        yield opened


@settings(deadline=None)
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


def test_only_what_was_stored_is_found(cache: ScoreCache) -> None:
    """A lookup leaves out what is missing, and takes requests that are equal."""
    scores = scores_of(0, 3)
    cache.store(CONTEXT, {})
    cache.store(CONTEXT, scores)

    assert bits(scores) == bits(cache.lookup(CONTEXT, [*scores_of(0, 6), *scores]))
    assert cache.lookup(CONTEXT, []) == {}


def test_what_is_stored_again_is_replaced(cache: ScoreCache) -> None:
    """The last store of a request counts."""
    request = Request((1,), (2,))
    for value in (-1.0, -2.0):
        cache.store(CONTEXT, {request: ResponseScore(np.array([value], np.float32), is_greedy=False)})

    assert cache.lookup(CONTEXT, [request])[request].log_probability == -2.0
    assert cache.info().n_scores == 1


def test_contexts_are_apart(cache: ScoreCache) -> None:
    """A score of one context is not seen in another, and both are kept."""
    request = Request((1,), (2,))
    for value, context in ((-1.0, "base"), (-2.0, "adapter")):
        cache.store(context, {request: ResponseScore(np.array([value], np.float32), is_greedy=False)})

    assert cache.lookup("base", [request])[request].log_probability == -1.0
    assert cache.lookup("adapter", [request])[request].log_probability == -2.0
    assert cache.lookup("Base", [request]) == {}


def test_the_boundary_of_the_prompt_counts(cache: ScoreCache) -> None:
    """The same tokens with another boundary are another request, also where the number of response tokens is equal."""
    stored = Request((1, 2), (3,))
    cache.store(CONTEXT, {stored: ResponseScore(np.array([-1.0], np.float32), is_greedy=True)})

    others = [Request((1,), (2, 3)), Request((1, 2, 3), (3,)), Request((1,), (3,)), Request((2, 1), (3,))]
    assert cache.lookup(CONTEXT, others) == {}
    assert list(cache.lookup(CONTEXT, [*others, stored])) == [stored]


def test_info_and_clear_count_what_is_there(cache: ScoreCache, path: Path) -> None:
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


def test_scores_under_keys_of_another_version_are_pointed_out_once(path: Path, lines: list[str]) -> None:
    """The first process after an upgrade says that they are not used again; new files and later ones are silent."""
    with ScoreCache.open(path, lines.append) as cache:
        cache.expect_keys(1)
        cache.store(CONTEXT, scores_of(0, 3))
    for _ in range(2):
        with ScoreCache.open(path, lines.append) as cache:
            cache.expect_keys(2)
            assert len(cache.lookup(CONTEXT, list(scores_of(0, 3)))) == 3

    assert len(lines) == 1
    assert lines[0].startswith("3 scores in ")
    assert "harness cache clear" in lines[0]


def test_fifty_thousand_scores_take_seconds(cache: ScoreCache) -> None:
    """Storing 50,000 scores in units of 100 and finding them again takes seconds, not minutes."""
    scores = scores_of(0, 50_000)
    items = list(scores.items())
    began = time.process_time()
    for start in range(0, len(items), 100):
        cache.store(CONTEXT, dict(items[start : start + 100]))
    found = cache.lookup(CONTEXT, list(scores))
    seconds = time.process_time() - began

    assert bits(scores) == bits(found)
    assert seconds < 30


def test_two_processes_write_at_once(path: Path, lines: list[str]) -> None:
    """Two processes that begin one cache together and write in turns both find all their units kept."""
    body = (
        "first = int(sys.argv[2])\n"
        "for start in range(first, first + 1000, 10): cache.store(context, scores_of(start, start + 10))"
    )
    writers = [process(body, path, first) for first in (0, 1000)]
    for writer in writers:
        assert writer.communicate(timeout=60) == ("", "")

    with ScoreCache.open(path, lines.append) as cache:
        assert bits(scores_of(0, 2000)) == bits(cache.lookup(CONTEXT, list(scores_of(0, 2500))))
    assert lines == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_writer_leaves_whole_units(path: Path, lines: list[str]) -> None:
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
            assert bits(scores) == bits(cache.lookup(CONTEXT, list(scores)))
            assert cache.info().n_scores % 50 == 0
            assert cache._connection.execute("PRAGMA integrity_check").fetchone() == (b"ok",)
    assert lines == []


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
def test_a_damaged_or_foreign_file_is_set_aside(filled: Path, lines: list[str], damage: object) -> None:
    """What is no cache of this version is kept under another name, with one line, and a new cache is begun."""
    assert callable(damage)
    for number in (1, 2):
        damage(filled)
        before = filled.read_bytes()
        with ScoreCache.open(filled, lines.append) as cache:
            assert cache.lookup(CONTEXT, list(scores_of(0, 400))) == {}
            cache.store(CONTEXT, scores_of(0, 400))
        with ScoreCache.open(filled, lines.append) as cache:
            assert len(cache.lookup(CONTEXT, list(scores_of(0, 400)))) == 400

        assert len(lines) == number
        assert f"{filled} is damaged or foreign" in lines[-1]
        assert f"set aside as {filled.name}.corrupt-{number}" in lines[-1]
        assert before == (filled.parent / f"{filled.name}.corrupt-{number}").read_bytes()


def test_an_empty_file_is_a_cache_to_begin(filled: Path, lines: list[str]) -> None:
    """What a kill before the first commit leaves is no damage."""
    filled.write_bytes(b"")

    with ScoreCache.open(filled, lines.append) as cache:
        cache.store(CONTEXT, scores_of(0, 3))
        assert cache.info().n_scores == 3
    assert lines == []


def damage_all_but_the_first_page(path: Path) -> None:
    """Opens as before, but no table can be read."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


def test_damage_found_on_lookup_does_not_end_the_run(filled: Path, lines: list[str]) -> None:
    """A lookup in a file that broke after it was opened finds nothing, says so once, and goes on with a new file."""
    with ScoreCache.open(filled, lines.append) as cache:
        damage_all_but_the_first_page(filled)

        assert cache.lookup(CONTEXT, list(scores_of(0, 400))) == {}
        cache.store(CONTEXT, scores_of(0, 400))
        assert bits(scores_of(0, 400)) == bits(cache.lookup(CONTEXT, list(scores_of(0, 400))))
    assert len(lines) == 1


def test_damage_found_on_store_loses_nothing_of_that_unit(filled: Path, lines: list[str]) -> None:
    """A unit whose store found the damage is in the new file."""
    with ScoreCache.open(filled, lines.append) as cache:
        damage_all_but_the_first_page(filled)
        cache.store("another context", scores_of(0, 10))

        assert bits(scores_of(0, 10)) == bits(cache.lookup("another context", list(scores_of(0, 10))))
    assert len(lines) == 1


def test_damage_found_by_two_processes_is_set_aside_once(filled: Path, lines: list[str]) -> None:
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
        assert bits(scores) == bits(cache.lookup(CONTEXT, list(scores)))
    assert lines == []


def test_who_still_has_the_damaged_file_open_does_no_harm(filled: Path, lines: list[str]) -> None:
    """The log goes with the damaged file; whoever had both open leaves the new file's log alone and joins it later."""
    with ScoreCache.open(filled, lines.append) as finder, ScoreCache.open(filled, lines.append) as late:
        damage_all_but_the_first_page(filled)
        finder.store(CONTEXT, scores_of(0, 100))
        assert filled.with_name(f"{filled.name}.corrupt-1-wal").exists()

        assert late.lookup(CONTEXT, list(scores_of(0, 100))).keys() == scores_of(0, 100).keys()
        late.store(CONTEXT, scores_of(100, 200))
        assert len(finder.lookup(CONTEXT, list(scores_of(0, 200)))) == 200
        with ScoreCache.open(filled, lines.append) as third:
            assert len(third.lookup(CONTEXT, list(scores_of(0, 200)))) == 200
    assert len(lines) == 1


def test_a_damaged_file_that_is_gone_meanwhile_is_begun_anew(filled: Path, lines: list[str]) -> None:
    """Where there is nothing left to set aside, no line is printed."""
    with ScoreCache.open(filled, lines.append) as cache:
        damage_all_but_the_first_page(filled)
        filled.unlink()
        cache.store(CONTEXT, scores_of(0, 10))

        assert len(cache.lookup(CONTEXT, list(scores_of(0, 10)))) == 10
    assert lines == []


def test_damage_where_nothing_can_be_begun_does_not_end_the_run(
    filled: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the damaged file cannot even be renamed, the run goes on without a cache."""

    def refuse(*_: object) -> None:
        raise PermissionError("planted")

    with ScoreCache.open(filled, lines.append) as cache:
        damage_all_but_the_first_page(filled)
        monkeypatch.setattr(Path, "replace", refuse)

        for _ in range(2):
            assert cache.lookup(CONTEXT, list(scores_of(0, 400))) == {}
            cache.store(CONTEXT, scores_of(0, 10))
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
    filled: Path, lines: list[str], statement: str, n_found: int
) -> None:
    """Wrong lengths, types, values or contexts are not believed; storing anew heals them."""
    run_sql(filled, statement)
    context = "another" if "contexts" in statement else CONTEXT
    with ScoreCache.open(filled, lines.append) as cache:
        found = cache.lookup(context, list(scores_of(0, 400)))
        assert len(found) == n_found
        assert cache.n_corrupt == 400 - n_found

        cache.store(context, scores_of(0, 400))
        assert bits(scores_of(0, 400)) == bits(cache.lookup(context, list(scores_of(0, 400))))
        assert cache.n_corrupt == 400 - n_found
    assert lines == []


def test_no_damage_ever_yields_a_wrong_number(filled: Path, tmp_path: Path, lines: list[str]) -> None:
    """Whatever bytes are overwritten, nothing is raised and what is found is what was stored."""
    truth = bits(scores_of(0, 400))
    rng = random.Random(0)
    n_partly = 0
    for trial in range(60):
        copy = tmp_path / f"{trial}.sqlite"
        shutil.copy(filled, copy)
        with copy.open("r+b") as file:
            for _ in range(rng.choice([1, 5])):
                file.seek(rng.randrange(filled.stat().st_size))
                file.write(rng.randbytes(rng.choice([1, 1, 4, 1000])))
        with ScoreCache.open(copy, lines.append) as cache:
            found = bits(cache.lookup(CONTEXT, list(scores_of(0, 400))))
            assert found.items() <= truth.items()
            n_partly += 0 < len(found) < len(truth)
            cache.store(CONTEXT, scores_of(0, 400))
            assert bits(cache.lookup(CONTEXT, list(scores_of(0, 400)))).items() <= truth.items()
    assert n_partly > 5


def test_a_full_disk_ends_storing_not_the_run(cache: ScoreCache, lines: list[str]) -> None:
    """The first unit that finds no room is absent as a whole; one line says so, and what was stored is still found."""
    cache.store(CONTEXT, scores_of(0, 100))
    cache._connection.execute("PRAGMA max_page_count = 8")
    cache.store(CONTEXT, scores_of(100, 5000))
    cache.store(CONTEXT, scores_of(5000, 5001))

    assert len(lines) == 1
    assert lines[0].startswith("scores are not cached from here on: ")
    assert "disk is full" in lines[0]
    assert bits(scores_of(0, 100)) == bits(cache.lookup(CONTEXT, list(scores_of(0, 5001))))


def test_a_lookup_that_fails_finds_nothing(
    cache: ScoreCache, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input error is a line, not the end."""
    cache.store(CONTEXT, scores_of(0, 10))
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("suites.engine.score_cache._select", fail)
        assert cache.lookup(CONTEXT, list(scores_of(0, 10))) == {}
    assert len(lines) == 1
    assert "disk I/O error" in lines[0]
    assert len(cache.lookup(CONTEXT, list(scores_of(0, 10)))) == 10


def test_a_mistake_in_use_is_not_taken_for_damage(cache: ScoreCache, path: Path, lines: list[str]) -> None:
    """Use from another thread, or after closing, raises and leaves the file where it is."""
    raised: list[Exception] = []

    def use() -> None:
        try:
            cache.lookup(CONTEXT, list(scores_of(0, 1)))
        except sqlite3.ProgrammingError as error:
            raised.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    cache.close()
    use()

    assert len(raised) == 2
    assert lines == []
    assert path.exists()


def test_a_folder_in_its_place_is_refused(tmp_path: Path, lines: list[str]) -> None:
    """A folder is no damaged cache and is left alone."""
    with pytest.raises(CacheNotWritableError, match="it is a folder"):
        ScoreCache.open(tmp_path, lines.append)

    assert tmp_path.is_dir()


def test_a_place_below_a_file_is_refused(tmp_path: Path, lines: list[str]) -> None:
    """Where no folder can be made, one line names the place and what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SuiteError, match="choose another workspace, or score without a cache") as caught:
        ScoreCache.open(tmp_path / "file" / "scores.sqlite", lines.append)

    assert isinstance(caught.value, CacheNotWritableError)
    assert "\n" not in str(caught.value)


def test_a_read_only_file_is_refused(filled: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be written is an error at once and is not set aside."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(CacheNotWritableError, match="read-only"):
        ScoreCache.open(filled, lines.append)

    assert filled.exists()
    assert lines == []


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path, lines: list[str]) -> None:
    """A link into nowhere is SQLite's to refuse, and becomes the same error."""
    link = tmp_path / "scores.sqlite"
    link.symlink_to(tmp_path / "nowhere" / "scores.sqlite")
    with pytest.raises(CacheNotWritableError, match="unable to open"):
        ScoreCache.open(link, lines.append)
