"""Read the dataclasses and enumerations of Python source without running it: 0.5 s for the engine, not 6 s."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Mult: operator.mul,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Pow: operator.pow,
}
_PLAIN_TYPES = {"int", "float", "bool", "str", "dict", "list"}


@dataclass(frozen=True, slots=True)
class SourceField:
    """One field of a dataclass, as its source states it.

    Attributes:
        types: the plain types it takes, out of int, float, bool, str, dict, list and null.
        default: its default value.
        choices: the values it takes; empty when any will do.
        help: its help text.
    """

    types: tuple[str, ...]
    default: Any
    choices: tuple[Any, ...]
    help: str


class SourceModules:
    """The classes of a few Python files, parsed once.

    Attributes:
        classes: name → definition; a later file wins.
        enums: name → member → value.
    """

    def __init__(self, paths: Iterator[Path] | list[Path]) -> None:
        self.classes: dict[str, ast.ClassDef] = {}
        self.enums: dict[str, dict[str, Any]] = {}
        for path in paths:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    self._add(node)

    def _add(self, node: ast.ClassDef) -> None:
        if any("Enum" in ast.unparse(base) for base in node.bases):
            self.enums[node.name] = {
                target.id: statement.value.value
                for statement in node.body
                if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
                for target in statement.targets
                if isinstance(target, ast.Name)
            }
        else:
            self.classes[node.name] = node

    def bases(self, name: str) -> list[str]:
        """The class and its known bases, the farthest first, so that a later one overrides an earlier one."""
        node = self.classes.get(name)
        if node is None:
            return []
        found: list[str] = []
        for base in reversed(node.bases):
            found += [each for each in self.bases(ast.unparse(base)) if each not in found]
        return [*found, name]

    def fields(self, name: str) -> dict[str, SourceField]:
        """All fields of a dataclass that its constructor takes, inherited ones included."""
        found: dict[str, SourceField] = {}
        for base in self.bases(name):
            node = self.classes[base]
            constants = _class_constants(node)
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    field = self._field(statement, constants)
                    if field is not None:
                        found[statement.target.id] = field
        return found

    def split_lists(self, name: str) -> set[str]:
        """The fields that are split at commas after construction: they take a list as well as a text."""
        return {
            call.args[0].attr
            for base in self.bases(name)
            for call in ast.walk(self.classes[base])
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "split_arg"
            if isinstance(call.args[0], ast.Attribute)
        }

    def _field(self, statement: ast.AnnAssign, constants: Mapping[str, Any]) -> SourceField | None:
        types, choices = self._annotation(statement.annotation)
        value = statement.value
        if not (isinstance(value, ast.Call) and ast.unparse(value.func) == "field"):
            return SourceField(types, self._value(value, constants), choices, "")
        keywords = {keyword.arg: keyword.value for keyword in value.keywords}
        if "init" in keywords and self._value(keywords["init"], constants) is False:
            return None
        default: Any
        if "default_factory" in keywords:
            default = {"list": [], "dict": {}}.get(ast.unparse(keywords["default_factory"]))
        else:
            default = self._value(keywords.get("default"), constants)
        return SourceField(types, default, choices, self._help(keywords.get("metadata")))

    def _help(self, metadata: ast.expr | None) -> str:
        if not isinstance(metadata, ast.Dict):
            return ""
        for key, value in zip(metadata.keys, metadata.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "help":
                text = self._value(value, {})
                return text.replace("%%", "%") if isinstance(text, str) else ""
        return ""

    def _value(self, node: ast.expr | None, constants: Mapping[str, Any]) -> Any:
        """A constant expression's value; None for what is no constant."""
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](self._value(node.left, constants), self._value(node.right, constants))
        if isinstance(node, ast.Attribute):
            return self.enums.get(ast.unparse(node.value), {}).get(node.attr)
        if isinstance(node, ast.Name):
            return constants.get(node.id)
        try:
            return None if node is None else ast.literal_eval(node)
        except ValueError:
            return None

    def _annotation(self, node: ast.expr) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """The plain types and the choices that an annotation allows."""
        types: list[str] = []
        choices: list[Any] = []
        free = False
        for part in _union_parts(node):
            text = ast.unparse(part)
            if text == "None":
                types.append("null")
            elif text.startswith("Literal["):
                values = [element.value for element in _elements(part) if isinstance(element, ast.Constant)]
                choices += values
                types += [type(value).__name__ for value in values]
            elif text in self.enums:
                choices += self.enums[text].values()
                types.append("str")
            elif (plain := text.split("[", 1)[0]) in _PLAIN_TYPES:
                types.append(plain)
                free = free or plain in {"list", "dict"} or "DebugOption" in text
        unique = tuple(dict.fromkeys(types))
        closed = bool(choices) and not free and set(choices) != {False}
        return unique or ("str",), tuple(choices) if closed else ()


def _class_constants(node: ast.ClassDef) -> dict[str, Any]:
    """Names assigned in a class body, conditional ones included: the last assignment stands."""
    return {
        target.id: statement.value.value
        for statement in ast.walk(node)
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def _elements(node: ast.expr) -> list[ast.expr]:
    if not isinstance(node, ast.Subscript):
        return []
    return list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]


def _union_parts(node: ast.expr) -> list[ast.expr]:
    """``A | B``, ``Optional[A]`` and ``Union[A, B]`` as a list of their parts."""
    if isinstance(node, ast.BinOp):
        return [*_union_parts(node.left), *_union_parts(node.right)]
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Optional":
        return [*_union_parts(node.slice), ast.Constant(None)]
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Union":
        return [part for element in _elements(node) for part in _union_parts(element)]
    return [node]
