"""The commands on Ray, as processes of their own."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

QUICK = ("-o", "data.training.limit=24", "-o", "training.max_steps=2", "-o", "training.batch_size=4", "--seeds", "2")
JOB = ("train-and-eval", "--suite", "smoke", "--limit", "4", *QUICK, "--on", "ray", "--workers", "1")


AGENTS = ("ray::RuntimeEnvAgent", "ray::DashboardAgent")
"""Processes of Ray that compute nothing, and try for a minute to tell of the end before they follow."""


@pytest.fixture
def start(ray_environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command with a home folder, a temporary folder and a workspace of the test's own."""
    (tmp_path / "home").mkdir()
    environment = {name: value for name, value in ray_environment.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path / "home"), "HARNESS_WORKSPACE": str(tmp_path / "w")}

    def command(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "harness", *arguments],
            cwd=tmp_path,
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    with tempfile.TemporaryDirectory(prefix="ray-test-", dir="/tmp", ignore_cleanup_errors=True) as short:
        environment["TMPDIR"] = short  # whose name is short enough for sockets
        yield command


def test_a_driver_that_is_killed_leaves_no_process_and_is_completed_by_the_same_command(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """Everything listens on loopback, nothing is written home, and what was trained is not trained again."""
    import psutil

    driver = start(*JOB)
    adapters = tmp_path / "w" / "fixtures"
    while driver.poll() is None and not [*adapters.glob("*/adapter_model.safetensors")]:
        time.sleep(0.05)
    started = psutil.Process(driver.pid).children(recursive=True)
    heard = [each.laddr.ip for process in started for each in connections(process) if each.status == psutil.CONN_LISTEN]
    computing = [process for process in started if name_of(process) not in AGENTS]
    driver.kill()
    driver.communicate()
    _, alive = psutil.wait_procs(computing, timeout=20)

    assert len(computing) > 3
    assert heard
    assert set(heard) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert not alive, [process.cmdline() for process in alive]
    written = {file: file.stat().st_mtime_ns for file in adapters.glob("*/adapter_model.safetensors")}
    assert written

    again = start(*JOB)
    out, err = again.communicate(timeout=200)
    assert again.returncode == 0, err
    assert "seed 43" in out
    trained = {file: file.stat().st_mtime_ns for file in adapters.glob("*/adapter_model.safetensors")}
    assert len(trained) == 2
    assert written.items() <= trained.items()
    assert not (tmp_path / "home" / ".ray").exists()
    assert "(raylet" not in err
    _, alive = psutil.wait_procs(started, timeout=90)
    assert not alive, [process.cmdline() for process in alive]


def test_a_driver_that_is_told_to_end_says_so_in_a_line_and_leaves_no_process(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """SIGTERM while a unit is worked on: exit code 130, as without Ray."""
    import psutil

    driver = start(*JOB)
    while driver.poll() is None and not [*(tmp_path / "w" / "fixtures").glob("*/adapter_model.safetensors")]:
        time.sleep(0.05)
    started = psutil.Process(driver.pid).children(recursive=True)
    computing = [process for process in started if name_of(process) not in AGENTS]
    driver.terminate()
    _, err = driver.communicate(timeout=60)
    _, alive = psutil.wait_procs(computing, timeout=20)

    assert driver.returncode == 130, err
    assert err.splitlines()[-1].startswith("interrupted by SIGTERM"), err
    assert "Traceback" not in err
    assert "SIGTERM received" not in err  # Ray's own account of it, with addresses
    assert len(computing) > 3
    assert not alive, [process.cmdline() for process in alive]


def name_of(process: Any) -> str:
    """What a process is called, nothing where it has ended."""
    import psutil

    try:
        return str(process.cmdline()[0])
    except (psutil.Error, IndexError):
        return ""


def connections(process: Any) -> list[Any]:
    """The connections of a process, none where it has ended."""
    import psutil

    try:
        return list(process.net_connections(kind="inet"))
    except psutil.Error:
        return []


def test_a_gpu_that_nobody_has_is_refused_within_ten_seconds(
    start: Callable[..., subprocess.Popen[str]], two_nodes: Any, ray_environment: dict[str, str]
) -> None:
    """With what there is, before anything is loaded."""
    settings = {name: value for name, value in ray_environment.items() if name.startswith("RAY_")}
    began = time.monotonic()
    asked = start("train", "--on", "ray", "--address", two_nodes.address, "--gpus-per-unit", "1", **settings)
    _, err = asked.communicate(timeout=60)
    seconds = time.monotonic() - began

    assert asked.returncode == 2, err
    assert err.startswith("error: --gpus-per-unit 1: a unit needs 1 CPU and 1 GPU, which no node has: ")
    assert "has 1 CPU and 0 GPUs" in err
    assert seconds < 10


def test_the_doctor_says_what_each_node_has(
    start: Callable[..., subprocess.Popen[str]], two_nodes: Any, ray_environment: dict[str, str]
) -> None:
    """And that it sees the workspace."""
    settings = {name: value for name, value in ray_environment.items() if name.startswith("RAY_")}
    asked = start("doctor", "--address", two_nodes.address, HF_HUB_OFFLINE="1", **settings)
    out, err = asked.communicate(timeout=120)
    lines = [line for line in out.splitlines() if "  node " in line]
    assert len(lines) == 2, out + err
    assert all("1 CPUs, 0 GPUs" in line and "; sees " in line for line in lines)
