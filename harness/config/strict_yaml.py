"""Reads and writes YAML safely: the core values of YAML 1.2, no duplicate keys, no aliases.

PyYAML follows YAML 1.1, where `5e-6` is text and `on` is true; in YAML 1.2 it is the other way round.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar

import yaml

from harness.config.limits import LARGEST_YAML
from harness.config.wording import shown_name
from reports.errors import UserError, first_line
from reports.json_text import DEEPEST_JSON


class YamlError(UserError):
    """A YAML text that cannot be read; the message names the file or option, and the line."""


_TAG = "tag:yaml.org,2002:"
# Core schema of YAML 1.2.2, section 10.3.2, without octal and hexadecimal numbers. A whole number matches the float
# pattern too, so it is asked for first.
_PATTERNS: tuple[tuple[str, str, str], ...] = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
)


class _Loader(yaml.SafeLoader):
    """Reads the values above and nothing else."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own shape
    yaml_constructors: ClassVar[dict[str | None, Any]] = {}
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuses aliases, which can repeat and nest without end, and depth that no file here needs."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not supported", problem_mark=mark)
        self._depth += 1
        if self._depth > DEEPEST_JSON:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            problem = f"nested deeper than {DEEPEST_JSON} levels"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes what the loader would take for something else than text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Writes a value that occurs twice twice."""
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Text with anything that is no ordinary character in double quotes, where PyYAML escapes it faithfully."""
    ordinary = all(character.isprintable() or character == "\n" for character in text)
    return dumper.represent_scalar(_TAG + "str", text, style=None if ordinary else '"')


_Dumper.add_representer(str, _text)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    result: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        mark = key_node.start_mark
        if not isinstance(key, str):
            raise yaml.MarkedYAMLError(problem=f"a key must be text, got {key!r}", problem_mark=mark)
        if key in result:
            raise yaml.MarkedYAMLError(problem=f"the key {key!r} occurs twice", problem_mark=mark)
        result[key] = loader.construct_object(value_node, deep=True)
    return result


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _refuse(_loader: _Loader, node: yaml.Node) -> None:
    raise yaml.MarkedYAMLError(problem=f"the tag {node.tag} is not supported", problem_mark=node.start_mark)


_CONSTRUCTORS: dict[str, Any] = {
    "null": lambda _loader, _node: None,
    "bool": lambda loader, node: loader.construct_scalar(node).lower() == "true",
    "int": lambda loader, node: int(loader.construct_scalar(node)),
    "float": _number,
    "str": lambda loader, node: loader.construct_scalar(node),
    "seq": lambda loader, node: loader.construct_sequence(node, deep=True),
    "map": _mapping,
}
for _name, _constructor in _CONSTRUCTORS.items():
    _Loader.add_constructor(_TAG + _name, _constructor)
_Loader.add_constructor(None, _refuse)
for _name, _pattern, _first in _PATTERNS:
    for _class in (_Loader, _Dumper):
        # PyYAML looks an empty scalar up under "".
        _firsts = ["" if character == "\0" else character for character in _first]
        _class.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), _firsts)


def parse_yaml(text: str, source: str) -> Any:
    """The value a YAML text describes: None, bool, int, float, str, lists and mappings with text keys.

    Args:
        text: one YAML document.
        source: what an error calls it, such as the path or the option.

    Raises:
        YamlError: broken YAML, a duplicate key, an alias, or a tag.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with fewer values
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise YamlError(f"{source}{line}: not valid YAML: {shown_name(error.problem or str(error.context))}") from None
    except yaml.YAMLError as error:
        raise YamlError(f"{source}: not valid YAML: {first_line(error)}") from None
    except ValueError as error:  # a number with more digits than Python converts, or a badly tagged one
        raise YamlError(f"{source}: not valid YAML: {error}") from None


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """The mapping that the YAML file at `path` holds.

    Raises:
        YamlError: the file is missing or too large, cannot be read, is broken, or holds no mapping at the top.
    """
    source = shown_name(str(path))
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_YAML + 1)
        if len(content) > LARGEST_YAML:
            raise YamlError(f"{source}: larger than {LARGEST_YAML:,} bytes, which no file of settings is")
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise YamlError(f"{source}: no such file") from None
    except UnicodeDecodeError as error:
        raise YamlError(f"{source}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise YamlError(f"{source}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise YamlError(f"{str(path)!r} is no path") from None
    return as_mapping(parse_yaml(text, source), source)


def as_mapping(value: Any, source: str) -> dict[str, Any]:
    """The value itself, if it is a mapping.

    Raises:
        YamlError: it is something else.
    """
    if not isinstance(value, dict):
        kind = "nothing" if value is None else f"a {type(value).__name__}"
        raise YamlError(f"{source}: a mapping of keys to values is needed at the top, got {kind}")
    return value


def dump_yaml(value: Any) -> str:
    """YAML text that `parse_yaml` turns into an equal value; keys stay in order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
