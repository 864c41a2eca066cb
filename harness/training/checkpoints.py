"""Checkpoints of a training: complete ones only, the newest two, each file known by its hash.

A checkpoint is the folder `step-<number>`. It is written under another name, its manifest last, and then renamed: what
a kill leaves behind is never taken for one.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.models.provenance import file_fingerprint
from harness.training.recipe import TrainingError

MANIFEST_FILE = "checkpoint.json"
N_KEPT = 2
_PREFIX, _HALF_WRITTEN = "step-", ".writing"


class UnwritableError(TrainingError):
    """What training has to keep cannot be written, such as on a full disk."""


class DamagedCheckpointError(Exception):
    """A checkpoint is not what was written; the one before it is taken."""


def write_checkpoint(checkpoints: Path, step: int, fill: Callable[[Path], None]) -> None:
    """Write the checkpoint of a step and drop those older than the newest two.

    Args:
        checkpoints: folder of this training's checkpoints.
        step: that it holds the state after.
        fill: writes its files, none in subfolders, into the folder given.

    Raises:
        UnwritableError: it cannot be written; those before it are still there.
    """
    half_written = checkpoints / _HALF_WRITTEN
    with writing(half_written, checkpoints):
        shutil.rmtree(half_written, ignore_errors=True)
        half_written.mkdir(parents=True)
        fill(half_written)
        files = {file.name: file_fingerprint(file) for file in sorted(half_written.iterdir())}
        manifest = {"step": step, "files": files}
        (half_written / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        half_written.rename(checkpoints / f"{_PREFIX}{step:08d}")
    for outdated in _folders(checkpoints)[N_KEPT:]:
        shutil.rmtree(outdated, ignore_errors=True)


def newest_checkpoint(checkpoints: Path, say: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that is as it was written, or None; damaged ones are said and removed."""
    for folder in _folders(checkpoints):
        try:
            _verify(folder)
        except DamagedCheckpointError as error:
            say(f"The checkpoint of step {_step(folder)} is damaged ({error}) and is not used.")
            shutil.rmtree(folder)
        else:
            say(f"Training goes on from the checkpoint of step {_step(folder)}.")
            return folder
    return None


def what_is_kept(checkpoints: Path) -> str:
    """A sentence about where the next call begins."""
    folders = _folders(checkpoints)
    if not folders:
        return "no checkpoint was kept yet, so the next call starts anew"
    return f"the checkpoint of step {_step(folders[0])} is kept, and the next call goes on from it"


@contextmanager
def writing(target: Path, checkpoints: Path) -> Iterator[None]:
    """Turn a failure to write into one line; whatever was begun at `target` is removed, to make room.

    Torch and safetensors tell of a full disk in errors of their own, not in OSError.

    Raises:
        UnwritableError: naming what was written and what is kept.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(target, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).strip().split("\n")[0]
        raise UnwritableError(
            f"--workspace: {target} cannot be written ({reason}); make room there, or name another folder; "
            f"{what_is_kept(checkpoints)}"
        ) from error


def _verify(folder: Path) -> None:
    """Compare every file with its hash.

    Raises:
        DamagedCheckpointError: one is missing or is not the one that was written.
    """
    try:
        files = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))["files"]
        changed = [name for name, fingerprint in files.items() if file_fingerprint(folder / name) != fingerprint]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpointError(str(error).strip() or type(error).__name__) from error
    if changed:
        raise DamagedCheckpointError(f"not as it was written: {', '.join(changed)}")


def _folders(checkpoints: Path) -> list[Path]:
    """Newest first."""
    return sorted(checkpoints.glob(f"{_PREFIX}*"), reverse=True)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix(_PREFIX))
