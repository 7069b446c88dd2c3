"""Which rows are kept for validation: chosen by the row itself, so that adding rows moves none of the others."""

from __future__ import annotations

from dataclasses import dataclass

from lfwrap.errors import UsageError

_KEY_BITS = 128


@dataclass(frozen=True, slots=True)
class ValSize:
    """How much is kept for validation: a share of the rows, or a number of them."""

    fraction: float = 0.0
    count: int = 0

    @property
    def key_threshold(self) -> int:
        """Rows with a smaller key are kept for validation; 0 when a number of rows was asked for."""
        return int(self.fraction * (1 << 53)) << (_KEY_BITS - 53)


def parse_val_size(text: str) -> ValSize | None:
    """``0.05``, ``5%`` or ``200``; None for 0.

    Raises:
        UsageError: anything else.

    >>> parse_val_size("5%"), parse_val_size("200"), parse_val_size("0")
    (ValSize(fraction=0.05, count=0), ValSize(fraction=0.0, count=200), None)
    """
    stripped = text.strip()
    try:
        value = float(stripped.removesuffix("%")) / (100 if stripped.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if value == 0:
        return None
    if 0 < value < 1:
        return ValSize(fraction=value)
    if value >= 1 and value.is_integer() and not stripped.endswith("%"):
        return ValSize(count=int(value))
    raise UsageError(
        f"--val-size {text}: expected a share below 1 or a number of rows", hint="For example 0.05 or 200."
    )


def parse_share(text: str, option: str) -> float:
    """``1%`` or ``0.01`` as 0.01.

    Raises:
        UsageError: no share from 0 to 1.

    >>> parse_share("1%", "--max-rejects")
    0.01
    """
    stripped = text.strip()
    try:
        share = float(stripped.removesuffix("%")) / (100 if stripped.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(f"{option} {text}: expected a share", hint="For example 1% or 0.01.")
    return share
