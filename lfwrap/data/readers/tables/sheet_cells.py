"""Cells of a spreadsheet as JSON has them, as faithful to what the sheet shows as their value allows."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Any

from lfwrap.data.readers.tables.json_values import time_text

_UNSEEN = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.|\*.')  # literals, escapes, colours and locales, paddings of a format
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_PADDED = re.compile(r"0{2,}")
_LARGEST_EXACT = 10**21


def cell_value(value: Any, number_format: str, *, is_error: bool, repairs: set[str]) -> Any:
    """A cell as text, number, truth value or None.

    Dates, times, percentages and numbers padded with zeros become text, which is counted; a number that is a whole one
    is an integer, as the sheet shows it.

    >>> cell_value(0.5, "0%", is_error=False, repairs=set()), cell_value(7, "00000", is_error=False, repairs=set())
    ('50%', '00007')
    >>> cell_value(dt.datetime(2026, 3, 1), "yyyy-mm-dd", is_error=False, repairs=set())
    '2026-03-01'
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, is_error=is_error, repairs=repairs)
    if isinstance(value, int | float):
        return _number(value, number_format, repairs)
    repairs.add("time-to-text")
    if isinstance(value, dt.datetime) and value.time() == dt.time() and not _shows_time(number_format):
        return str(value.date())
    return time_text(value)


def _text(value: str, *, is_error: bool, repairs: set[str]) -> str:
    if is_error:
        repairs.add("error-to-text")
        return value
    if "_x" in value and (text := _ESCAPE.sub(_character, value)) != value:
        repairs.add("sheet-escapes")
        return text
    return value


def _character(found: re.Match[str]) -> str:
    """What Excel writes as ``_x000D_``: characters that XML does not hold; others, which it would not write, stay."""
    code = int(found.group(1), 16)
    return chr(code) if code < ord(" ") else found.group()


def _number(value: float, number_format: str, repairs: set[str]) -> Any:
    shown = _UNSEEN.sub("", number_format.split(";", maxsplit=1)[0]) if number_format != "General" else ""
    if "%" in shown:
        repairs.add("percent-to-text")
        return f"{_plain(Decimal(repr(value)) * 100)}%"
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_EXACT:
        value = int(value)  # a spreadsheet shows 3, stores 3.0
    if _PADDED.fullmatch(shown) and isinstance(value, int) and value >= 0 and len(str(value)) < len(shown):
        repairs.add("padded-number-to-text")
        return str(value).zfill(len(shown))
    return value


def _plain(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _shows_time(number_format: str) -> bool:
    return bool(re.search("[hs]", _UNSEEN.sub("", number_format), re.IGNORECASE))
