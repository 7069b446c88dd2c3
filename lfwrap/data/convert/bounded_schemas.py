"""JSON Schema's validators with bounded work: no schema, whatever it holds, keeps a row's check from ending.

The validators are those of jsonschema; only what may run away is done in another way. Regular expressions are searched
in linear time, equal items are found by their content, and each keyword that is looked at costs a step of a budget.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema
import jsonschema.validators
from jsonschema.exceptions import ValidationError

from lfwrap.data.convert.linear_patterns import LinearPattern, linear_pattern

_SIZE_OF_A_STEP = 5_000
_CHARACTERS_OF_A_STEP = 10_000
_ENUM_VALUES_OF_A_STEP = 16

Check = Callable[[Any, Any, Any, Any], Any]


class TooCostlyError(Exception):
    """A check took more steps than it may."""


class _Effort(threading.local):
    """What the check of this thread may still spend, and the patterns that it could not search.

    Attributes:
        steps: keywords that may still be looked at.
        patterns: whether the schema has patterns for the names of properties.
        unchecked: pattern → why it was not searched.
    """

    steps: int = 0
    patterns: bool = False
    unchecked: dict[str, str]

    def __init__(self) -> None:
        self.unchecked = {}


_effort = _Effort()


def errors_within(validator: Any, instance: Any, steps: int, *, patterns: bool = False) -> Iterator[ValidationError]:
    """The errors of an instance; afterwards `unchecked_patterns` says which patterns had to be passed over.

    Args:
        validator: one of a `bounded` class.
        instance: what to check.
        steps: how much may be looked at.
        patterns: whether the schema has patterns for the names of properties.

    Raises:
        TooCostlyError: the steps do not suffice.
    """
    _effort.steps, _effort.patterns, _effort.unchecked = steps, patterns, {}
    yield from validator.iter_errors(instance)


def unchecked_patterns() -> dict[str, str]:
    """Pattern → why the last check of this thread did not search it."""
    return _effort.unchecked


@functools.cache
def bounded(kind: Any) -> Any:
    """A validator class of jsonschema's as one that does bounded work."""
    checks = {name: _counted(name, _OWN.get(name, check)) for name, check in kind.VALIDATORS.items()}
    made: Any = jsonschema.validators.extend(kind, validators=checks)  # type: ignore[no-untyped-call]
    made.evolve = _bounded_evolve(made.evolve)
    return made


def _bounded_evolve(evolve: Callable[..., Any]) -> Callable[..., Any]:
    def run(self: Any, **changes: Any) -> Any:
        """A validator of a part of a schema, by the draft of the whole.

        Where a part names a draft, jsonschema would go on with that draft's own class, whose work has no bounds.
        """
        _spend(1)
        schema = changes.get("schema", self.schema)
        if isinstance(schema, Mapping) and "$schema" in schema:
            changes["schema"] = {name: part for name, part in schema.items() if name != "$schema"}
        return evolve(self, **changes)

    return run


def _spend(steps: int) -> None:
    _effort.steps -= steps
    if _effort.steps < 0:
        raise TooCostlyError


def _counted(name: str, check: Check) -> Check:
    def run(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        """One keyword, for one step or as many as its size is worth."""
        cost = 1
        if name == "enum" and isinstance(value, list):
            cost += len(value) // _ENUM_VALUES_OF_A_STEP
        if isinstance(instance, str):
            cost += len(instance) // _CHARACTERS_OF_A_STEP
        _spend(cost)
        return check(validator, value, instance, schema)

    return run


def _searched(pattern: LinearPattern, text: str, written: str) -> bool:
    """Whether a text holds a pattern; one that can't be searched is noted, and counts as found."""
    if not pattern.reason:
        _spend(len(text) * pattern.size // _SIZE_OF_A_STEP)
        try:
            return pattern.search(text)
        except ValueError:  # half of a character: another rule speaks of it
            return True
    _effort.unchecked[written] = pattern.reason
    return True


def _pattern(validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not _searched(linear_pattern(value), instance, value):
        yield ValidationError(f"{instance!r} does not match {value!r}")


def _pattern_properties(validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    for written, subschema in value.items():
        pattern = linear_pattern(written)
        for name, item in instance.items():
            if _searched(pattern, name, written) and not pattern.reason:
                yield from validator.descend(item, subschema, path=name, schema_path=written)


def _additional_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    known, written = schema.get("properties", {}), schema.get("patternProperties", {})
    patterns = [(linear_pattern(one), one) for one in written]
    extras = [
        name
        for name in instance
        if name not in known and not any(_searched(pattern, name, one) for pattern, one in patterns)
    ]
    if validator.is_type(value, "object"):
        for name in extras:
            yield from validator.descend(instance[name], value, path=name)
    elif not value and extras:
        names = ", ".join(repr(name) for name in sorted(extras))
        verb = "was" if len(extras) == 1 else "were"
        beside = f" and match none of {', '.join(map(repr, sorted(written)))}" if written else ""
        yield ValidationError(f"Additional properties are not allowed ({names} {verb} unexpected{beside})")


def _unevaluated_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
    """As jsonschema does it, but not beside patterns: its search for evaluated names is no linear one."""
    if _effort.patterns:
        _effort.unchecked["unevaluatedProperties"] = "it stands beside patternProperties"
        return ()
    check = jsonschema.Draft202012Validator.VALIDATORS["unevaluatedProperties"]
    return check(validator, value, instance, schema)


def _unique_items(validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if not value or not validator.is_type(instance, "array"):
        return
    seen: set[Any] = set()
    for item in instance:
        content = _content(item)
        if content in seen:
            yield ValidationError(f"{instance!r} has non-unique elements")
            return
        seen.add(content)


def _content(value: Any) -> Any:
    """A value to compare by: equal for what JSON Schema calls equal, so that ``1`` is ``1.0``, but not ``true``."""
    if isinstance(value, bool):
        return ("truth", value)
    if isinstance(value, Mapping):
        return ("object", frozenset((name, _content(item)) for name, item in value.items()))
    if isinstance(value, list | tuple):
        return ("array", tuple(_content(item) for item in value))
    return value


_OWN: dict[str, Check] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "unevaluatedProperties": _unevaluated_properties,
    "uniqueItems": _unique_items,
}
