"""Numbers for people."""

from __future__ import annotations

import pytest

from lfwrap.units import GIB, KIB, MIB, format_bytes, format_count, format_duration, plural


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (KIB, "1.0 KiB"), (20 * MIB, "20.0 MiB"), (3.25 * GIB, "3.25 GiB")],
)
def test_bytes(size, text):
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.2, "4.2 s"), (185, "3 min 05 s"), (3599.6, "1 h 00 min"), (7620, "2 h 07 min")]
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999"), (12_345, "12.3k"), (4_560_000, "4.56M"), (7_615_616_512, "7.62B")]
)
def test_counts(count, text):
    assert format_count(count) == text


def test_plural():
    assert [plural(1, "row"), plural(2000, "row"), plural(2, "entry", "entries")] == [
        "1 row",
        "2,000 rows",
        "2 entries",
    ]
