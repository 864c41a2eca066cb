"""Checks of this machine for `harness doctor`: versions, devices, quantisation, hub, data, disk; each with advice."""

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Literal

from harness.config.strict_yaml import read_yaml_mapping
from harness.data.catalogue import CATALOGUE
from harness.data.locate import INDEX, RowSource, locate, locate_folder
from harness.data.read import EMBEDDED_PREFIX
from harness.models.base import choose_device
from harness.models.hub import HubUnreachable, is_offline, require_hub
from harness.models.precision import NOTABLY_SLOWER, choose_compute_dtype, slowdown, why_compute_dtype
from harness.models.provenance import package_versions, processor_name
from harness.models.quantization import keep_unpacked
from harness.models.threads import ThreadsError, choose_threads
from harness.prunable import left_behind, n_bytes
from harness.workspace import Workspace
from reports.errors import UserError, first_line
from reports.plain_text import one_line

Status = Literal["ok", "warning", "problem"]

HUB_SECONDS = 5.0
GIB = 2**30
LITTLE_DISK, NO_DISK = 10 * GIB, GIB
"""Free bytes below which the disk is a warning, and a problem."""
LITTLE_MEMORY = 2 * GIB
LARGEST_ERROR = 0.02
"""Largest error of a 4-bit layer relative to the same weights in float32; it may compute in bfloat16's 8 bits."""
_PROJECT = "dpo-harness"
_NOT_INSTALLED, _INSTALL = f"{_PROJECT} is not installed here", "install it: pip install -e ."
_SHOWN_PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes")
_UNFINISHED = (".partial", ".damaged")
"""What names of folders end in that hold no whole adapter or model."""
_SHOWN = 6
"""Items of a list that a finding names."""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check."""

    name: str
    status: Status
    finding: str
    advice: str = ""
    """Instruction to the user; never empty where the status is not ok."""


def examine(workspace: Path, data_root: Path | None) -> tuple[Check, ...]:
    """Runs all checks; takes seconds, and leaves nothing behind.

    Args:
        workspace: folder of trained adapters and runs, which need not exist yet.
        data_root: folder of local datasets, or None.
    """
    with ThreadPoolExecutor(max_workers=1) as waiting:
        hub = waiting.submit(check_hub)  # which waits for an answer while the others compute
        checks = (
            check_python(),
            check_packages(),
            check_processor(),
            check_gpu(),
            check_precision(),
            check_quantisation(),
            _of_folder("data root", lambda: check_data_root(data_root)),
            _of_folder("workspace", lambda: check_workspace(workspace)),
            _of_folder("disk", lambda: check_disk(workspace)),
            _of_folder("leftovers", lambda: check_leftovers(workspace)),
            check_cache(),
        )
        return (*checks, hub.result())


def _of_folder(name: str, check: Callable[[], Check]) -> Check:
    """What a check finds, or that its folder may not be looked into."""
    try:
        return check()
    except PermissionError as error:
        finding = f"{one_line(os.fsdecode(error.filename))} cannot be looked into ({error.strerror})"
        return Check(name, "problem", finding, "give yourself permission for it, or name another folder")


def worst(checks: Iterable[Check]) -> Status:
    """The worst status among the checks."""
    found = {check.status for check in checks}
    return "problem" if "problem" in found else "warning" if "warning" in found else "ok"


def as_text(checks: Sequence[Check]) -> str:
    """One line for each check, its advice below it, and the number of problems and warnings at the end."""
    name_width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.status:<7}  {check.name:<{name_width}}  {check.finding}")
        if check.advice:
            lines.append(f"{'':<7}  {'':<{name_width}}  -> {check.advice}")
    counts = {status: sum(check.status == status for check in checks) for status in ("problem", "warning")}
    parts = [f"{n} {status}{'' if n == 1 else 's'}" for status, n in counts.items() if n]
    return "\n".join([*lines, "", ", ".join(parts) or "nothing stands in the way"])


def check_python() -> Check:
    """Compares the interpreter with the version that the project requires."""
    from packaging.specifiers import SpecifierSet

    running = platform.python_version()
    try:
        needed = metadata(_PROJECT)["Requires-Python"]
    except PackageNotFoundError:
        return Check("Python", "warning", f"{running}; {_NOT_INSTALLED}", _INSTALL)
    if SpecifierSet(needed).contains(running, prereleases=True):
        return Check("Python", "ok", running)
    advice = f"make an environment with Python {needed}"
    return Check("Python", "problem", f"{running}, where {needed} is needed", advice)


def check_packages() -> Check:
    """Compares installed versions with the requirements in the project's metadata."""
    from packaging.requirements import Requirement

    try:
        declared = metadata(_PROJECT).get_all("Requires-Dist") or []
    except PackageNotFoundError:
        return Check("packages", "warning", _NOT_INSTALLED, _INSTALL)
    requirements = [Requirement(text) for text in declared]
    needed = [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    installed = package_versions(each.name for each in needed)
    unfit = [
        each
        for each in needed
        if installed[each.name] is None or not each.specifier.contains(str(installed[each.name]), prereleases=True)
    ]
    if not unfit:
        shown = ", ".join(f"{name} {installed[name]}" for name in _SHOWN_PACKAGES if name in installed)
        return Check("packages", "ok", f"all {len(needed)} as required; {shown}")
    found = ", ".join(f"{each.name} {installed[each.name] or 'missing'} (needs {each.specifier})" for each in unfit)
    command = " ".join(f"'{each.name}{each.specifier}'" for each in unfit)
    return Check("packages", "problem", found, f"pip install {command}")


def check_processor() -> Check:
    """Reports cores, threads and memory."""
    import psutil

    memory = psutil.virtual_memory()
    try:
        threads = choose_threads()
    except ThreadsError as error:
        return Check("processor", "problem", str(error), "correct or unset the variable")
    finding = (
        f"{processor_name()}, {os.cpu_count()} cores; {threads.sentence} "
        f"{gib(memory.available)} of {gib(memory.total)} memory free"
    )
    if memory.available < LITTLE_MEMORY:
        return Check("processor", "warning", finding, "close other programs, or take a smaller model")
    return Check("processor", "ok", finding)


def check_gpu() -> Check:
    """Reports the GPU that torch sees, its memory, and whether it computes in bfloat16."""
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        can = "computes" if torch.cuda.is_bf16_supported(including_emulation=False) else "has no"
        more = f", the first of {n}" if (n := torch.cuda.device_count()) > 1 else ""
        finding = f"{torch.cuda.get_device_name()}{more}, {gib(free)} of {gib(total)} free, {can} bfloat16"
        return Check("GPU", "ok", finding)
    if shutil.which("nvidia-smi") is not None:
        return Check(
            "GPU",
            "warning",
            f"nvidia-smi is here, but torch {torch.__version__} sees no GPU",
            "install torch's CUDA build (pytorch.org, Get started), or check that the driver works: nvidia-smi",
        )
    return Check("GPU", "ok", "none; everything runs on the CPU")


def check_precision() -> Check:
    """Times products in half precision, and reports the type that 4-bit layers compute in here."""
    device = choose_device("auto")
    factors = {dtype: slowdown(dtype, device) for dtype in ("bfloat16", "float16")}
    times = " and ".join(f"in {dtype} {factor:.1f} times" for dtype, factor in factors.items())
    finding = f"a product takes {times} as long as in float32; {why_compute_dtype('auto', device)[:-1]}"
    if factors.get(choose_compute_dtype("auto", device), 1.0) >= NOTABLY_SLOWER:
        return Check("precision", "warning", finding, "type -o model.compute_dtype=float32 (or model.dtype=float32)")
    if max(factors.values()) >= NOTABLY_SLOWER:
        finding += " (leave model.dtype and model.compute_dtype at auto)"
    return Check("precision", "ok", finding)


def check_quantisation() -> Check:
    """Checks outputs and gradients of an NF4 layer on this machine."""
    advice = "set model.quantization=none, or install the bitsandbytes that the requirements name for this machine"
    try:
        device = choose_device("auto")
        forward, gradient = four_bit_errors(device)
    except (ImportError, OSError, RuntimeError, ValueError, AttributeError) as error:
        return Check("quantisation", "problem", f"NF4 does not run: {first_line(error)}", advice)
    finding = f"NF4 on {device}: relative error of outputs {forward:.1e}, of gradients {gradient:.1e}"
    if max(forward, gradient) <= LARGEST_ERROR:
        return Check("quantisation", "ok", finding)
    return Check("quantisation", "problem", f"{finding}, where {LARGEST_ERROR} is allowed", advice)


def four_bit_errors(device: str) -> tuple[float, float]:
    """Relative errors of the outputs and input gradients of a small NF4 layer, compared with float32.

    An evaluation comes first, because it can break later gradients (`quantization.py`).
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    compute = getattr(torch, choose_compute_dtype("auto", device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = Linear4bit(128, 64, bias=False, compute_dtype=compute, quant_type="nf4")
        inputs, direction = torch.randn(8, 128).to(device), torch.randn(8, 64).to(device)
    layer = layer.to(device)
    keep_unpacked(layer)
    weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
    with torch.no_grad():
        layer.eval()(inputs)
    outputs = layer.train()(inputs.requires_grad_())
    outputs.backward(direction)

    def error(found: torch.Tensor | None, right: torch.Tensor) -> float:
        return float("inf") if found is None else float((found - right).norm() / right.norm())

    return error(outputs.detach(), inputs.detach() @ weight.T), error(inputs.grad, direction @ weight)


def check_hub() -> Check:
    """Checks whether the hub answers; only what a configuration names is ever fetched from it."""
    if is_offline():
        return Check("hub", "ok", "offline on purpose (HF_HUB_OFFLINE): what is in the cache can be used")
    try:
        require_hub("the hub", timeout_seconds=HUB_SECONDS)
    except HubUnreachable as error:
        return Check("hub", "warning", error.problem, error.advice)
    return Check("hub", "ok", "answers")


def check_cache() -> Check:
    """Reports the size of the hub client's cache."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    held = f"{gib(n_bytes(folder))} in {folder}" if folder.is_dir() else f"empty ({folder})"
    return Check("hub cache", "ok", held)


def check_data_root(data_root: Path | None) -> Check:
    """Lists the datasets of the data root, and checks that their files are there."""
    if data_root is None:
        return Check("data root", "ok", "none given: datasets that are not embedded come from the hub")
    if not data_root.is_dir():
        advice = "correct --data-root or HARNESS_DATA_ROOT, or leave it out"
        return Check("data root", "problem", f"{data_root} is no folder", advice)
    held, damaged = [], []
    try:
        for name, located in _located(data_root):
            missing = [str(file) for files in located.files.values() for file in files if not file.is_file()]
            held.append(name)
            damaged += [f"{name}: {file} is missing" for file in missing]
    except UserError as error:
        damaged.append(str(error))
    if damaged:
        return Check("data root", "problem", _listed(damaged), "fetch these files again, or correct what names them")
    if not held:
        advice = f"name its files in {data_root / INDEX}, or point to another folder"
        return Check("data root", "warning", f"{data_root} holds no dataset that is known", advice)
    return Check("data root", "ok", f"{data_root} holds {len(held)} datasets: {_listed(held)}")


def _located(data_root: Path) -> Iterator[tuple[str, RowSource]]:
    """The datasets of a root: all that its index names, and those of the catalogue that lie there in folders."""
    index = data_root / INDEX
    indexed = list(read_yaml_mapping(index)) if index.exists() else []
    known = [
        f"{entry.name}:{configuration}" if configuration else entry.name
        for entry in CATALOGUE.values()
        for configuration in entry.configurations
        if not entry.name.startswith(EMBEDDED_PREFIX)
    ]
    for full_name in dict.fromkeys((*indexed, *known)):
        name, _, configuration = full_name.partition(":")
        look = locate if full_name in indexed else locate_folder
        located = look(data_root, name, configuration, None)
        if located is not None:
            yield full_name, located


def check_workspace(workspace: Path) -> Check:
    """Checks that the workspace can be written, and reports what it holds."""
    folder = _nearest_folder(workspace)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        finding = f"{workspace} cannot be written ({error.strerror})"
        return Check("workspace", "problem", finding, "name another folder with --workspace or HARNESS_WORKSPACE")
    if not workspace.exists():
        return Check("workspace", "ok", f"{workspace} will be made")
    place = Workspace(workspace)
    held = [f"{gib(sum(n_bytes(file) for file in workspace.glob(f'{place.scores.name}*')))} of scores"]
    for parent, words in ((place.fixtures, "adapters"), (place.merged, "merged models"), (place.runs, "runs")):
        whole = [path for path in _entries(parent) if not path.name.startswith(".") and path.suffix not in _UNFINISHED]
        folders = [path for path in whole if path.is_dir()]
        held.append(f"{len(folders)} {words} ({gib(n_bytes(parent))})")
    return Check("workspace", "ok", f"{workspace} can be written; it holds {', '.join(held)}")


def check_disk(workspace: Path) -> Check:
    """Checks the free space on the workspace's disk."""
    free = shutil.disk_usage(_nearest_folder(workspace)).free
    finding = f"{gib(free)} free for {workspace}"
    advice = "free some space, or put the workspace on another disk: --workspace"
    if free < NO_DISK:
        return Check("disk", "problem", finding, advice)
    return Check("disk", "warning", finding, advice) if free < LITTLE_DISK else Check("disk", "ok", finding)


def check_leftovers(workspace: Path) -> Check:
    """Lists what killed processes left behind and no process uses."""
    left = [*left_behind(Workspace(workspace))]
    if not left:
        return Check("leftovers", "ok", "none")
    place = f" --workspace {workspace}" if workspace != Path("workspace") else ""
    advice = f"`harness prune{place}` removes them; a training that was not finished goes on with the same command"
    names = [one_line(str(each.path.relative_to(workspace))) for each in left]
    return Check("leftovers", "warning", f"{_listed(names)} ({gib(sum(each.n_bytes for each in left))})", advice)


def gib(size: int) -> str:
    """Bytes as text in GiB or MiB."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / 2**20:.1f} MiB"


def _nearest_folder(path: Path) -> Path:
    """The path itself where it exists, else the first of its parents that does."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more
