"""Regular expressions of schemas, searched in time that grows with the text alone, whatever the expression.

They are RE2's, whose syntax is close to that of JSON Schema (ECMA-262), but for what can't be searched in linear time:
looking around and referring back. Those are not searched at all, and the reason says so.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

_LONGEST = 10_000
_UNICODE_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u([0-9a-fA-F]{4})")
_LOOKS_AROUND = ("(?=", "(?!", "(?<=", "(?<!")


@dataclass(frozen=True, slots=True)
class LinearPattern:
    """A regular expression, or why it can't be searched.

    Attributes:
        search: whether a text holds it; raises ValueError for a text that is not Unicode.
        size: instructions of its program: the work for a character grows with them at worst.
        reason: why it can't be searched; empty where it can.
        valid: whether it is a regular expression at all.
    """

    search: Callable[[str], bool]
    size: int
    reason: str = ""
    valid: bool = True


@functools.lru_cache(maxsize=4096)
def linear_pattern(text: str) -> LinearPattern:
    r"""A regular expression, ready to be searched.

    >>> linear_pattern("^(a+)+$").search("a" * 50_000 + "!")
    False
    >>> linear_pattern("^(?=.*[0-9])").reason, linear_pattern("(").valid
    ('it looks around', False)
    """
    import re2

    if len(text) > _LONGEST:
        return LinearPattern(_never, 0, f"it is {len(text):,} characters long")
    options = re2.Options()
    options.log_errors = False
    try:
        pattern = re2.compile(_UNICODE_ESCAPE.sub(r"\1\\x{\2}", text), options=options)
    except (re2.error, ValueError) as error:
        if any(mark in text for mark in _LOOKS_AROUND):
            return LinearPattern(_never, 0, "it looks around", valid=_is_python(text))
        detail = error.args[0] if error.args else ""
        reason = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
        return LinearPattern(_never, 0, reason or type(error).__name__, valid=_is_python(text))
    return LinearPattern(lambda value: pattern.search(value) is not None, pattern.programsize)


def _never(_: str) -> bool:
    return False


def _is_python(text: str) -> bool:
    """Whether Python takes it for a regular expression, which it only reads here."""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return False
    return True
