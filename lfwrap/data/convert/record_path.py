"""The record path: one record → one line of the output, with everything checked.

Every row that is not plain takes it, and so does a plain row that the fast path can't vouch for. All other plain rows
never come here: `lfwrap.data.convert.fast_path` writes their lines itself, which a property test holds equal to these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lfwrap.data.convert import writer
from lfwrap.data.convert.converted_rows import ConvertedRows
from lfwrap.data.convert.failed_row import failed_row
from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes
from lfwrap.data.readers.blocks import Block, CsvBlock, LineBlock
from lfwrap.data.schema.conversation import Conversation, Role


@dataclass(frozen=True, slots=True)
class Conversion:
    """How the rows of one source are converted; goes to every worker process.

    Attributes:
        format: name of the input format.
        options: what the user said about the conversion.
        template: the chat template to write for, or empty: the form that most templates share.
        seed: seeds the row keys, and with them the split.
        last_exchange: keep only the last user turn and what follows.
    """

    format: str
    options: ConvertOptions
    template: str = ""
    seed: int = 42
    last_exchange: bool = False


def convert_record(record: Any, conversion: Conversion, notes: RowNotes) -> tuple[bytes, int]:
    """A record as its output line and its key.

    Raises:
        Reject: the record can't be used.
    """
    from lfwrap.data.convert import training_fields, validate

    if not isinstance(record, Mapping):
        raise Reject("not-an-object", f"the row is {_kind(record)}, expected an object with named fields")
    try:
        conversation = FORMATS[conversion.format].convert(record, conversion.options, notes)
    except Reject as reject:
        raise training_fields.explain(record, reject, conversion.options.ignore) from reject
    mapped = "output" in conversion.options.columns
    training_fields.check(notes, conversation, conversion.options.ignore, mapped=mapped)
    if conversion.last_exchange:
        conversation = _cut_to_last_exchange(conversation, notes)
    validate.check(conversation, conversion.template, notes)
    line = writer.engine_line(writer.engine_row(conversation, conversion.template))
    notes.repairs.update(writer.tool_changes(conversation, conversion.template))
    return line, writer.row_key(conversation, line, conversion.seed)


def _cut_to_last_exchange(conversation: Conversation, notes: RowNotes) -> Conversation:
    starts = [place for place, message in enumerate(conversation.messages) if message.role is Role.USER]
    if not starts or not starts[-1]:
        return conversation
    notes.repair("cut-to-last-exchange")
    return replace(conversation, messages=conversation.messages[starts[-1] :])


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "true or false", str: "text", list: "a list"}
    return names.get(type(value), "a number")


class RecordPath:
    """The records of a block, one at a time, each through every check."""

    def __init__(self, block: Block, conversion: Conversion) -> None:
        self.block = block
        self.conversion = conversion
        self.rows = ConvertedRows()

    def take(self, position: int) -> None:
        """Convert the record at a position, or note why it can't be."""
        notes, rows = RowNotes(), self.rows
        try:
            line, key = convert_record(self.block.record(position), self.conversion, notes)
        except Exception as error:  # noqa: BLE001 - whatever one row brings about, the others are written
            rows.rejects[position] = failed_row(error)
            rows.skipped.append(position)
            return
        rows.add_unused(notes.left(), position)
        if notes.repairs or notes.warnings:
            notes.close()
            rows.notes[position] = notes
        rows.checked.add(len(rows.keys))
        rows.output += line
        rows.keys.append(key)

    def take_all(self) -> ConvertedRows:
        """Convert every record of the block."""
        if isinstance(self.block, LineBlock | CsvBlock):
            self.block.scan()
        blanks = set(self.block.blanks)
        for position in range(self.block.size):
            if position in blanks:
                self.rows.skipped.append(position)
            else:
                self.take(position)
        return self.rows
