"""The marks that clients leave where they shorten what they log: such a text is not what the model wrote or read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Only a whole run of dots, and no digits without end: each place is looked at once, however long a text is.
_ELLIPSIS = r"(?:(?<!\.)\.{3,}|…)"
_COUNT = r"\d[\d,._]{0,24}\s{0,3}"
_UNIT = r"(?:chars?|characters?|bytes?|[KMGkmg]i?[Bb]|tokens?)"
_GONE = r"(?:truncated|omitted|elided|trimmed|removed|hidden|skipped|cut|left|more|remaining)"
_COUNTED = (
    rf"(?:\+?\s{{0,3}}{_COUNT}(?:{_UNIT}\s+{_GONE}|{_GONE}\s+{_UNIT})(?:\s+{_GONE})*"
    rf"|(?:truncated|omitted|elided|trimmed)\s{{0,3}}[:,]?\s{{0,3}}{_COUNT}(?:more\s+)?{_UNIT})"
)
_OPEN, _CLOSE = r"[\[(<{]{1,3}\s{0,3}", r"\s{0,3}[\])>}]{1,3}"
_BARE_WORD = (
    r"(?:(?:output|content|result|message|text|log|response)\s+)?(?:truncated|omitted|elided|trimmed|snip(?:ped)?)"
)
# With a count and dots the mark may stand in the middle; without, it is the client's only where the text ends. Dots
# and brackets make it the client's own: a tool's text that tells of a truncation has its words in a sentence.
_MARK = re.compile(
    rf"{_ELLIPSIS}\s?{_OPEN}{_ELLIPSIS}?\s{{0,3}}{_COUNTED}\s{{0,3}}{_ELLIPSIS}?{_CLOSE}"
    rf"|{_OPEN}{_COUNTED}{_CLOSE}\s?{_ELLIPSIS}"
    rf"|[\[<]\s{{0,3}}{_ELLIPSIS}?\s{{0,3}}{_COUNTED}\s{{0,3}}{_ELLIPSIS}?[\]>]\s*\Z"
    rf"|{_ELLIPSIS}\s?{_COUNTED}\s*\Z"
    rf"|{_ELLIPSIS}\s?{_OPEN}{_BARE_WORD}{_CLOSE}\s*\Z"
    rf"|[\[<]\s{{0,3}}{_BARE_WORD}\s{{0,3}}[\]>]\s*\Z"
    rf"|{_ELLIPSIS}\s?(?:\[\+{_COUNT}\]|\+{_COUNT}more)\s*\Z"
    rf"|{_OPEN}\+\s?{_COUNT}{_UNIT}{_CLOSE}\s*\Z",
    re.IGNORECASE,
)


def find_cut(value: Any) -> str | None:
    """The first mark of a client that cut a text, anywhere in a value, or None.

    >>> find_cut({"text": "begin...[8499 chars truncated]...end"})
    '...[8499 chars truncated]'
    >>> find_cut("The list was truncated: 20 more rows.") is None
    True
    """
    if isinstance(value, str):
        found = _MARK.search(value) if _may_hold_one(value) else None
        return found.group().strip() if found else None
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list):
        return None
    return next((mark for held in value if (mark := find_cut(held))), None)


def cut_in_broken(text: str) -> str | None:
    """The mark in a message that is no JSON any more: there every such mark is the client's, wherever it stands.

    >>> cut_in_broken('{"jsonrpc": "2.0", "result": {"text": "abc... [truncated]')
    '... [truncated]'
    """
    found = _MARK.search(text.rstrip("\"'}] ,"))  # the client may close the quotes and brackets again
    found = found or _MARK.search(text) or _MARK_IN_BROKEN.search(text)
    return found.group().strip() if found else None


_MARK_IN_BROKEN = re.compile(
    rf"{_ELLIPSIS}\s?{_OPEN}{_BARE_WORD}{_CLOSE}|{_ELLIPSIS}\s{{0,3}}{_COUNTED}|{_ELLIPSIS}\s{{0,3}}\d+ more items",
    re.IGNORECASE,
)


def _may_hold_one(text: str) -> bool:
    return "..." in text or "…" in text or text.rstrip()[-1:] in ("]", ">", ")")
