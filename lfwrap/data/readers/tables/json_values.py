"""Values that tables hold and JSON has not, as text: dates, times, durations, binary."""

from __future__ import annotations

import datetime as dt
from typing import Any


def time_text(value: Any) -> str:
    """A date, time or duration as text, in the order of ISO 8601 with a space between date and time.

    >>> time_text(dt.datetime(2026, 3, 1, 12, 30)), time_text(dt.date(2026, 3, 1))
    ('2026-03-01 12:30:00', '2026-03-01')
    >>> time_text(dt.timedelta(hours=26, minutes=3))
    '26:03:00'
    """
    if type(value) is not dt.timedelta:
        return str(value)
    size = abs(value)
    seconds = size.days * 86400 + size.seconds
    fraction = f".{size.microseconds:06d}" if size.microseconds else ""
    sign = "-" if value < dt.timedelta(0) else ""
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"


def bytes_to_json(value: bytes) -> str | dict[str, str]:
    r"""Bytes that are UTF-8 as text; others as an object with their Base64, so that nobody takes them for text.

    >>> bytes_to_json("猫".encode()), bytes_to_json(b"\xff\x00")
    ('猫', {'base64': '/wA='})
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        import base64

        return {"base64": base64.b64encode(value).decode()}
