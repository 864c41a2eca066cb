"""lm-eval's own index of tasks, groups and tags: the same names in the same files, read in a third of the time."""

import io
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from os.path import normpath
from pathlib import Path
from typing import Any

from reports.plain_text import one_line
from suites.inputs import SuiteError

_BLOCK = re.compile(
    rb"^[\"']?(?:task|group|tag|class|include)[\"']?[ \t]*:.*\n?"  # a key that the index is made of
    rb"(?:(?:[ \t#}\]-].*)?\n)*(?:[ \t-].+)?",  # and the lines that belong to its value
    re.MULTILINE,
)
_SIMPLE = re.compile(rb"[\"']?(task|group|tag|class|include)[\"']?:[ \t]+[\"']?([A-Za-z_]\w+[\w.+-]*)[\"']?\s*")
_NO_NAMES = frozenset((b"true", b"false", b"yes", b"no", b"on", b"off", b"null"))
"""What YAML reads as another value than a text."""
_FOLDER_NAME = re.compile(r"[\w-]+")
_LONGEST_NAME = 200
"""Characters of a name that are compared with known ones, and shown."""


class UnknownTaskError(SuiteError):
    """A name is neither a task of lm-eval nor a task file."""


def library() -> Path:
    """The folder of lm-eval's own task files."""
    from lm_eval.tasks import _yaml_loader

    return Path(str(_yaml_loader.__file__)).parent.resolve()


@cache
def entries(folder: Path) -> Mapping[str, Any]:
    """Name -> lm-eval's entry, for all tasks, groups and tags in a folder and its subfolders.

    lm-eval parses each file, and each file that it includes again for each that includes it, which takes seconds. Here
    only the keys that the index is made of are parsed.
    """
    from lm_eval.tasks._index import TaskIndex
    from yaml import YAMLError

    from suites.lm_eval.model import quiet

    index: dict[str, Any] = {}
    with quiet():
        for path in TaskIndex._iter_yaml_files(folder):  # noqa: SLF001 - its order decides between equal names
            try:
                TaskIndex.process_cfg(dict(_keys_of(path)), path, index)
            except (OSError, TypeError, ValueError, YAMLError):  # no task, as lm-eval has it
                continue
    return index


def find_entry(name: str, folders: Sequence[Path]) -> Any:
    """Returns lm-eval's entry of a name.

    Args:
        name: Name of a task, group or tag.
        folders: Folders of task files, searched before lm-eval's own.

    Raises:
        UnknownTaskError: Names tasks of similar spelling.
    """
    found = entry_or_none(name, folders)
    if found is not None:
        return found
    shown = name[:_LONGEST_NAME]
    known = [each for folder in (*folders, library()) for each in entries(folder)]
    alike = ", ".join(get_close_matches(shown, known, n=3))
    raise UnknownTaskError(
        f"lm-eval knows no task {one_line(repr(shown))}{f' (did you mean {alike}?)' if alike else ''}; "
        f"give a name or a YAML file"
    )


def entry_or_none(name: str, folders: Sequence[Path]) -> Any:
    """Returns lm-eval's entry of a name; None where there is none."""
    own = library()
    prefix = name.partition("_")[0]
    # Most tasks are in a folder that their name begins with; reading all of lm-eval's thousands of files takes seconds.
    near = [own / prefix] if _FOLDER_NAME.fullmatch(prefix) and (own / prefix).is_dir() else []
    for folder in (*folders, *near, own):
        entry = entries(folder).get(name)
        if entry is not None and (folder not in near or entry.yaml_path is not None):  # a tag may be in other folders
            return entry
    return None


@cache
def _keys_of(path: Path) -> Mapping[str, Any]:
    """The keys of a task file that the index is made of, with those of the files that it includes."""
    config = _own_keys(_BLOCK.findall(path.read_bytes()))
    includes = config.pop("include", [])
    merged: dict[str, Any] = {}
    for each in includes if isinstance(includes, list) else [includes]:
        merged.update(_keys_of(Path(normpath(path.parent / each))))
    return merged | config


def _own_keys(blocks: Sequence[bytes]) -> dict[str, Any]:
    """Reads a few lines of YAML: by hand where each is a key and a plain name, as most are."""
    import yaml

    simple = [_SIMPLE.fullmatch(block) for block in blocks]
    pairs = [(match[1].decode(), match[2]) for match in simple if match is not None]
    if len(pairs) == len(blocks) and not any(value.lower() in _NO_NAMES for _, value in pairs):
        return {key: value.decode() for key, value in pairs}
    config = yaml.load(io.BytesIO(b"\n".join(blocks)), Loader=_loader()) or {}  # noqa: S506 - a safe loader
    if not isinstance(config, dict):
        raise TypeError("a task file is a mapping")
    return config


@cache
def _loader() -> Any:
    """lm-eval's loader of YAML, which imports nothing."""
    from lm_eval.tasks import _yaml_loader

    return _yaml_loader._make_loader(library(), resolve_funcs=False)  # noqa: SLF001 - reads YAML as lm-eval does
