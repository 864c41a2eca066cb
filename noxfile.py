"""Checks, each in its own environment: `nox -s tests` is the default; `nox -l` lists them all."""

import os
from pathlib import Path

import nox

nox.options.sessions = ["tests"]
nox.options.reuse_existing_virtualenvs = True

CONSTRAINTS = ("-c", "constraints.txt")
WORKERS = ("-n", "logical", "--maxprocesses", "4", "--dist", "loadfile")
"""One worker a core with one thread each: threads that share a core wait for each other."""


def install_project(session: nox.Session, *extras: str) -> None:
    """Installs the project in place with the extras, at the versions of constraints.txt."""
    session.install("-q", *CONSTRAINTS, "-e", f".[{','.join(extras)}]")


@nox.session
def tests(session: nox.Session) -> None:
    """Runs the fast tests and measures line coverage of the three packages."""
    install_project(session, "test", "ray")
    arguments = session.posargs or ["-m", "not slow", "--cov", "--cov-report=term", "--cov-fail-under=90"]
    session.run("pytest", *WORKERS, *arguments, env={"OMP_NUM_THREADS": "1"})


@nox.session
def slow(session: nox.Session) -> None:
    """Runs the tests that train, rebuild, simulate or run a whole job."""
    install_project(session, "test", "ray")
    session.run("pytest", *WORKERS, "-m", "slow", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def regression(session: nox.Session) -> None:
    """Compares scores and a training with those kept; `-- --renew` keeps the new ones, `--seeds 5` calibrates."""
    install_project(session, "test")
    if session.posargs:
        session.run("python", "tests/regression/reference.py", *session.posargs)
    else:
        session.run("pytest", "tests/regression")


@nox.session
def bench(session: nox.Session) -> None:
    """Measures speed, which takes all cores: every block, some hours, or `-- engine`, `-- run-folder` ..."""
    install_project(session, "test", "ray")
    data_root = os.environ.get("HARNESS_DATA_ROOT", str(Path.cwd().parent / "shared" / "data"))
    session.run("python", "tests/bench/bench.py", *session.posargs, env={"HARNESS_DATA_ROOT": data_root})


@nox.session
def gpu(session: nox.Session) -> None:
    """Tests and measures training on a CUDA GPU, in less than ten minutes; without one it says so."""
    install_project(session, "test")
    data_root = os.environ.get("HARNESS_DATA_ROOT", str(Path.cwd().parent / "shared" / "data"))
    session.run("pytest", "-m", "gpu", "-rs", *session.posargs)
    rows = "gpu_hh_rlhf,gpu_ultrafeedback"
    session.run("python", "tests/bench/bench.py", "training", "--rows", rows, env={"HARNESS_DATA_ROOT": data_root})


@nox.session
def simulate(session: nox.Session) -> None:
    """Simulates how often claims of a report are wrong, in half an hour; `-- --write` writes docs/statistics.md."""
    install_project(session, "test")
    session.run("python", "tests/simulation/simulate.py", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Checks style and formatting."""
    session.install("-q", *CONSTRAINTS, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Checks static types, strictly."""
    install_project(session, "types", "ray")
    session.run("mypy")


@nox.session
def layers(session: nox.Session) -> None:
    """Checks that imports go down only: harness -> suites -> reports."""
    session.install("-q", *CONSTRAINTS, "import-linter")
    session.run("lint-imports", env={"PYTHONPATH": str(Path.cwd())})
