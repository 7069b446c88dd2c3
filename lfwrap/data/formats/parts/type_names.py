"""Names of types as tools write them, Python's, Java's and in words, as JSON Schema: what a name says is kept."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

_JSON_TYPES = frozenset({"object", "string", "integer", "number", "boolean", "array", "null"})
_NAMES = {
    "dict": "object", "map": "object", "mapping": "object", "hashmap": "object", "hashtable": "object",
    "str": "string", "text": "string", "char": "string",
    "int": "integer", "long": "integer", "short": "integer", "bigint": "integer", "int32": "integer",
    "int64": "integer",
    "float": "number", "double": "number", "decimal": "number", "float32": "number", "float64": "number",
    "bool": "boolean", "list": "array", "tuple": "array", "set": "array", "arraylist": "array", "sequence": "array",
    "none": "null", "nonetype": "null",
}  # fmt: skip
_FORMATS = {
    "date": "date", "datetime": "date-time", "date-time": "date-time", "time": "time", "uuid": "uuid", "uri": "uri",
    "url": "uri", "email": "email",
}  # fmt: skip
_ANYTHING = ("", "any", "object | any")
_DEEPEST = 16
_LONGEST = 1000
_GENERIC = re.compile(r"([\w-]+)\s*[\[<](.*)[\]>]", re.DOTALL)
_ITEMS = re.compile(r"(?:array|list) of (.+?)s?", re.DOTALL | re.IGNORECASE)
_REMARK = re.compile(r"([\w-]+)\s*\(\s*([\w-]+)\s*\)")
_DEFAULT = re.compile(r"defaults?(?:\s+to\s+|\s*[=:]\s*|\s+is\s+|\s+)(.*)", re.DOTALL | re.IGNORECASE)
_OPENING, _CLOSING = "[<({", "]>)}"


@dataclass(frozen=True, slots=True)
class TypeMeaning:
    """What the name of a type says.

    Attributes:
        schema: as JSON Schema; empty for anything.
        optional: whether it says that the argument may be left out.
        unknown: the words that JSON Schema has nothing for; empty where all is kept.
    """

    schema: dict[str, Any] = field(default_factory=dict)
    optional: bool = False
    unknown: str = ""


def type_meaning(words: Any, depth: int = 0) -> TypeMeaning:
    """What a type's name, or a list of names, says.

    >>> type_meaning("str, optional, default=x")
    TypeMeaning(schema={'type': 'string', 'default': 'x'}, optional=True, unknown='')
    >>> type_meaning("List[Dict[str, Any]]").schema
    {'type': 'array', 'items': {'type': 'object'}}
    >>> type_meaning("file").unknown
    'file'
    """
    if isinstance(words, list):
        return _any_of([type_meaning(word, depth + 1) for word in words])
    if words is None:
        return TypeMeaning()
    if not isinstance(words, str) or depth > _DEEPEST or len(words) > _LONGEST:
        return TypeMeaning(unknown=str(words)[:80])
    parts = [part.strip() for part in _split(words, ",")]
    head = _named(parts[0], depth)
    schema, optional, unknown = dict(head.schema), head.optional, [head.unknown] if head.unknown else []
    for part in parts[1:]:
        if part.lower() in ("optional", "required", ""):
            optional = optional or part.lower() == "optional"
        elif found := _DEFAULT.fullmatch(part):
            schema.setdefault("default", _literal(found[1]))
            optional = True
        else:
            unknown.append(part)
    return TypeMeaning(schema, optional, ", ".join(unknown))


def _named(words: str, depth: int) -> TypeMeaning:
    """A name without what follows its commas."""
    name = words.strip().removeprefix("typing.").removeprefix("t.").removeprefix("datetime.")
    lower = name.lower()
    if lower in _ANYTHING:
        return TypeMeaning()
    if lower in _JSON_TYPES:
        return TypeMeaning({"type": lower})
    if lower in _NAMES:
        return TypeMeaning({"type": _NAMES[lower]})
    if lower in _FORMATS:
        return TypeMeaning({"type": "string", "format": _FORMATS[lower]})
    for joint in ("|", " or "):
        if len(parts := _split(name, joint)) > 1:
            return _any_of([type_meaning(part, depth + 1) for part in parts])
    if name.endswith("[]"):
        return _array(name[:-2], depth)
    if (found := _GENERIC.fullmatch(name)) or (found := _ITEMS.fullmatch(name)):
        return _generic(found[1], found[2], depth) if found.re is _GENERIC else _array(found[1], depth)
    if (found := _REMARK.fullmatch(name)) and not (base := _named(found[1], depth + 1)).unknown:
        inner = _named(found[2], depth + 1)
        return base if not inner.unknown else TypeMeaning(base.schema, unknown=words)
    return TypeMeaning(unknown=words)


def _generic(outer: str, inner: str, depth: int) -> TypeMeaning:
    kind, parts = outer.lower(), [part.strip() for part in _split(inner, ",")]
    of_kind: dict[str, Callable[[], TypeMeaning]] = {
        "optional": lambda: TypeMeaning(
            _any_of([type_meaning(inner, depth + 1), TypeMeaning({"type": "null"})]).schema, optional=True
        ),
        "union": lambda: _any_of([type_meaning(part, depth + 1) for part in parts]),
        "literal": lambda: TypeMeaning({"enum": [_literal(part) for part in parts]}),
        "tuple": lambda: _tuple(parts, depth),
        "dict": lambda: _object(parts, depth),
        "set": lambda: _array(inner, depth, uniqueItems=True),
    }
    if kind in of_kind:
        return of_kind[kind]()
    known = _NAMES.get(kind, kind)
    if known == "array":
        return _array(inner, depth)
    if known == "object":
        return _object(parts, depth)
    return TypeMeaning(unknown=f"{outer}[{inner}]")


def _array(inner: str, depth: int, **more: Any) -> TypeMeaning:
    items = type_meaning(inner, depth + 1)
    held = {"items": items.schema} if items.schema else {}
    return TypeMeaning({"type": "array", **held, **more}, unknown=items.unknown)


def _object(parts: list[str], depth: int) -> TypeMeaning:
    values = type_meaning(parts[1], depth + 1) if len(parts) > 1 else TypeMeaning()
    held = {"additionalProperties": values.schema} if values.schema else {}
    return TypeMeaning({"type": "object", **held}, unknown=values.unknown)


def _tuple(parts: list[str], depth: int) -> TypeMeaning:
    if parts[-1] == "...":
        return _array(parts[0], depth)
    items = [type_meaning(part, depth + 1) for part in parts]
    size = {"minItems": len(items), "maxItems": len(items)}
    alike = all(item.schema == items[0].schema for item in items)
    held = {"items": items[0].schema} if alike else {"prefixItems": [item.schema for item in items]}
    return TypeMeaning({"type": "array", **held, **size}, unknown=_unknown(items))


def _any_of(meanings: list[TypeMeaning]) -> TypeMeaning:
    """One of several: a list of names where each is one, else alternatives; anything, if one of them is anything."""
    unknown, schemas = _unknown(meanings), [meaning.schema for meaning in meanings]
    if not schemas or not all(schemas):
        return TypeMeaning(unknown=unknown)
    if all(schema.keys() == {"type"} and isinstance(schema["type"], str) for schema in schemas):
        names = list(dict.fromkeys(schema["type"] for schema in schemas))
        return TypeMeaning({"type": names[0] if len(names) == 1 else names}, unknown=unknown)
    return TypeMeaning({"anyOf": schemas}, unknown=unknown)


def _unknown(meanings: Iterable[TypeMeaning]) -> str:
    return ", ".join(meaning.unknown for meaning in meanings if meaning.unknown)


def _split(text: str, joint: str) -> list[str]:
    """A text at its joints, but not within brackets or quotes."""
    parts, depth, start, quote = list[str](), 0, 0, ""
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'" and text.count(character) % 2 == 0:
            quote = character
        elif character in _OPENING or character in _CLOSING:
            depth += 1 if character in _OPENING else -1
        elif depth == 0 and at >= start and text.startswith(joint, at):
            parts.append(text[start:at])
            start = at + len(joint)
    return [*parts, text[start:]]


def _literal(text: str) -> Any:
    """A default or a choice: JSON or a Python literal of JSON's kinds, else the text itself."""
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text.strip())
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        return value
    return text.strip()
