"""Sizes, durations and counts as text. Values are bytes and seconds everywhere; units appear only when printing."""

from __future__ import annotations

KIB = 1024
MIB = 1024**2
GIB = 1024**3

_MINUTE_S = 60
_HOUR_S = 3600


def format_bytes(size_bytes: float) -> str:
    """A size in bytes as text, in B, KiB, MiB or GiB.

    Example:
        >>> format_bytes(512), format_bytes(1536), format_bytes(3.25 * 2**30)
        ('512 B', '1.5 KiB', '3.25 GiB')
    """
    if size_bytes < KIB:
        return f"{int(size_bytes)} B"
    if size_bytes < MIB:
        return f"{size_bytes / KIB:.1f} KiB"
    if size_bytes < GIB:
        return f"{size_bytes / MIB:.1f} MiB"
    return f"{size_bytes / GIB:.2f} GiB"


def format_duration(duration_s: float) -> str:
    """A duration in seconds as text, in seconds, minutes or hours.

    Example:
        >>> format_duration(4.2), format_duration(185), format_duration(7620)
        ('4.2 s', '3 min 05 s', '2 h 07 min')
    """
    if duration_s < _MINUTE_S:
        return f"{duration_s:.1f} s"
    whole_s = round(duration_s)
    if whole_s < _HOUR_S:
        return f"{whole_s // _MINUTE_S} min {whole_s % _MINUTE_S:02d} s"
    return f"{whole_s // _HOUR_S} h {whole_s % _HOUR_S // _MINUTE_S:02d} min"


def format_count(count: float) -> str:
    """A count as short text, with k, M or B for thousands, millions or billions.

    Example:
        >>> format_count(999), format_count(12_345), format_count(7_615_616_512)
        ('999', '12.3k', '7.62B')
    """
    for limit, divisor, suffix, digits in ((1e3, 1, "", 0), (1e6, 1e3, "k", 1), (1e9, 1e6, "M", 2)):
        if abs(count) < limit:
            return f"{count / divisor:.{digits}f}{suffix}"
    return f"{count / 1e9:.2f}B"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """A count with its noun in the singular or the plural.

    Example:
        >>> plural(1, "row"), plural(2000, "row"), plural(2, "process", "processes")
        ('1 row', '2,000 rows', '2 processes')
    """
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
