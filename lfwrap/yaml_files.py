"""YAML files, read as the engine reads them, with the line of every key, and written so that all readers agree."""

from __future__ import annotations

import io
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson
import yaml

from lfwrap.errors import Finding, RecipeError

KeyPath = tuple[str | int, ...]

# The engine reads YAML through OmegaConf, whose float is YAML 1.2's: `1e-4` is a number there, text in PyYAML.
_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
         |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
         |\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
         |[-+]?\.(?:inf|Inf|INF)
         |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


_SafeLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _EngineLoader(_SafeLoader):  # type: ignore[misc, valid-type]  # chosen when imported
    """A safe loader with the engine's numbers and without dates (`2024-01-01` stays text, as for the engine)."""


_EngineLoader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:float"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_EngineLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


@dataclass(frozen=True)
class Position:
    """A place in a file, with line and column counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Document:
    """A YAML mapping with the place of each of its keys and values.

    Attributes:
        values: the mapping as Python values.
        name: the file's name, as the user gave it.
        keys: key path → place of the key.
        places: key path → place of the value.
    """

    values: dict[str, Any]
    name: str
    keys: Mapping[KeyPath, Position] = field(default_factory=dict)
    places: Mapping[KeyPath, Position] = field(default_factory=dict)

    def key_position(self, *path: str | int) -> Position | None:
        """The place of a key; None when the file has no such key."""
        return self.keys.get(path)

    def value_position(self, *path: str | int) -> Position | None:
        """The place of a key's value; None when the file has no such key."""
        return self.places.get(path)


T = TypeVar("T")


class _Collector:
    """Collects places and duplicate keys in one walk through the tree of nodes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.keys: dict[KeyPath, Position] = {}
        self.places: dict[KeyPath, Position] = {}
        self.findings: list[Finding] = []

    def walk(self, node: yaml.Node, path: KeyPath = ()) -> None:
        """Note the place of a node and of all that it holds."""
        self.places[path] = _position(node)
        if isinstance(node, yaml.MappingNode):
            for key_node, value_node in node.value:
                key = key_node.value if isinstance(key_node, yaml.ScalarNode) else str(key_node.value)
                child = (*path, key)
                if child in self.keys:
                    self._duplicate(key, key_node, self.keys[child])
                self.keys[child] = _position(key_node)
                self.walk(value_node, child)
        elif isinstance(node, yaml.SequenceNode):
            for index, value_node in enumerate(node.value):
                self.walk(value_node, (*path, index))

    def _duplicate(self, key: Hashable, node: yaml.Node, first: Position) -> None:
        here = _position(node)
        self.findings.append(
            Finding(
                "duplicate-key",
                f"{key}: duplicate key, first on line {first.line}.",
                file=self.name,
                line=here.line,
                column=here.column,
                hint="Keep one of the two.",
            )
        )


def _position(node: yaml.Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


def parse_yaml(text: str, name: str) -> Document:
    r"""Parse a YAML mapping; an empty text is an empty mapping.

    Raises:
        RecipeError: the text is not valid YAML, is not a mapping, or has duplicate keys or keys that are not text; with
            all places.

    Example:
        >>> document = parse_yaml("learning_rate: 1e-4\nbf16: true\n", "recipe.yaml")
        >>> document.values, document.key_position("bf16")
        ({'learning_rate': 0.0001, 'bf16': True}, Position(line=2, column=1))
    """
    try:
        loader = _EngineLoader(text)
        try:
            node = loader.get_single_node()
            values = {} if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _syntax_error(error, name, text) from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{name}: not valid YAML: {error}", hint="Correct the value.") from error
    if problem := _problem(values):
        hint = "A whole number has at most 64 bits, and an alias (*x) does not stand within its own value."
        raise RecipeError(f"{_place_of_problem(values, node, name)}not a valid value: {problem}", hint=hint)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise RecipeError(
            f"{name}:1:1  expected `key: value` lines at the top", hint="See recipes/paper.yaml for an example."
        )
    collector = _Collector(name)
    if node is not None:
        collector.walk(node)
    if collector.findings:
        raise RecipeError(f"{name}: duplicate keys", findings=collector.findings)
    return Document(values, name, collector.keys, collector.places)


def _place_of_problem(values: object, node: yaml.Node | None, name: str) -> str:
    """``file:line:column  key: `` of the first key at the top whose value is the problem; else the file alone."""
    if isinstance(values, dict) and isinstance(node, yaml.MappingNode):
        for key_node, _ in node.value:
            key = key_node.value
            if isinstance(key, str) and _problem(values.get(key)):
                where = _position(key_node)
                return f"{name}:{where.line}:{where.column}  {key}: "
    return f"{name}: "


def _problem(value: object) -> str | None:
    """Why a value can't stand in a recipe, a record and the engine's file alike; None when it can.

    >>> _problem({"a": [1, None]}), _problem([2**70])
    (None, 'Integer exceeds 64-bit range')
    """
    try:
        orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError as error:  # by an alias, a list can hold itself: that is too deep as well
        return str(error)
    return None


def _syntax_error(error: yaml.YAMLError, name: str, text: str) -> RecipeError:
    mark = getattr(error, "problem_mark", None)
    at_tab = mark is not None and text[mark.index : mark.index + 1] == "\t"
    problem = getattr(error, "problem", None) or str(error)
    finding = Finding(
        "yaml-syntax",
        f"not valid YAML: {problem}.",
        file=name,
        line=mark.line + 1 if mark else None,
        column=mark.column + 1 if mark else None,
        hint="Indent with spaces, not tabs." if at_tab else "Check indentation, quotes and colons there.",
    )
    return RecipeError(f"{name}: not valid YAML", findings=[finding])


_UTF8_HINT = "Save it as UTF-8 text."


def load_yaml(path: Path) -> Document:
    """Read a YAML file; see `parse_yaml`.

    Raises:
        RecipeError: the file is missing, or is not UTF-8, or is not a valid YAML mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such file", hint="Check the path.") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: can't be read: not UTF-8 from byte {error.start} on", hint=_UTF8_HINT) from error
    except OSError as error:
        raise RecipeError(f"{path}: can't be read: {error.strerror}", hint="Name a YAML file.") from error
    return parse_yaml(text, str(path))


def parse_scalar(text: str) -> Any:
    """One value, as the engine reads it on its command line.

    Raises:
        RecipeError: the text is not a valid YAML value.

    Example:
        >>> parse_scalar("1e-4"), parse_scalar("true"), parse_scalar("[a, b]"), parse_scalar("2024-01-01")
        (0.0001, True, ['a', 'b'], '2024-01-01')
    """
    try:
        value = yaml.load(text, Loader=_EngineLoader)  # noqa: S506 - a subclass of the safe loader
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error)
        raise RecipeError(f"{text!r}: not a valid value: {problem}", hint="Quote the text.") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{text!r}: not a valid value: {error}", hint="Correct the value.") from error
    if problem := _problem(value):
        raise RecipeError(f"{text!r}: not a valid value: {problem}", hint="Correct the value.")
    return value


class _AgreedDumper(yaml.SafeDumper):
    """Writes only spellings that every YAML reader understands in the same way."""


def _represent_float(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    text = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(text, text)
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_AMBIGUOUS = re.compile(r"^(?:y|n|yes|no|on|off|true|false|null|none|~)$|^[-+.0-9]", re.IGNORECASE)


def _represent_str(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    # Line separators such as U+0085 are lost outside double quotes.
    style = '"' if _AMBIGUOUS.match(value) or not value.isprintable() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_AgreedDumper.add_representer(float, _represent_float)
_AgreedDumper.add_representer(str, _represent_str)


def dump_yaml(values: Mapping[str, Any]) -> str:
    """YAML text with the keys in their order, which YAML 1.1 and 1.2 readers understand in the same way.

    Example:
        >>> print(dump_yaml({"learning_rate": 1e-4, "eval_strategy": "no"}), end="")
        learning_rate: 0.0001
        eval_strategy: "no"
    """
    sink = io.StringIO()
    yaml.dump(dict(values), sink, Dumper=_AgreedDumper, sort_keys=False, allow_unicode=True, width=120)
    return sink.getvalue()
