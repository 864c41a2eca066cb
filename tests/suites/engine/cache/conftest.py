"""What the tests of the score cache share: caches, scores to store, and other processes that use the same file."""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

import suites
from suites.engine.cache.score_cache import ScoreCache
from suites.inputs import Request, ResponseScore

CONTEXT = "weights 1234, float32, cpu"


def numbered_scores(first: int, last: int) -> dict[Request, ResponseScore]:
    """Scores made of the numbers from `first` to before `last`."""
    return {
        Request((n, 7), (1, n)): ResponseScore(np.array([-n, n / 3], np.float32), n % 2 == 0)
        for n in range(first, last)
    }


def bits_of(scores: Mapping[Request, ResponseScore]) -> dict[Request, tuple[list[int], bool]]:
    """What compares equal only where every bit is."""
    return {
        request: (score.token_log_probabilities.view(np.uint32).tolist(), score.is_greedy)
        for request, score in scores.items()
    }


def start_process(body: str, path: Path, *arguments: object, before: str = "") -> subprocess.Popen[str]:
    """Another Python process with the cache at `path` open as `cache`, its lines going to stderr, running `body`.

    What `before` says runs before the cache is opened.
    """
    script = "\n".join(
        [
            "import sys",
            "from pathlib import Path",
            "import numpy as np",
            "from suites.inputs import Request, ResponseScore",
            "from suites.engine.cache.score_cache import ScoreCache",
            inspect.getsource(numbered_scores).replace("numbered_scores", "scores_of"),
            before,
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


@pytest.fixture(scope="session")
def context() -> str:
    """What determines the scores."""
    return CONTEXT


@pytest.fixture(scope="session")
def scores_of() -> Callable[[int, int], dict[Request, ResponseScore]]:
    """Makes scores of the numbers from the first to before the last."""
    return numbered_scores


@pytest.fixture(scope="session")
def bits() -> Callable[[Mapping[Request, ResponseScore]], dict[Request, tuple[list[int], bool]]]:
    """Turns scores into what compares equal only where every bit is."""
    return bits_of


@pytest.fixture(scope="session")
def process() -> Callable[..., subprocess.Popen[str]]:
    """Starts another process with the cache open (`start_process`)."""
    return start_process


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
        opened.store(CONTEXT, numbered_scores(0, 400))
    return path
