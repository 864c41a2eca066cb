"""Record where numbers come from: versions, machine, git state, seed; make the keys of stored adapters and scores."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.allocator import allocator_record
from harness.models.base import LoadedModel
from harness.models.precision import cpu_multiplies_bfloat16

PACKAGES = (
    "dpo-harness", "torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets", "tokenizers",
    "lm_eval", "numpy", "pandas", "scipy",
)  # fmt: skip

KEY_VERSION = 4
"""Part of the keys of fixtures and of cached scores; 4 since attention over packs rounds otherwise, 3 since the keys
name the device, 2 what products are computed in.

Raise it, with a line in CHANGELOG.md, whenever this project computes another adapter or other log-probabilities from
the same inputs: adapters and scores from before are then computed again.
"""

RANKS = 1
"""Processes that compute a score together, part of its key: one, also of a training that several share (`ranks`)."""


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
        **_devices(loaded),
        "processor": processor_name(),
        "n_cores": os.cpu_count(),
        "allocator": allocator_record(),
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


def computed_on(loaded: LoadedModel) -> dict[str, Any]:
    """Return the parts of a key that say what kind of device computes, as JSON values.

    Two models of GPU round products differently, and so do CPUs with different instructions. In float32 on a CPU that
    moves a response by about 1e-6 nats, below any tolerance; in half precision by 1e-2 nats. The number of threads is
    no part of a key: it divides rows of a product, never a sum, and log-probabilities stay equal bit for bit.
    """
    is_exact = loaded.device == "cpu" and (loaded.dtype, loaded.compute_dtype) == ("float32", "float32")
    return {
        **_devices(loaded),
        "instructions": instruction_set() if loaded.device == "cpu" and not is_exact else None,
    }


def _devices(loaded: LoadedModel) -> dict[str, Any]:
    """Return what computes; where that is several GPUs, also which of them has which part of the model."""
    if not loaded.gpus:
        return {"device": device_name(loaded.device)}
    import torch

    names = ", ".join(torch.cuda.get_device_name(gpu) for gpu in loaded.gpus)
    return {"device": names, "device_map": {part: str(gpu) for part, gpu in loaded.base.hf_device_map.items()}}


def device_name(device: str) -> str:
    """Return the model of GPU for "cuda", the chip for "mps", and "cpu" for a CPU."""
    import torch

    if device == "cuda" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"mps, {processor_name()}" if device == "mps" else device


def instruction_set() -> str:
    """Return the instructions that torch's CPU kernels use, and whether products in bfloat16 are among them."""
    import torch

    products = "bfloat16 in hardware" if cpu_multiplies_bfloat16() else "bfloat16 emulated"
    return f"{torch.backends.cpu.get_cpu_capability()}, {products}"


def score_context(loaded: LoadedModel, subject: str) -> str:
    """Return everything but token ids and their layout that determines a subject's log-probabilities, as JSON text."""
    return context_with_adapter(loaded, loaded.adapter_fingerprints.get(subject))


def context_with_adapter(loaded: LoadedModel, adapter: str | None) -> str:
    """Return the same of the weights with an adapter of this fingerprint on them, or without any."""
    parts = {
        "weights": loaded.fingerprint,
        "adapter": adapter,
        "quantization": loaded.quantization,
        "dtype": loaded.dtype,
        "compute_dtype": loaded.compute_dtype,
        **computed_on(loaded),
        "versions": package_versions(("torch", "transformers", "peft", "bitsandbytes")),
        "ranks": RANKS,
        "key_version": KEY_VERSION,
    }
    return json.dumps(parts, sort_keys=True)


def package_versions(names: Iterable[str]) -> dict[str, str | None]:
    """Return the installed version of each distribution, None where it is not installed."""
    return {name: _version(name) for name in names}


@cache
def hash_of_code(packages: Sequence[str] = ("harness", "suites", "reports")) -> str:
    """Return a hash of the project's modules as they are at the first call: two states of one version differ in it."""
    root, digest = Path(__file__).resolve().parents[2], hashlib.sha256()
    for file in sorted(file for name in packages for file in (root / name).rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


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


@cache
def _version(name: str) -> str | None:
    """Version of a distribution, read once: finding it parses a file of the distribution, and contexts ask often."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
