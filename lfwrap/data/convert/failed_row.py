"""A row on which a conversion itself fails: it is rejected with what went wrong, and the others are written."""

from __future__ import annotations

from pathlib import Path

from lfwrap.data.formats.base import Reject
from lfwrap.data.readers.blocks import NotUtf8Error
from lfwrap.errors import LfwrapError

RULE = "conversion-failed"
_PACKAGE = Path(__file__).parents[2]
_SHOWN_FRAMES = 3
_SHOWN_CHARACTERS = 200
# These say something of the whole source or of the machine: no other row would fare better.
NOT_OF_ONE_ROW = (LfwrapError, NotUtf8Error, MemoryError, OSError)


def failed_row(error: Exception) -> Reject:
    """Why a row is rejected on which a conversion failed: the exception, and where in lfwrap it came from.

    Raises:
        Exception: the error itself, where it is not of one row.

    >>> failed_row(KeyError("role")).reason
    "lfwrap failed on this row: KeyError: 'role'"
    """
    if isinstance(error, Reject):
        return error
    if isinstance(error, NOT_OF_ONE_ROW):
        raise error
    kind, text = type(error).__name__, " ".join(str(error).split())
    shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    place = _place(error)
    said = f"{kind}: {shown}" if shown else kind
    return Reject(RULE, f"lfwrap failed on this row: {said}{f' ({place})' if place else ''}")


def _place(error: Exception) -> str:
    """The last places in lfwrap that the exception passed, the innermost first: no values of the row are in them."""
    import traceback

    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_ours(frame.filename)]
    places: list[str] = []
    for frame in reversed(frames):
        place = f"{Path(frame.filename).relative_to(_PACKAGE)}:{frame.lineno} {frame.name}"
        if place not in places:
            places.append(place)
    return ", from ".join(places[:_SHOWN_FRAMES])


def _is_ours(name: str) -> bool:
    return Path(name).is_relative_to(_PACKAGE)
