"""Find the folder of a base model on this disk or on the hub, and check which files it holds."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.schema import ModelConfig
from harness.models.hub import HubPlace, fetch, is_path
from reports.errors import UserError
from reports.json_text import parse_json
from reports.paths import expanded
from reports.plain_text import one_line

EMBEDDED = "embedded"
CONFIG_FILE = "config.json"
_HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
_LFS_POINTER = b"version https://git-lfs"


class ModelError(UserError):
    """The base model cannot be loaded as configured."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """Where a model lies on this disk, and what it is called."""

    name: str
    """"embedded", an absolute folder, or a hub id without its revision."""
    folder: Path
    revision: str | None = None
    """Revision on the hub; None is the main branch, or a local folder."""


def model_folder(config: ModelConfig) -> ModelFolder:
    """Return the folder of a model, fetched from the hub if its name is not a local folder.

    On the hub a revision may stand behind the name, and a folder of the repository in it: `org/name@v2`.

    Raises:
        ModelError: there is no such folder, or two revisions are named.
        HubUnreachable: the hub does not answer or does not have it.
    """
    if config.name == EMBEDDED:
        return ModelFolder(EMBEDDED, Path(__file__).parents[2] / "embedded" / "base_model")
    if expanded(config.name).is_dir():
        folder = expanded(config.name).resolve()
        return ModelFolder(str(folder), folder)
    place = None if is_path(config.name) or expanded(config.name).exists() else HubPlace.named(config.name)
    if place is None:
        found = " (it is a GGUF file, which llama.cpp reads)" if config.name.endswith(".gguf") else ""
        raise ModelError(
            f"model.name: there is no folder {config.name!r}{found}; give a folder, a hub id, or {EMBEDDED!r}"
        )
    if None not in (place.revision, config.revision) and place.revision != config.revision:
        raise ModelError(f"model.name {config.name!r} and model.revision {config.revision!r} name two revisions")
    revision = place.revision or config.revision
    patterns = (*_HUB_FILES, "*.bin") if config.allow_pickled_weights else _HUB_FILES
    what = f"model.name {config.name!r}"
    folder = fetch(what, place.repository, revision=revision, patterns=patterns, folder=place.folder)
    return ModelFolder(config.name.partition("@")[0], folder, revision)


def locate_weights(config: ModelConfig) -> tuple[str, Path]:
    """Return the model's name and its folder, which holds a model's files.

    Raises:
        ModelError: there is no such folder, or it holds something else.
        HubUnreachable: the hub does not answer or does not have it.
    """
    found = model_folder(config)
    check_files(found.name, found.folder, allow_pickled=config.allow_pickled_weights)
    return found.name, found.folder


def weights_fingerprint(folder: Path) -> str:
    """Return the hash of a model folder's weights and config.json, whatever the folder is called."""
    return files_fingerprint([folder / CONFIG_FILE, *weight_files(folder)])


def files_fingerprint(files: Iterable[Path]) -> str:
    """Return the hash of files by name and content, whatever their folder."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def check_files(name: str, folder: Path, *, allow_pickled: bool) -> None:
    """Check that a folder holds a model and nothing that must not be opened.

    Raises:
        ModelError: names the file that is missing, damaged or of another kind.
    """
    if not (folder / CONFIG_FILE).is_file():
        is_adapter = (folder / "adapter_config.json").is_file()
        advice = "it is an adapter: give it with --adapter" if is_adapter else "give the folder of a model"
        raise ModelError(f"model.name {name!r}: {folder} has no config.json; {advice}")
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"model.name {name!r}: {folder} also holds an adapter; move it to a folder of its own, as the baseline "
            f"has none"
        )
    files = weight_files(folder)
    if not files:
        is_gguf = next(folder.glob("*.gguf"), None) is not None
        found = ", but a GGUF file, which llama.cpp reads" if is_gguf else ""
        raise ModelError(
            f"model.name {name!r}: {folder} has no weights (*.safetensors){found}; give the folder of a model"
        )
    _check_index(name, folder, allow_pickled=allow_pickled)
    for file in sorted(folder.glob("*.json")):
        _check_json(name, file)
    if not isinstance(read_config(name, folder).get("model_type"), str):
        raise ModelError(f"model.name {name!r}: {folder / CONFIG_FILE} names no model_type; it is damaged")
    for file in files:
        _check_no_pointer(name, file)
    if not allow_pickled and files[0].suffix != ".safetensors":
        raise ModelError(
            f"model.name {name!r}: {folder} has only pickled weights ({files[0].name}); convert them to safetensors, "
            f"or set model.allow_pickled_weights=true"
        )


def read_config(name: str, folder: Path) -> dict[str, Any]:
    """Return the JSON object of a folder's config.json.

    Raises:
        ModelError: it cannot be read, or holds something else.
    """
    content = _check_json(name, folder / CONFIG_FILE)
    if not isinstance(content, dict):
        raise ModelError(f"model.name {name!r}: {folder / CONFIG_FILE} must hold a JSON object; it is damaged")
    return content


def _check_no_pointer(name: str, file: Path) -> None:
    """Check that a file holds weights and not their address, as a clone without Git LFS has it."""
    with file.open("rb") as stream:
        if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise ModelError(
                f"model.name {name!r}: {file.name} is a pointer of Git LFS, not the weights; run `git lfs pull` in "
                f"{file.parent}"
            )


def _check_json(name: str, file: Path) -> Any:
    """Return the JSON of a file beside the weights, whose depth libraries would meet as a crash."""
    try:
        return parse_json(file.read_bytes())
    except OSError as error:
        raise ModelError(f"model.name {name!r}: {file} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ModelError(f"model.name {name!r}: {file} cannot be read: {error}; it is damaged") from None


def _check_index(name: str, folder: Path, *, allow_pickled: bool) -> None:
    """Check that the indexes of a folder's weights name files of this folder alone, and pickles only where allowed.

    transformers opens whatever an index names, and the fingerprint of the weights is that of the folder's own files.
    """
    for index in sorted(folder.glob("*.index.json")):
        try:
            content = parse_json(index.read_bytes())
            named = set(content["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ModelError(
                f"model.name {name!r}: {index} does not say which file holds which weight; it is damaged"
            ) from None
        for file in sorted(map(str, named)):
            if Path(file).name != file or not (folder / file).is_file():
                raise ModelError(f"model.name {name!r}: {index} names {one_line(file)}, which is no file of its folder")
            if (
                not allow_pickled
                and index.name.endswith(".safetensors.index.json")
                and not file.endswith(".safetensors")
            ):
                raise ModelError(
                    f"model.name {name!r}: {index} names {one_line(file)}, which is not safetensors; convert it, or "
                    f"set model.allow_pickled_weights=true"
                )


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder, or its pickled weights where it has none."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
