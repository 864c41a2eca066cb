"""Record where numbers come from: versions, machine, git state, seed; make the keys of stored adapters and scores."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.models.base import LoadedModel

PACKAGES = (
    "dpo-harness", "torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets", "tokenizers",
    "lm_eval", "numpy", "pandas", "scipy",
)  # fmt: skip

KEY_VERSION = 2
"""Part of the keys of fixtures and of cached scores; 2 since the keys name what products are computed in.

Raise it, with a line in CHANGELOG.md, whenever this project computes another adapter or other log-probabilities from
the same inputs: adapters and scores from before are then computed again.
"""


def collect(loaded: LoadedModel, seed: int) -> dict[str, Any]:
    """Return everything a reader needs to judge or repeat a run, as JSON values."""
    import torch

    return {
        "command": sys.argv,
        "seed": seed,
        "base": {
            "name": loaded.name,
            "fingerprint": loaded.fingerprint,
            "quantization": loaded.quantization,
            "dtype": loaded.dtype,
            "compute_dtype": loaded.compute_dtype,
            "template": loaded.template,
        },
        "device": torch.cuda.get_device_name() if loaded.device == "cuda" else loaded.device,
        "processor": processor_name(),
        "n_cores": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "determinism": {
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
        },
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": package_versions(PACKAGES),
        "git": git_state(Path.cwd()),
    }


def score_context(loaded: LoadedModel, subject: str) -> str:
    """Return everything but token ids and their layout that determines a subject's log-probabilities, as JSON text."""
    parts = {
        "weights": loaded.fingerprint,
        "adapter": loaded.adapter_fingerprints.get(subject),
        "quantization": loaded.quantization,
        "dtype": loaded.dtype,
        "compute_dtype": loaded.compute_dtype,
        "device": loaded.device,
        "versions": package_versions(("torch", "transformers", "peft", "bitsandbytes")),
        "key_version": KEY_VERSION,
    }
    return json.dumps(parts, sort_keys=True)


def package_versions(names: Iterable[str]) -> dict[str, str | None]:
    """Return the installed version of each distribution, None where it is not installed."""
    return {name: _version(name) for name in names}


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit and whether tracked files differ from it; None outside a repository or without git."""
    git = shutil.which("git")
    if git is None:
        return None
    outputs = []
    for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        result = subprocess.run([git, *arguments], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
        if result.returncode != 0:
            return None
        outputs.append(result.stdout.strip())
    return {"commit": outputs[0], "dirty": bool(outputs[1])}


def processor_name() -> str:
    """Return the name of the CPU model as the system reports it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def file_fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
