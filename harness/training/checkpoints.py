"""Write and find the checkpoints of a training run: complete ones only, the newest two, every file with its hash.

A checkpoint is a folder `step-<number>`. It is written under another name, the manifest last, and then renamed, so that
files left by a killed process are never mistaken for a checkpoint.
"""

import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.training.recipe import TrainingError
from reports.checksums import file_checksum
from reports.errors import first_line
from reports.json_text import parse_json
from reports.whole import remove, whole_folder

MANIFEST_FILE = "checkpoint.json"
N_KEPT = 2
_PREFIX, _TEMPORARY = "step-", ".writing"
_NAME = re.compile(rf"{_PREFIX}[0-9]{{8,18}}")


class UnwritableError(TrainingError):
    """A checkpoint or adapter cannot be written, for example because the disk is full."""


class DamagedCheckpointError(Exception):
    """A checkpoint's files differ from what was written; the one before it is used."""


def write_checkpoint(checkpoints: Path, step: int, fill: Callable[[Path], None]) -> None:
    """Write the checkpoint of a step, then delete all but the newest two.

    Args:
        checkpoints: folder of this run's checkpoints.
        step: number of optimiser steps done.
        fill: writes the checkpoint's files, without subfolders, into the folder it is called with.

    Raises:
        UnwritableError: it cannot be written; earlier checkpoints remain.
    """
    temporary = checkpoints / _TEMPORARY
    with writing(temporary, checkpoints), whole_folder(checkpoints / f"{_PREFIX}{step:08d}", temporary):
        fill(temporary)
        files = {file.name: file_checksum(file) for file in sorted(temporary.iterdir())}
        manifest = {"step": step, "files": files}
        (temporary / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for outdated in _folders(checkpoints)[N_KEPT:]:
        shutil.rmtree(outdated, ignore_errors=True)


def newest_checkpoint(
    checkpoints: Path, say: Callable[[str], None], restore: Callable[[Path], object] = Path.exists
) -> Path | None:
    """Return the newest undamaged checkpoint, or None; delete damaged ones with a message.

    Args:
        checkpoints: folder of this run's checkpoints.
        say: called with a message for each.
        restore: takes what it needs from a checkpoint; `DamagedCheckpointError` from it is damage like any other.
    """
    for folder in _folders(checkpoints):
        try:
            _verify(folder)
            restore(folder)
        except DamagedCheckpointError as error:
            discard(folder, error, say)
        else:
            say(f"Training continues from the checkpoint of step {step_of(folder)}.")
            return folder
    return None


def discard(checkpoint: Path, damage: DamagedCheckpointError, say: Callable[[str], None]) -> None:
    """Delete a damaged checkpoint with a message.

    Raises:
        UnwritableError: it cannot be deleted, so that the next call would find it again.
    """
    say(f"The checkpoint of step {step_of(checkpoint)} is damaged ({damage}) and is not used.")
    remove(checkpoint)
    if checkpoint.exists():
        raise UnwritableError(f"--workspace: {checkpoint} is damaged and cannot be deleted; delete it by hand")


def step_of(checkpoint: Path) -> int:
    """Return the number of optimiser steps that were done before a checkpoint was written."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def has_checkpoint(checkpoints: Path) -> bool:
    """Return whether there is a checkpoint to continue from."""
    return bool(_folders(checkpoints))


def what_is_kept(checkpoints: Path) -> str:
    """Return a clause that says where the next call starts."""
    folders = _folders(checkpoints)
    if not folders:
        return "there is no checkpoint yet; the next call starts from the beginning"
    return f"the checkpoint of step {step_of(folders[0])} is kept; the next call continues from it"


@contextmanager
def writing(target: Path, checkpoints: Path) -> Iterator[None]:
    """Turn a failed write into an error of one line, and delete what was written at `target` to free the space.

    Torch and safetensors report a full disk with errors of their own instead of OSError.

    Raises:
        UnwritableError: names the file or folder, and the checkpoint that is kept.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(target, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise UnwritableError(
            f"--workspace: {target} cannot be written ({reason}); free some space, or choose another folder; "
            f"{what_is_kept(checkpoints)}"
        ) from error


def _verify(folder: Path) -> None:
    """Compare every file of a checkpoint with its hash, and check that it is of the kind that its name says.

    Raises:
        DamagedCheckpointError: a file is missing, differs from what was written, or was not written by a training.
    """
    try:
        files = parse_json((folder / MANIFEST_FILE).read_bytes())["files"]
        changed = [name for name, fingerprint in files.items() if file_checksum(folder / name) != fingerprint]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpointError(str(error).strip() or type(error).__name__) from error
    if changed:
        raise DamagedCheckpointError(f"not as it was written: {', '.join(changed)}")
    unreadable = [name for name in files if not _is_readable(folder / name)]
    if unreadable:
        raise DamagedCheckpointError(f"not what a training writes: {', '.join(unreadable)}")


def _is_readable(file: Path) -> bool:
    """Return whether a file holds what its name says, as far as that can be seen without loading weights."""
    from safetensors import SafetensorError, safe_open

    try:
        if file.suffix == ".json":
            parse_json(file.read_bytes())
        elif file.suffix in (".pt", ".pth", ".bin"):  # torch writes zip files
            return zipfile.is_zipfile(file)
        elif file.suffix == ".safetensors":
            with safe_open(file, framework="numpy"):
                pass
    except (OSError, ValueError, SafetensorError):
        return False
    return True


def _folders(checkpoints: Path) -> list[Path]:
    """Return the folders of all checkpoints, newest first."""
    return sorted((path for path in checkpoints.glob(f"{_PREFIX}*") if _NAME.fullmatch(path.name)), reverse=True)
