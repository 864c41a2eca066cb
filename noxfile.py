"""Checks, each in its own environment: `nox -s tests` is the default; `nox -l` lists them all."""

import os
from pathlib import Path

import nox

nox.options.sessions = ["tests"]
nox.options.reuse_existing_virtualenvs = True

CONSTRAINTS = ("-c", "constraints.txt")
WORKERS = ("-n", "logical", "--maxprocesses", "4", "--dist", "loadfile")
"""One a core, with one thread each: threads that share a core wait for each other."""


def install_project(session: nox.Session, *extras: str) -> None:
    """The project in place with the extras, at the versions of constraints.txt."""
    session.install("-q", *CONSTRAINTS, "-e", f".[{','.join(extras)}]")


@nox.session
def tests(session: nox.Session) -> None:
    """The fast tests, with line coverage of the three packages."""
    install_project(session, "test")
    arguments = session.posargs or ["-m", "not slow", "--cov", "--cov-report=term", "--cov-fail-under=90"]
    session.run("pytest", *WORKERS, *arguments, env={"OMP_NUM_THREADS": "1"})


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that train, rebuild, simulate or run the whole job."""
    install_project(session, "test")
    session.run("pytest", *WORKERS, "-m", "slow", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def regression(session: nox.Session) -> None:
    """Scores, and trains, as before: `-- --renew` shows what changed and keeps it; `--seeds 5` calibrates anew."""
    install_project(session, "test")
    if session.posargs:
        session.run("python", "tests/regression/reference.py", *session.posargs)
    else:
        session.run("pytest", "tests/regression")


@nox.session
def bench(session: nox.Session) -> None:
    """What is fast, with the cores to itself: every block, up to an hour, or `-- quickstart`, `-- engine`."""
    install_project(session, "test")
    data_root = os.environ.get("HARNESS_DATA_ROOT", str(Path.cwd().parent / "shared" / "data"))
    session.run("python", "tests/bench/bench.py", *session.posargs, env={"HARNESS_DATA_ROOT": data_root})


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    session.install("-q", *CONSTRAINTS, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Static types, strictly."""
    install_project(session, "types")
    session.run("mypy")


@nox.session
def layers(session: nox.Session) -> None:
    """Imports go down only: harness -> suites -> reports."""
    session.install("-q", *CONSTRAINTS, "import-linter")
    session.run("lint-imports", env={"PYTHONPATH": str(Path.cwd())})
