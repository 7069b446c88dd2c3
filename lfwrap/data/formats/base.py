"""What an input format is: evidence that a record has it, and how to turn the record into a conversation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfwrap.data.schema.conversation import Conversation, Tool
from lfwrap.data.schema.fields import Fields, is_nothing


class Reject(Exception):  # noqa: N818 - not an error of the program: one row can't be used
    """One row can't be used: the rule that it breaks and why, for the rejects file."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(rule, reason)  # both, so that it can go to another process
        self.rule = rule
        self.reason = reason

    def __str__(self) -> str:
        """The reason."""
        return self.reason


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """The user's options for the conversion.

    Attributes:
        columns: target field → source column (``{"output": "reply"}`` from ``--map output=reply``).
        tools: tools by name, from ``--tools`` files, for formats whose rows only name them.
        distractors: how many other tools to offer beside the one that is called.
        instructions: JSON lines that say what the user asked, for wire logs.
        seed: seeds every choice, together with the row itself, so that the result does not depend on order or jobs.
        ignore: fields that may be left out, from ``--ignore``: names, or paths such as ``messages[].weight``.
        sources: all files of the preparation, where there are instructions: together they hold the calls.
        tool_names: the names of the tools, in their order.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, Tool] = field(default_factory=dict)
    distractors: int = 0
    instructions: Path | None = None
    seed: int = 42
    ignore: frozenset[str] = frozenset()
    sources: tuple[str, ...] = ()
    tool_names: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """List the names once: a catalogue may hold thousands, of which every row draws a few by their numbers."""
        object.__setattr__(self, "tool_names", tuple(self.tools))


@dataclass(slots=True)
class RowNotes:
    """What happened to one row during its conversion.

    Attributes:
        repairs: how often each kind of repair was made.
        warnings: rules that the row breaks but may, as (rule, message).
        opened: the objects of the record that were looked into.
        unused: path → value of the fields that nobody read, besides those of ``opened``.
    """

    repairs: Counter[str] = field(default_factory=Counter)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    opened: list[Fields] = field(default_factory=list)
    unused: dict[str, Any] = field(default_factory=dict)

    def repair(self, kind: str) -> None:
        """Count one repair of this kind in the row."""
        self.repairs[kind] += 1

    def warn(self, rule: str, message: str) -> None:
        """Note that the row breaks a rule but may stay."""
        self.warnings.append((rule, message))

    def fields(self, value: Mapping[str, Any], path: str) -> Fields:
        """An object of the record, opened: whichever of its fields is not read from now on is named in the report.

        Args:
            value: the object; one that is open already stays as it is.
            path: where it stands in the record, such as ``messages[]``; empty for the record itself.
        """
        if isinstance(value, Fields):
            return value
        opened = Fields(value, path)
        self.opened.append(opened)
        return opened

    def close(self) -> None:
        """Let go of the record: repairs and warnings may be kept for long, and each record would be with them."""
        self.opened.clear()
        self.unused.clear()

    def left(self) -> dict[str, Any]:
        """Path → first value of every field of the row that nobody read."""
        unused = dict(self.unused)
        for fields in self.opened:
            for name in fields.content if fields.left else ():
                if name in fields.left:
                    place, value = fields.place_of(name), fields.content[name]
                    if is_nothing(unused.get(place)):
                        unused[place] = value
        return unused


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One record of a file whose rows are not simply its lines, list items or table rows.

    Attributes:
        row: 1-based number of the record.
        line: 1-based physical line on which it starts, or None.
        value: the record.
        repairs: kinds of changes that its reader made, such as a date that became text.
    """

    row: int
    line: int | None
    value: Any
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """One input format: how its records are recognised and converted.

    Attributes:
        name: its name for ``--format`` and in reports.
        description: one sentence.
        example: one example row as it stands in a file.
        evidence: why a record looks like this format (``messages is a JSON string, available_tools present``), or None.
        convert: a record as a conversation; raises `Reject`.
        sniff: for formats that span lines (logs): why a file looks like this one, from its first 64 KiB of text.
        read: for those formats: the records of a whole file, in order; `convert` takes each.
    """

    name: str
    description: str
    example: str
    evidence: Callable[[Mapping[str, Any]], str | None]
    convert: Callable[[Mapping[str, Any], ConvertOptions, RowNotes], Conversation]
    sniff: Callable[[str], str | None] | None = None
    read: Callable[[Path, ConvertOptions], Iterator[SourceRecord]] | None = None
