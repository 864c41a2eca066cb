"""Find the folder of an adapter on this disk or on the hub, and say what lies there where it is none."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.models.hub import HubPlace, fetch, is_path
from harness.models.templates import TEMPLATE_FILES
from reports.errors import UserError
from reports.json_text import parse_json, unique_keys
from reports.paths import expanded

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
FIXTURE_FILE = "fixture.json"
"""Record beside an adapter that this project trained; it names the weights it was trained on."""
GROUPS_FILE = "trained_groups.txt"
"""Groups of the rows that an adapter of this project was trained on, one a line."""
CARD_FILE = "README.md"
"""Model card of an adapter."""
_HUB_FILES = (CONFIG_FILE, WEIGHTS_FILE, FIXTURE_FILE, GROUPS_FILE, CARD_FILE, *TEMPLATE_FILES)


class AdapterError(UserError):
    """An adapter is missing, is damaged, or belongs to another base model."""


@dataclass(frozen=True, slots=True)
class _Stranger:
    """Files that are no adapter of PEFT but often taken for one."""

    pattern: str
    what: str
    """What they are, and what to do."""


_STRANGERS = (
    _Stranger(
        "adapter_model.bin",
        "adapter_model.bin, which is a pickle; write it again as safetensors: safetensors.torch.save_file("
        "torch.load('adapter_model.bin', weights_only=True), 'adapter_model.safetensors')",
    ),
    _Stranger("*.gguf", "a GGUF file, which llama.cpp reads; give the adapter that it was converted from"),
    _Stranger("adapters.safetensors", "an adapter of MLX; convert it to PEFT's form"),
    _Stranger("adapters.npz", "an adapter of MLX; convert it to PEFT's form"),
    _Stranger("pytorch_lora_weights.safetensors", "an adapter of diffusers, which is for pictures"),
    _Stranger("lit_model.pth*", "an adapter of LitGPT; convert it to PEFT's form"),
    _Stranger("*.ggml", "a GGML file, which llama.cpp reads; give the adapter that it was converted from"),
    _Stranger("config.json", "a full model; give it with --candidate NAME=PATH"),
    _Stranger("checkpoint-*", "checkpoints; give one of them"),
)
"""In the order in which they are named; a folder with several is called by the first."""


def locate_adapter(path_or_id: str) -> Path:
    """Return the folder of an adapter's two files; an adapter that is not a local folder is fetched from the hub.

    On the hub it may be in a folder of its repository and at a revision: `org/name/checkpoint-10@v2`. Its record and
    its model card are fetched with it, because they say what it was trained from.

    Raises:
        AdapterError: there is no such adapter, or the folder holds something else.
        HubUnreachable: the hub does not answer or does not have it.
    """
    folder = expanded(path_or_id)
    if not folder.is_dir():
        if is_path(path_or_id) or folder.exists():
            raise AdapterError(_no_folder(path_or_id, folder))
        place = HubPlace.named(path_or_id)
        if place is None:
            raise AdapterError(
                f"adapter {path_or_id!r} is not a folder and no hub id; give a folder that holds {CONFIG_FILE}, or "
                f"OWNER/NAME, OWNER/NAME@REVISION or OWNER/NAME/FOLDER"
            )
        folder = fetch(
            f"adapter {path_or_id!r}",
            place.repository,
            revision=place.revision,
            patterns=_HUB_FILES,
            folder=place.folder,
        )
    for file in (WEIGHTS_FILE, CONFIG_FILE):
        if not (folder / file).is_file():
            found = next((each.what for each in _STRANGERS if any(folder.glob(each.pattern))), "")
            raise AdapterError(
                f"adapter {path_or_id!r} has no {file} in {folder}" + (f", but it holds {found}" if found else "")
            )
    return folder


def _no_folder(path_or_id: str, path: Path) -> str:
    """Say what a path is that is no folder."""
    found = next((each.what for each in _STRANGERS if path.match(each.pattern) and path.is_file()), "")
    if found:
        return f"adapter {path_or_id!r} is {found}"
    if path.name in (CONFIG_FILE, WEIGHTS_FILE) and path.is_file():
        return f"adapter {path_or_id!r} is not a folder; give the folder {path.parent}"
    return f"adapter {path_or_id!r} is not a folder; give a folder that holds {CONFIG_FILE}, or a hub id"


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file that lies beside weights.

    Raises:
        AdapterError: it cannot be read, holds something else, or has a key twice, of which readers take either value.
    """
    try:
        content = parse_json(path.read_bytes(), unique_keys)
    except OSError as error:
        raise AdapterError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise AdapterError(f"{path} cannot be read ({error}); it is damaged") from error
    if not isinstance(content, dict):
        raise AdapterError(f"{path} must hold a JSON object; it is damaged")
    return content
