"""The doctor finds what was planted, says what to do, and leaves nothing behind."""

import errno
import importlib.metadata
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from harness.commands import examination as doctor
from harness.commands.examination import GIB, Check, as_text, examine, four_bit_errors, gib, n_bytes, worst

METADATA = """Metadata-Version: 2.1
Name: dpo-harness
Version: 0.1
Requires-Python: {python}
Requires-Dist: torch{torch}
Requires-Dist: click>=1
Requires-Dist: nothing-of-the-kind>=1; extra == "test"
{more}
"""


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks the hub unless it says so."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has the project declare other requirements."""

    def declare_instead(python: str = ">=3.11", torch: str = ">=2", more: str = "") -> None:
        from email import message_from_string

        text = METADATA.format(python=python, torch=torch, more=more)
        monkeypatch.setattr(doctor, "metadata", lambda _name: message_from_string(text))

    return declare_instead


def test_a_sound_machine(tmp_path: Path) -> None:
    """Nothing here stands in the way, it takes less than ten seconds of computing, and the workspace is not made."""
    started = time.process_time()

    checks = examine(tmp_path / "workspace", None)

    assert time.process_time() - started < 10
    assert [check.name for check in checks] == [
        "Python", "packages", "processor", "GPU", "precision", "quantisation", "data root", "workspace", "disk",
        "leftovers", "hub cache", "hub",
    ]  # fmt: skip
    assert {check.name: check for check in checks if check.status == "problem"} == {}
    assert list(tmp_path.iterdir()) == []


def test_the_worst_counts() -> None:
    """A problem outweighs warnings, a warning what is fine."""
    fine, odd, bad = (Check("x", status, "", "do") for status in ("ok", "warning", "problem"))

    assert worst([fine]) == "ok"
    assert worst([fine, odd]) == "warning"
    assert worst([odd, bad, fine]) == "problem"


def test_text_for_the_terminal() -> None:
    """One line a check, what to do below it, a count at the end."""
    checks = [Check("disk", "problem", "full", "free some space"), Check("hub cache", "ok", "1 GiB")]

    assert as_text(checks).splitlines() == [
        "problem  disk       full",
        "                    -> free some space",
        "ok       hub cache  1 GiB",
        "",
        "1 problem",
    ]
    assert as_text(checks[1:]).endswith("\nnothing stands in the way")


def test_another_python(declare: Callable[..., None]) -> None:
    """Both versions are named."""
    declare(python=">=3.99")

    check = doctor.check_python()

    assert check.status == "problem"
    assert ">=3.99" in check.finding
    assert ">=3.99" in check.advice


def test_wrong_and_missing_packages(declare: Callable[..., None]) -> None:
    """Each is named with what it should be, and the command installs them; extras are nobody's concern."""
    declare(torch=">=99", more="Requires-Dist: no-such-package-at-all<3,>=2")

    check = doctor.check_packages()

    assert check.status == "problem"
    installed = importlib.metadata.version("torch")
    assert check.finding == f"torch {installed} (needs >=99), no-such-package-at-all missing (needs <3,>=2)"
    assert check.advice == "pip install 'torch>=99' 'no-such-package-at-all<3,>=2'"


def test_the_packages_here_are_the_required_ones() -> None:
    """Local versions such as 2.13.0+cpu count as what they are."""
    check = doctor.check_packages()

    assert check.status == "ok"
    assert f"torch {importlib.metadata.version('torch')}" in check.finding


def test_a_project_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said as a warning, because nothing else is known."""
    monkeypatch.setattr(doctor, "_PROJECT", "no-such-project-at-all")

    for check in (doctor.check_python(), doctor.check_packages()):
        assert (check.status, check.advice) == ("warning", "install it: pip install -e .")


def test_a_wrong_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named."""
    monkeypatch.setenv("HARNESS_THREADS", "many")

    check = doctor.check_processor()

    assert check.status == "problem"
    assert "HARNESS_THREADS" in check.finding


def test_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under two GiB there is a warning."""
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=GIB, total=8 * GIB))

    check = doctor.check_processor()

    assert check.status == "warning"
    assert "1.0 GiB of 8.0 GiB memory free" in check.finding


def test_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, memory and bfloat16 are told, and that only the first of two is used."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10 * GIB, 16 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)

    check = doctor.check_gpu()

    assert check.finding == "Tesla T4, the first of 2, 10.0 GiB of 16.0 GiB free, has no bfloat16"
    assert check.status == "ok"


def test_a_gpu_that_torch_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver without a CUDA build of torch is worth a warning; no driver is not."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda _name: "/usr/bin/nvidia-smi")
    assert doctor.check_gpu().status == "warning"
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert doctor.check_gpu() == Check("GPU", "ok", "none; everything runs on the CPU")


def test_what_is_slow_here_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Factors of a timed product, what auto takes, and advice on what is slow; a warning where auto itself is."""
    factors = {"bfloat16": 150.0, "float16": 140.0}
    monkeypatch.setattr(doctor, "slowdown", lambda dtype, _device: factors[dtype])
    monkeypatch.setattr(doctor, "choose_compute_dtype", lambda *_: "float32")
    check = doctor.check_precision()
    assert "in bfloat16 150.0 times and in float16 140.0 times as long as in float32; 4-bit layers" in check.finding
    assert check.finding.endswith("(leave model.dtype and model.compute_dtype at auto)")
    assert check.status == "ok"

    factors.update(bfloat16=0.4, float16=0.5)
    assert "leave" not in doctor.check_precision().finding

    factors.update(bfloat16=3.0)
    monkeypatch.setattr(doctor, "choose_compute_dtype", lambda *_: "bfloat16")
    assert doctor.check_precision().status == "warning"


@pytest.mark.parametrize(("dtype", "least", "most"), [("bfloat16", 1e-4, doctor.LARGEST_ERROR), ("float32", 0.0, 1e-5)])
def test_four_bit_layers_are_right_here(dtype: str, least: float, most: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """NF4 on this CPU: outputs and gradients are the dequantised weights' within the compute type's rounding."""
    monkeypatch.setattr(doctor, "choose_compute_dtype", lambda *_: dtype)
    state = torch.get_rng_state()

    errors = four_bit_errors("cpu")

    assert all(least <= error <= most for error in errors)
    assert torch.equal(torch.get_rng_state(), state)  # random numbers go on


def test_repacked_layers_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the switch that keeps weights unpacked, gradients are wrong on some CPUs, and it is a problem there."""
    from bitsandbytes.functional import has_avx512bf16

    if not has_avx512bf16():
        pytest.skip("this CPU has no AVX512-BF16, so bitsandbytes never repacks here")
    monkeypatch.setattr(doctor, "keep_unpacked", lambda _layer: 1)

    check = doctor.check_quantisation()

    assert check.status == "problem"
    assert "model.quantization=none" in check.advice


@pytest.mark.parametrize("error", [ImportError("no bitsandbytes"), RuntimeError("no kernel\nat all")])
def test_four_bit_layers_that_do_not_run(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is one line."""

    def fail(_device: str) -> tuple[float, float]:
        raise error

    monkeypatch.setattr(doctor, "four_bit_errors", fail)

    check = doctor.check_quantisation()

    assert check.status == "problem"
    assert check.finding == f"NF4 does not run: {str(error).splitlines()[0]}"


def test_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning with the offline switch, because the embedded default needs no hub."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        check = doctor.check_hub()

    assert check.status == "warning"
    assert "is out of reach" in check.finding
    assert "HF_HUB_OFFLINE=1" in check.advice


def test_a_hub_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fine, as is being offline on purpose."""
    assert "on purpose" in doctor.check_hub().finding
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(doctor, "require_hub", lambda *_args, **_options: None)
    assert doctor.check_hub() == Check("hub", "ok", "answers")


def test_the_size_of_the_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blobs count once, the links to them not."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert doctor.check_cache().finding == f"empty ({tmp_path / 'hub'})"
    blobs = tmp_path / "hub" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "blob").write_bytes(bytes(2**20))
    (tmp_path / "hub" / "link").symlink_to(blobs / "blob")

    assert doctor.check_cache().finding.startswith("1.0 MiB in ")


def test_a_data_root_that_is_missing(tmp_path: Path) -> None:
    """The option and the variable are named."""
    check = doctor.check_data_root(tmp_path / "nowhere")

    assert check.status == "problem"
    assert "HARNESS_DATA_ROOT" in check.advice


def test_what_a_data_root_holds(tmp_path: Path) -> None:
    """Datasets of the index and those in folders are found; an empty folder is a warning."""
    assert doctor.check_data_root(tmp_path).status == "warning"
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "datasets.yaml").write_text("mine/own:part: {train: rows.jsonl}\n")
    folder = tmp_path / "PKU-Alignment" / "PKU-SafeRLHF"
    folder.mkdir(parents=True)
    (folder / "test.jsonl").touch()

    check = doctor.check_data_root(tmp_path)

    assert check.status == "ok"
    assert "mine/own:part" in check.finding
    assert "PKU-Alignment/PKU-SafeRLHF" in check.finding


def test_the_real_data_root(data_root: Path) -> None:
    """Everything that the index names is there."""
    assert doctor.check_data_root(data_root).status == "ok"


@pytest.mark.parametrize("index", ["mine/own: {train: gone.jsonl}", "mine/own: [gone", "mine/own: {train: ../gone}"])
def test_a_broken_data_root(index: str, tmp_path: Path) -> None:
    """Missing files, a broken index and files outside of the root are problems that name the place."""
    (tmp_path / "datasets.yaml").write_text(index)

    check = doctor.check_data_root(tmp_path)

    assert check.status == "problem"
    assert "gone" in check.finding or "datasets.yaml" in check.finding


def test_a_workspace_that_cannot_be_written(tmp_path: Path) -> None:
    """A file where the folder should be, for root may write anywhere else."""
    (tmp_path / "file").touch()

    check = doctor.check_workspace(tmp_path / "file" / "workspace")

    assert check.status == "problem"
    assert "--workspace" in check.advice


def test_what_a_workspace_holds(tmp_path: Path) -> None:
    """Scores, adapters and runs with their sizes; what is hidden or half done is not counted."""
    for name in (
        "fixtures/abc",
        "fixtures/def",
        "fixtures/ghi.partial",
        "fixtures/jkl.damaged",
        "merged/abc-float16",
        "runs/one",
        "runs/.two.1234.partial",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "fixtures" / "abc" / "weights").write_bytes(bytes(3 * 2**20))
    (tmp_path / "scores.sqlite").write_bytes(bytes(2**20))

    check = doctor.check_workspace(tmp_path)

    assert check.status == "ok"
    assert check.finding.endswith(
        "it holds 1.0 MiB of scores, 2 adapters (3.0 MiB), 1 merged models (0.0 MiB), 1 runs (0.0 MiB)"
    )


def test_a_folder_without_permission_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each check of a folder says so by itself, and the others go on."""

    def refuse(folder: Path) -> Check:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / "runs"))

    monkeypatch.setattr(doctor, "check_leftovers", refuse)
    monkeypatch.setattr(doctor, "check_disk", refuse)
    found = [check for check in examine(tmp_path, None) if check.name in ("leftovers", "disk")]
    assert [(check.status, check.finding) for check in found] == [
        ("problem", f"{tmp_path / 'runs'} cannot be looked into (Permission denied)")
    ] * 2
    assert all(check.advice for check in found)


@pytest.mark.parametrize(("free", "status"), [(GIB // 2, "problem"), (5 * GIB, "warning"), (50 * GIB, "ok")])
def test_a_full_disk(free: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked of the nearest folder that is there."""
    asked = []

    def disk_usage(folder: Path) -> Any:
        asked.append(folder)
        return SimpleNamespace(free=free)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)

    check = doctor.check_disk(tmp_path / "not" / "yet")

    assert (check.status, asked) == (status, [tmp_path])
    assert (check.advice == "") == (status == "ok")


HOLDER = (
    "import sys; from filelock import FileLock\nwith FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
)


def test_what_killed_processes_left(tmp_path: Path) -> None:
    """Half-written folders, damaged ones and locks of nothing are told; those of a process at work are not."""
    fixtures = tmp_path / "fixtures"
    for name in ("dead.partial", "busy.partial", "whole", "old.damaged"):
        (fixtures / name).mkdir(parents=True)
    for name in (".dead.lock", ".busy.lock", ".whole.lock", ".gone.lock"):
        (fixtures / name).touch()
    (tmp_path / "runs" / ".one.1234.partial").mkdir(parents=True)
    (tmp_path / "merged").mkdir()
    command = [sys.executable, "-c", HOLDER, str(fixtures / ".busy.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        check = doctor.check_leftovers(tmp_path)
        other.communicate("")

    assert check.status == "warning"
    listed, _, _ = check.finding.partition(" (")
    assert listed.split(", ") == [
        "runs/.one.1234.partial", "fixtures/dead.partial", "fixtures/old.damaged", "fixtures/.dead.lock",
        "fixtures/.gone.lock", "fixtures/.whole.lock",
    ]  # fmt: skip
    assert "harness prune --workspace" in check.advice


def test_nothing_is_left(tmp_path: Path) -> None:
    """A workspace that is not there yet has no leftovers."""
    assert doctor.check_leftovers(tmp_path / "workspace") == Check("leftovers", "ok", "none")


def test_sizes(tmp_path: Path) -> None:
    """Of a file, of a folder, and of what is gone."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(bytes(10))

    assert n_bytes(tmp_path) == n_bytes(tmp_path / "folder" / "file") == 10
    assert n_bytes(tmp_path / "gone") == 0
    assert (gib(3 * GIB // 2), gib(2**19)) == ("1.5 GiB", "0.5 MiB")


def test_every_warning_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is not fine comes with advice, whatever is fine without."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=0))
    (tmp_path / "file").touch()

    checks = examine(tmp_path / "file" / "workspace", tmp_path / "nowhere")

    assert {check.name for check in checks if check.status == "problem"} == {"data root", "workspace", "disk"}
    assert all((check.status == "ok") == (check.advice == "") for check in checks)
