"""Text from outside, made safe to print: nothing in it moves the cursor, colours, or turns the reading direction."""

from __future__ import annotations

import re

# C0 and C1 controls but tab and line break, DEL, the direction marks and overrides, line and paragraph separators.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with what would act on a terminal written as ``\x1b`` or ``\u202e``."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - one byte or two


def one_line(text: str, characters: int) -> str:
    """The text on one line, shortened to at most this many characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= characters else line[: characters - 1] + "…"
