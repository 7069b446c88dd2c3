"""BFCL's rule for a call: each argument must be one of the values that its answer file accepts.

Written after the description and the published checker of the Berkeley Function Calling Leaderboard (``bfcl-eval``,
``ast_checker``: the case of one function and one call in Python), and compared with it on mutated answers. Texts are
compared without case, white space and ``,./-_*^``; a whole number does for a float; an empty text among the accepted
values means that the argument may be left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lfwrap.data.schema.conversation import ToolCall

_PASSED_OVER = re.compile(r"[ ,./\-_*^]")
_TYPES: Mapping[str, type] = {
    "string": str, "any": str, "integer": int, "float": float, "number": float, "boolean": bool, "array": list,
    "tuple": list, "dict": dict, "object": dict,
}  # fmt: skip
_MAY_BE_LEFT_OUT = ""


@dataclass(frozen=True, slots=True)
class AcceptedCall:
    """What BFCL accepts as the call of one case.

    Attributes:
        name: the function.
        parameters: its JSON schema as BFCL writes it (``type: dict``).
        values: argument → the accepted values.
    """

    name: str
    parameters: Mapping[str, Any]
    values: Mapping[str, Sequence[Any]]


def fault_of(calls: Sequence[ToolCall], accepted: AcceptedCall) -> str:
    """What is wrong with an answer's calls, as ``kind: detail``; empty when they are accepted."""
    if len(calls) != 1:
        return f"wrong-count: {len(calls)} calls, 1 expected"
    [call] = calls
    if call.name != accepted.name:
        return f"wrong-name: {call.name}"
    return arguments_fault(call.arguments, accepted)


def keys_fit(calls: Sequence[ToolCall], accepted: AcceptedCall) -> bool:
    """Whether it is one call of the function with acceptable argument names, whatever their values."""
    if len(calls) != 1 or calls[0].name != accepted.name:
        return False
    return not _keys_fault(calls[0].arguments, accepted)


def arguments_fault(arguments: Mapping[str, Any], accepted: AcceptedCall) -> str:
    """What is wrong with a call's arguments; empty when they are accepted."""
    fault = _keys_fault(arguments, accepted)
    if fault:
        return fault
    properties = accepted.parameters.get("properties") or {}
    faults = (_value_fault(key, value, properties[key], accepted.values[key]) for key, value in arguments.items())
    return next((fault for fault in faults if fault), "")


def _keys_fault(arguments: Mapping[str, Any], accepted: AcceptedCall) -> str:
    properties = accepted.parameters.get("properties") or {}
    for key in accepted.parameters.get("required") or ():
        if key not in arguments:
            return f"missing-required: {key}"
    for key in arguments:
        if key not in properties or key not in accepted.values:
            return f"unexpected-argument: {key}"
    for key, values in accepted.values.items():
        if key not in arguments and _MAY_BE_LEFT_OUT not in values:
            return f"missing-argument: {key}"
    return ""


def _value_fault(key: str, value: Any, schema: Mapping[str, Any], accepted: Sequence[Any]) -> str:
    declared = _TYPES.get(str(schema.get("type")), str)
    if declared is float and type(value) is int:
        value = float(value)
    nested = _nested_type(schema)
    fits, is_variable = _type_fits(value, declared, nested, accepted)
    if not fits:
        return f"wrong-type: {key}"
    if is_variable:  # the name of a variable, or another type that the answers allow: unchanged
        right = any(type(value) is type(item) and value == item for item in accepted)
    elif nested is dict:
        right = any(isinstance(item, list) and _rows_match(value, item) for item in accepted)
    else:
        right = any(_matches(value, item) for item in accepted)
    return "" if right else f"wrong-value: {key}"


def _nested_type(schema: Mapping[str, Any]) -> type | None:
    items = schema.get("items")
    if schema.get("type") not in {"array", "tuple"} or not isinstance(items, Mapping):
        return None
    return _TYPES.get(str(items.get("type")), str)


def _type_fits(value: Any, declared: type, nested: type | None, accepted: Sequence[Any]) -> tuple[bool, bool]:
    """Whether a value has the declared type or that of the accepted ones, and whether these are of another type."""
    shown = next((type(item) for item in accepted if item != _MAY_BE_LEFT_OUT), None)
    is_variable = shown is not None and shown is not declared
    if type(value) is declared and (nested is None or _items_fit(value, nested, accepted)):
        return True, is_variable
    return shown is not None and type(value) is shown, True


def _items_fit(value: Any, nested: type, accepted: Sequence[Any]) -> bool:
    return any(
        not isinstance(alternative, list) or all(_type_fits(item, nested, None, alternative)[0] for item in value)
        for alternative in accepted
    )


def _matches(value: Any, accepted: Any) -> bool:
    """One value against one accepted value; an accepted object lists the accepted values of each of its fields."""
    if isinstance(value, str) and isinstance(accepted, str):
        return _normal(value) == _normal(accepted)
    if isinstance(value, Mapping) and isinstance(accepted, Mapping):
        return _fields_match(value, accepted)
    if isinstance(value, list) and isinstance(accepted, list):
        return len(value) == len(accepted) and all(map(_matches, value, accepted))
    return bool(value == accepted)


def _fields_match(value: Mapping[str, Any], accepted: Mapping[str, Sequence[Any]]) -> bool:
    known = all(
        key in accepted and any(_matches(item, alternative) for alternative in accepted[key])
        for key, item in value.items()
    )
    return known and all(key in value or _MAY_BE_LEFT_OUT in values for key, values in accepted.items())


def _rows_match(value: Sequence[Any], accepted: Sequence[Any]) -> bool:
    return len(value) == len(accepted) and all(
        isinstance(item, Mapping) and isinstance(fields, Mapping) and _fields_match(item, fields)
        for item, fields in zip(value, accepted, strict=True)
    )


def _normal(text: str) -> str:
    return _PASSED_OVER.sub("", text).lower().replace("'", '"')
