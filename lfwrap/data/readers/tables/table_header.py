"""The row of a table that names its columns, wherever it stands, and the names as keys of records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from lfwrap.data.schema.columns import field_of, normalise_name
from lfwrap.errors import DataError

HEAD_ROWS = 30
_OF_CONVERSATIONS = {"messages", "conversations"}


def find_header(rows: Sequence[Sequence[str]], mapping: Mapping[str, str]) -> int | None:
    """Which of the first rows of a table names the columns; None where all are blank.

    It is the first row that is not blank, unless that has other names than a table of training data while a row below
    has such names, and more cells than every row above it: those are a title, or notes.

    Args:
        rows: the cells of the first rows.
        mapping: field → column, as the user named them.

    >>> find_header([["Export of May"], [], ["question", "answer"], ["q", "a"]], {})
    2
    """
    filled = [sum(bool(cell.strip()) for cell in row) for row in rows]
    first = next((place for place, count in enumerate(filled) if count), None)
    if first is None or is_known_header(rows[first], mapping):
        return first
    widest = filled[first]
    for place in range(first + 1, len(rows)):
        if filled[place] > widest and is_known_header(rows[place], mapping):
            return place
        widest = max(widest, filled[place])
    return first


def is_known_header(names: Sequence[str], mapping: Mapping[str, str]) -> bool:
    """Whether a row names what training data need: a question and an answer, or a conversation.

    >>> is_known_header(["Question", "Answer", "Source"], {}), is_known_header(["title", "reply"], {"output": "reply"})
    (True, False)
    """
    known = {normalise_name(name) for name in names}
    if not all(normalise_name(column) in known for column in mapping.values()):
        return False
    fields = {field_of(name) for name in names} | set(mapping)
    return bool(known & _OF_CONVERSATIONS) or ("output" in fields and bool(fields & {"instruction", "input"}))


def trained_columns(names: Sequence[str], mapping: Mapping[str, str]) -> set[int]:
    """Which columns of a known header are trained, by their places; of any other header all may be.

    >>> sorted(trained_columns(["question", "source", "answer"], {}))
    [0, 2]
    """
    if not is_known_header(names, mapping) or {normalise_name(name) for name in names} & _OF_CONVERSATIONS:
        return set(range(len(names)))
    mapped = {normalise_name(column) for column in mapping.values()}
    return {place for place, name in enumerate(names) if field_of(name) or normalise_name(name) in mapped}


def column_names(names: Sequence[str], mapping: Mapping[str, str], place: str) -> tuple[str, ...]:
    """The names of a header as keys of records: one without a name is named by its number, one of equals likewise.

    Raises:
        DataError: two columns of one name, and the name is one of those that are trained.

    >>> column_names(["question", "", "note", "note"], {}, "a.csv:1")
    ('question', 'column 2', 'note', 'note (column 4)')
    """
    counts = Counter(name for name in names if name.strip())
    mapped = {normalise_name(column) for column in mapping.values()}
    for name, count in counts.items():
        if count > 1 and (field_of(name) or normalise_name(name) in mapped | _OF_CONVERSATIONS):
            numbers = [str(number) for number, other in enumerate(names, 1) if other == name]
            raise DataError(
                f"{place}  {count} columns are named {name!r}: {' and '.join(numbers)}",
                hint="Rename all but the one that is meant.",
            )
    taken: set[str] = set()
    found = []
    for number, name in enumerate(names, 1):
        key = f"column {number}" if not name.strip() else name
        found.append(f"{name} (column {number})" if key in taken else key)
        taken.add(key)
    return tuple(found)


def is_repeated_header(cells: Sequence[str], names: Sequence[str]) -> bool:
    r"""Whether a row says again what the header says, whatever case, white space and byte order mark.

    >>> is_repeated_header(["\ufeffQuestion", "answer "], ["question", "answer"])
    True
    """
    return len(cells) == len(names) and all(
        normalise_name(cell) == normalise_name(name) for cell, name in zip(cells, names, strict=True)
    )
