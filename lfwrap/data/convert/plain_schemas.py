"""Quick acceptance of what certainly fits a schema: of arguments that are as plain as their schema.

It says yes only where jsonschema would find nothing; everything else is for jsonschema to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

Accepts = Callable[[Any], bool]

_DEEPEST = 16
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
_PASSED_OVER = frozenset({"format"})  # no formats are checked


def acceptor(schema: Any, keywords: Container[str], depth: int = 0) -> Accepts | None:
    """A function that says of a value whether it certainly fits a schema; None where the schema is not plain.

    Args:
        schema: a valid schema of a draft in which ``items`` is about all items of an array.
        keywords: the names that mean something to the validator.
        depth: how deep the schema stands in another.

    >>> accepts = acceptor({"type": "integer"}, {"type"})
    >>> accepts(1), accepts(True), acceptor({"pattern": "^a"}, {"pattern"})
    (True, False, None)
    """
    if schema is True:
        return lambda _: True
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    checks: list[Accepts] = []
    for name, value in schema.items():
        if name.startswith("$"):
            return None
        if name not in keywords or name in _PASSED_OVER or name in _OBJECT_KEYWORDS:
            continue
        make = _MAKERS.get(name)
        check = make(value, keywords, depth + 1) if make else None
        if check is None:
            return None
        checks.append(check)
    if not _OBJECT_KEYWORDS.isdisjoint(schema):
        about_object = _object(schema, keywords, depth + 1)
        if about_object is None:
            return None
        checks.append(about_object)
    if len(checks) == 1:
        return checks[0]
    return lambda value: all(check(value) for check in checks)


def _type(words: Any, _keywords: Container[str], _depth: int) -> Accepts | None:
    names = words if isinstance(words, list) else [words]
    if not all(name in _TYPES for name in names):
        return None
    kinds = frozenset(kind for name in names for kind in _TYPES[name])
    return lambda value: type(value) in kinds


def _enum(values: Any, _keywords: Container[str], _depth: int) -> Accepts | None:
    texts = frozenset(value for value in values if isinstance(value, str))
    return lambda value: type(value) is str and value in texts


def _items(schema: Any, keywords: Container[str], depth: int) -> Accepts | None:
    accepts = acceptor(schema, keywords, depth)
    if accepts is None:
        return None
    return lambda value: type(value) is not list or all(accepts(item) for item in value)


def _object(schema: Mapping[str, Any], keywords: Container[str], depth: int) -> Accepts | None:
    """What a schema says of an object: its properties, those that it must have, and others."""
    properties: dict[str, Accepts] = {}
    for name, inner in schema.get("properties", {}).items():
        accepts = acceptor(inner, keywords, depth)
        if accepts is None:
            return None
        properties[name] = accepts
    required = schema.get("required", [])
    more = acceptor(schema.get("additionalProperties", True), keywords, depth)
    if more is None and schema["additionalProperties"] is not False:
        return None

    def fits(value: Any) -> bool:
        if type(value) is not dict:
            return True
        for name in required:
            if name not in value:
                return False
        for name, held in value.items():
            accepts = properties.get(name, more)
            if accepts is None or not accepts(held):
                return False
        return True

    return fits


def _bound(kinds: tuple[type, ...], within: Callable[[Any, Any], bool]) -> Callable[..., Accepts | None]:
    """A keyword that bounds values of some types."""

    def make(bound: Any, _keywords: Container[str], _depth: int) -> Accepts | None:
        return lambda value: type(value) not in kinds or within(value, bound)

    return make


_OBJECT_KEYWORDS = frozenset({"properties", "required", "additionalProperties"})
_MAKERS: dict[str, Callable[[Any, Container[str], int], Accepts | None]] = {
    "type": _type,
    "enum": _enum,
    "items": _items,
    "minimum": _bound((int, float), lambda value, bound: value >= bound),
    "maximum": _bound((int, float), lambda value, bound: value <= bound),
    "minLength": _bound((str,), lambda value, bound: len(value) >= bound),
    "maxLength": _bound((str,), lambda value, bound: len(value) <= bound),
    "minItems": _bound((list,), lambda value, bound: len(value) >= bound),
    "maxItems": _bound((list,), lambda value, bound: len(value) <= bound),
}
