"""The file of instructions: what the user asked, and which calls of a log it led to."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.data.formats.base import Reject
from lfwrap.data.formats.mcp_wire.wire_pairs import as_key
from lfwrap.data.formats.parts.exact_json import stream_items, stream_lines
from lfwrap.errors import DataError, Finding

_ANSWER_KEYS = ("final_response", "output", "answer", "response")
_SESSION_KEYS = ("session", "server")
_ID_KEYS = ("ids", "id")
_LINE_KEYS = ("lines", "line")


@dataclass(frozen=True, slots=True)
class Instruction:
    """What the user asked, and which calls it led to.

    Attributes:
        text: what was asked.
        answer: the final answer, or empty.
        session: the server whose calls are meant, or empty for any.
        ids: the calls' ids as text; with ``lines`` empty too: the next call in the log's order.
        lines: the lines of the log on which the calls begin.
        line: 1-based line in the instructions file.
        unused: what else the row says, which nobody reads.
        number: which of the file's instructions it is, from 0.
    """

    text: str
    answer: str
    session: str
    ids: tuple[str, ...]
    lines: tuple[int, ...]
    line: int
    unused: Mapping[str, Any]
    number: int

    @property
    def names_calls(self) -> bool:
        """Whether it says which calls are meant."""
        return bool(self.ids or self.lines)

    @property
    def wanted(self) -> str:
        """The calls that it claims, in words."""
        where = f" of {self.session}" if self.session else ""
        if self.lines:
            return f"the calls of the log's lines {', '.join(map(str, self.lines))}{where}"
        return f"the ids {', '.join(self.ids)}{where}" if self.ids else f"the next call{where}"


def load_instructions(path: Path) -> list[Instruction]:
    """Instructions from JSON lines (or a list) of ``{"session", "id" or "ids", "instruction", "final_response"}``.

    Raises:
        DataError: with a finding for every row that can't be used.
    """
    instructions: list[Instruction] = []
    findings: list[Finding] = []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read: {error}", hint="Name a JSON lines file in UTF-8.") from error
    for line, value in _rows(text):
        try:
            instructions.append(_instruction(value, line, len(instructions)))
        except ValueError as error:
            findings.append(Finding("instructions", str(error), file=str(path), line=line))
    if findings:
        raise DataError(f"{path}: {len(findings)} instructions can't be used", findings=findings)
    return instructions


def _rows(text: str) -> Iterator[tuple[int, Any]]:
    if text.lstrip().startswith("["):
        yield from stream_items(io.StringIO(text))
        return
    yield from stream_lines(text.split("\n"))


def _instruction(value: Any, line: int, number: int) -> Instruction:
    if isinstance(value, Reject):
        raise ValueError(value.reason)  # noqa: TRY004 - one kind of finding
    if not isinstance(value, Mapping) or not isinstance(value.get("instruction"), str):
        raise ValueError("no object with an 'instruction'")  # noqa: TRY004 - one kind of finding
    known = ("instruction", *_ANSWER_KEYS, *_SESSION_KEYS, *_ID_KEYS, *_LINE_KEYS)
    answer, session = _one_of(value, _ANSWER_KEYS), _one_of(value, _SESSION_KEYS)
    if answer is not None and not isinstance(answer, str):
        raise ValueError("the final answer is not text")
    ids, lines = _listed(value, _ID_KEYS, str | int), _listed(value, _LINE_KEYS, int)
    if ids and lines:
        raise ValueError("both ids and lines are given: one of them says which calls are meant")
    unused = {key: held for key, held in value.items() if key not in known}
    text = value["instruction"]
    return Instruction(
        text, answer or "", str(session or ""), tuple(map(as_key, ids)), tuple(lines), line, unused, number
    )


def _one_of(value: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    """What stands under one of several names; raises ValueError where two of them say different things."""
    given = [key for key in keys if value.get(key) is not None]
    if len({repr(value[key]) for key in given}) > 1:
        raise ValueError(f"{' and '.join(given)} are given, and differ")
    return value[given[0]] if given else None


def _listed(value: Mapping[str, Any], keys: tuple[str, ...], kind: Any) -> list[Any]:
    found = _one_of(value, keys)
    if found is None:
        return []
    items = found if isinstance(found, list) else [found]
    if not items or not all(isinstance(item, kind) and not isinstance(item, bool) for item in items):
        raise ValueError(f"{keys[0]} is neither one nor a list of them")
    if len(set(map(str, items))) < len(items):
        raise ValueError(f"{keys[0]} names one twice")
    return items
