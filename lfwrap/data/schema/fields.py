"""The fields of a record, and which of them were read: what is not read is named in the report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


class Fields(Mapping[str, Any]):
    """An object of a record that remembers which of its fields were read.

    Reading a field by its name marks it; asking whether it is there, and going over the names, does not. A nested
    object is a value like any other until somebody opens it in turn (`RowNotes.fields`).

    Attributes:
        path: where the object stands in its record: empty for the record itself, ``messages[]`` for one of its turns.
        content: the object as it is.
        left: the names that nobody has read yet.
    """

    __slots__ = ("content", "left", "path")

    def __init__(self, content: Mapping[str, Any], path: str = "") -> None:
        self.content = content
        self.path = path
        self.left = set(content)

    def __getitem__(self, name: str) -> Any:
        """The value of a field, which counts as read from now on."""
        self.left.discard(name)
        return self.content[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field, which counts as read from now on, or the default."""
        self.left.discard(name)
        return self.content.get(name, default)

    def __contains__(self, name: object) -> bool:
        """Whether there is a field of that name; this does not read it."""
        return name in self.content

    def __iter__(self) -> Iterator[str]:
        """The names of the fields, read or not."""
        return iter(self.content)

    def __len__(self) -> int:
        """How many fields there are."""
        return len(self.content)

    def take_all(self) -> Mapping[str, Any]:
        """The whole object, all of it read."""
        self.left.clear()
        return self.content

    def place_of(self, name: str) -> str:
        """The path of a field: ``messages[].weight``."""
        return f"{self.path}.{name}" if self.path else name


@dataclass(slots=True)
class UnusedField:
    """A field that no row of a file was converted from.

    Attributes:
        count: rows that have it.
        example: a value that says something, shortened and without secrets; None while all were empty.
        row: 1-based number of the row that the example is from, or None.
    """

    count: int = 0
    example: str | None = None
    row: int | None = None


def is_missing(value: Any) -> bool:
    """Whether there is no value: null, or NaN, which pandas writes where a table has none.

    >>> is_missing(None), is_missing(float("nan")), is_missing("")
    (True, True, False)
    """
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_nothing(value: Any) -> bool:
    """Whether a value says nothing: null, NaN, an empty text, list or object.

    >>> is_nothing(None), is_nothing([]), is_nothing(0)
    (True, True, False)
    """
    return is_missing(value) or (isinstance(value, str | list | tuple | Mapping) and not value)


def is_ignored(place: str, ignore: frozenset[str]) -> bool:
    """Whether a field may be left out, by its path or by its bare name.

    >>> is_ignored("messages[].weight", frozenset({"weight"})), is_ignored("weight", frozenset())
    (True, False)
    """
    return bool(ignore) and (place in ignore or place.rpartition(".")[2] in ignore)
