"""Whether a tool's parameters are a JSON Schema, and a call's arguments fit it: in bounded time."""

from __future__ import annotations

import functools
import itertools
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lfwrap.data.convert.plain_schemas import Accepts

_MESSAGE_LIMIT = 160
_KNOWN_SCHEMAS = 1 << 16  # more than the largest catalogues of tools: with distractors each may stand in any row
_SHOWN_PROBLEMS = 50
# A keyword takes a few microseconds: the most costly check ends within seconds.
_LEAST_STEPS, _STEPS_OF_A_CHARACTER, _MOST_STEPS = 50_000, 20, 400_000
_TRIES = 3
_MAY_TURN_ROUND = frozenset({"not", "anyOf", "oneOf", "if", "contains", "dependentSchemas", "disallow"})

Problem = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Schema:
    """A schema, ready to check calls.

    Attributes:
        validator: jsonschema's, with bounded work; None for what is no schema.
        problem: why it is none.
        patterns: whether it has patterns for the names of properties.
        accepts: says quickly of arguments that they certainly fit, where the schema is plain.
    """

    validator: Any
    problem: str = ""
    patterns: bool = False
    accepts: Accepts | None = None


_too_costly: Counter[str] = Counter()


def schema_problem(schema: str) -> str:
    """Why a JSON text is not a valid JSON Schema, or nothing.

    >>> schema_problem('{"type": "object"}'), schema_problem('{"type": "thing"}')
    ('', "type: 'thing' is not valid under any of the given schemas")
    """
    return _known(schema).problem


def argument_problems(schema: str, arguments: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the arguments of a call, as (rule, message); nothing where the schema is not valid.

    Args:
        schema: the parameters of its tool, JSON text.
        arguments: the arguments.

    >>> argument_problems('{"properties": {"a": {"type": "integer"}}, "required": ["b"]}', {"a": "x"})
    [('arguments-schema', "'x' is not of type 'integer'"), ('missing-argument', "'b' is a required property")]
    >>> argument_problems('{"properties": {"a": {"pattern": "^(?=x)"}}}', {"a": "x"})
    [('pattern-unchecked', "the pattern '^(?=x)' was not searched: it looks around")]
    """
    known = _known(schema)
    if known.validator is None:
        return []
    if _too_costly[schema] >= _TRIES:
        return [_costly()]
    plain = dict(arguments)
    if known.accepts is not None and known.accepts(plain):
        return []
    return _problems(known, schema, plain)


def _problems(known: _Schema, schema: str, arguments: dict[str, Any]) -> list[Problem]:
    from referencing.exceptions import Unresolvable

    from lfwrap.data.convert.bounded_schemas import TooCostlyError, errors_within, unchecked_patterns

    steps = _LEAST_STEPS + _STEPS_OF_A_CHARACTER * len(json.dumps(arguments, default=str))
    try:
        found = errors_within(known.validator, arguments, min(steps, _MOST_STEPS), patterns=known.patterns)
        errors = list(itertools.islice(found, _SHOWN_PROBLEMS))
    except TooCostlyError:
        _too_costly[schema] += 1
        return [_costly()]
    except Unresolvable as error:
        return [("tool-schema", f"a reference leads nowhere: {_short(str(error))}")]
    except Exception as error:  # noqa: BLE001 - schemas fail in many ways that no metaschema forbids
        return [("tool-schema", f"can't be checked: {_short(f'{type(error).__name__}: {error}')}")]
    unchecked = unchecked_patterns()
    if unchecked:
        errors = [error for error in errors if _MAY_TURN_ROUND.isdisjoint(map(str, error.absolute_schema_path))]
    problems = [
        ("missing-argument" if error.validator == "required" else "arguments-schema", _short(error.message))
        for error in errors
    ]
    return problems + [
        ("pattern-unchecked", _short(f"the pattern {pattern!r} was not searched: {reason}"))
        for pattern, reason in unchecked.items()
    ]


def _costly() -> Problem:
    return ("schema-too-costly", f"its check was ended after at most {_MOST_STEPS:,} steps")


@functools.lru_cache(maxsize=_KNOWN_SCHEMAS)
def _known(schema: str) -> _Schema:
    """A schema's validator; references to other documents are never fetched."""
    import jsonschema.validators
    import referencing

    from lfwrap.data.convert.bounded_schemas import TooCostlyError, bounded, errors_within
    from lfwrap.data.convert.plain_schemas import acceptor

    try:
        value = json.loads(schema)
        stock = jsonschema.validators.validator_for(value, default=jsonschema.Draft202012Validator)
        kind = bounded(stock)
        meta = bounded(jsonschema.validators.validator_for(stock.META_SCHEMA, default=stock))
        judge = meta(stock.META_SCHEMA, format_checker=_formats())
        steps = min(_MOST_STEPS, _LEAST_STEPS + _STEPS_OF_A_CHARACTER * len(schema))
        error = next(errors_within(judge, value, steps), None)
    except TooCostlyError:
        return _Schema(None, "it is too large to be checked")
    except RecursionError:
        return _Schema(None, "nested too deeply")
    except Exception as error:  # noqa: BLE001 - whatever it holds, the row is not lost for it
        return _Schema(None, _short(f"can't be checked: {type(error).__name__}: {error}"))
    if error is not None:
        place = "/".join(str(part) for part in error.absolute_path)
        return _Schema(None, _short(f"{place}: {error.message}" if place else error.message))
    validator = kind(value, registry=referencing.Registry())
    return _Schema(validator, "", '"patternProperties"' in schema, acceptor(value, kind.VALIDATORS))


@functools.cache
def _formats() -> Any:
    """Of the formats that a schema's own parts have, only regular expressions are looked at."""
    import jsonschema

    from lfwrap.data.convert.linear_patterns import linear_pattern

    checker = jsonschema.FormatChecker(formats=())
    checker.checks("regex")(lambda value: not isinstance(value, str) or linear_pattern(value).valid)
    return checker


def _short(text: str) -> str:
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"
