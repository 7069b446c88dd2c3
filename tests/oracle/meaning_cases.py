"""Rows that must not be trained as plain answers, by the kind of what they say, in several layouts each."""

from __future__ import annotations

from meaning_case import Case
from meaning_files import ENCODINGS, LOGS
from meaning_rows import CHANNELS, LABELS, LISTS, MASKS, MEDIA, PREFERENCES
from meaning_values import RESULTS, VALUES

__all__ = [
    "CASES", "CHANNELS", "ENCODINGS", "LABELS", "LISTS", "LOGS", "MASKS", "MEDIA", "PREFERENCES", "RESULTS", "VALUES",
    "Case",
]  # fmt: skip

CASES = [*LABELS, *PREFERENCES, *MASKS, *MEDIA, *CHANNELS, *LISTS, *RESULTS, *VALUES, *LOGS, *ENCODINGS]
