"""The quick lane: blocks of plain rows, which are nothing but text: instruction, input and output.

It writes the same bytes as the slow lane and checks the same things, but for a whole block at once: each needle of the
rules is looked for in the joined output, and a key that stands twice shows as a surplus of quotation marks in the
input. Where something is found, the rows concerned go through the slow lane's checks after all.
"""

from __future__ import annotations

import orjson
import xxhash

from lfwrap.data import validate
from lfwrap.data.blocks import ArrayBlock, Block, CsvBlock, LineBlock
from lfwrap.data.conversation import Conversation, Message, Role
from lfwrap.data.convert import Conversion
from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.lanes import Rows, SlowLane
from lfwrap.data.plain import QUOTES_IN_OUTPUT, Shape, plain_line, plain_texts, splice_for


def convert_block(block: Block, conversion: Conversion, shape: Shape | None) -> Rows:
    """All records of a block, by the quickest lane that fits.

    Args:
        block: the records.
        conversion: how to convert them.
        shape: the columns of a plain table, or None when the rows are not of that kind.
    """
    slow = SlowLane(block, conversion)
    if shape is None:
        return slow.take_all()
    if isinstance(block, CsvBlock):
        _csv_rows(block, shape, slow)
    elif isinstance(block, LineBlock):
        _lines(block, shape, slow)
    elif isinstance(block, ArrayBlock) and block.items:
        _items(block, shape, slow)
    else:
        return slow.take_all()
    joined = b"\n".join(slow.rows.lines)
    if not isinstance(block, CsvBlock) and not _no_key_twice(block, shape, slow.rows, joined):
        _read_suspects(block, shape, slow.rows)
    _check_rules(slow.rows, joined, conversion.template)
    return slow.rows


def _csv_rows(block: CsvBlock, shape: Shape, slow: SlowLane) -> None:
    header = block.header
    ask, answer = header.index(shape.instruction), header.index(shape.output)
    more = header.index(shape.input) if shape.input else -1
    cells, unclosed = len(header), -1 if block.unclosed is None else block.unclosed
    digest, seed = xxhash.xxh3_128_intdigest, slow.conversion.seed
    add_line, add_key = slow.rows.lines.append, slow.rows.keys.append
    for position, row in enumerate(block.rows):
        if len(row) != cells or position == unclosed:
            if row:
                slow.take(position)
            else:
                slow.rows.skipped.append(position)
            continue
        question, output, extra = row[ask], row[answer], row[more] if more >= 0 else ""
        if not question or not output or question.isspace() or output.isspace() or (extra and extra.isspace()):
            slow.take(position)
            continue
        line = plain_line(question, extra, output)
        add_line(line)
        add_key(digest(line, seed))


def _lines(block: LineBlock, shape: Shape, slow: SlowLane) -> None:
    ask, more, tell = shape.keys
    fields = len(shape.names)
    loads, digest, seed = orjson.loads, xxhash.xxh3_128_intdigest, slow.conversion.seed
    add_line, add_key = slow.rows.lines.append, slow.rows.keys.append
    blanks = set(block.blanks)
    way = None if _has_other_spellings(block.content) else splice_for(block.lines[0].rstrip(), shape)
    cut = way.line if way else None
    for position, raw in enumerate(block.lines):
        try:
            record = loads(raw)
            question, extra, answer = record[ask], record.get(more, ""), record[tell]
        except (ValueError, KeyError, TypeError, AttributeError):
            if position in blanks:
                slow.rows.skipped.append(position)
            else:
                slow.take(position)
            continue
        if (
            type(question) is not str
            or type(answer) is not str
            or type(extra) is not str
            or len(record) != fields
            or not question
            or not answer
            or question.isspace()
            or answer.isspace()
            or (extra and extra.isspace())
        ):
            slow.take(position)
            continue
        line = (cut and cut(raw.rstrip())) or plain_line(question, extra, answer)
        add_line(line)
        add_key(digest(line, seed))


def _items(block: ArrayBlock, shape: Shape, slow: SlowLane) -> None:
    digest, seed = xxhash.xxh3_128_intdigest, slow.conversion.seed
    add_line, add_key = slow.rows.lines.append, slow.rows.keys.append
    for position, record in enumerate(block.items):
        texts = plain_texts(record, shape)
        if texts is None:
            slow.take(position)
            continue
        line = plain_line(*texts)
        add_line(line)
        add_key(digest(line, seed))


def _has_other_spellings(content: bytes) -> bool:
    r"""Whether a text may be spelled otherwise than the output spells it: ``\u4e2d``, ``\/``."""
    return b"\\u" in content or b"\\/" in content


def _no_key_twice(block: LineBlock | ArrayBlock, shape: Shape, rows: Rows, joined: bytes) -> bool:
    """Whether the count of quotation marks proves that no key stands twice.

    A quick parser keeps the last of two values and says nothing. Escaped quotation marks go from input to output one
    for one; what else the input has more than its rows need belongs to a key that was lost.
    """
    if rows.checked or rows.skipped or b"\\u0022" in block.content:
        return False
    surplus_in = block.content.count(b'"') - shape.quotes * len(rows.lines)
    return surplus_in == joined.count(b'"') - QUOTES_IN_OUTPUT * len(rows.lines)


def _read_suspects(block: LineBlock | ArrayBlock, shape: Shape, rows: Rows) -> None:
    """Read rows that may have a key twice again, exactly; of an array that is every row."""
    suspects: dict[int, int] = {}
    difference = shape.quotes - QUOTES_IN_OUTPUT
    for index, (position, line) in enumerate(zip(rows.positions(), rows.lines, strict=True)):
        raw = block.lines[position] if isinstance(block, LineBlock) else b"\\u0022"
        if raw.count(b'"') - line.count(b'"') != difference or b"\\u0022" in raw:
            suspects[index] = position
    _read_again(block, rows, suspects)


def _read_again(block: Block, rows: Rows, suspects: dict[int, int]) -> None:
    rejects: dict[int, Reject] = {}
    for index, position in suspects.items():
        if index not in rows.checked:
            try:
                block.record(position)
            except Reject as reject:
                rejects[index] = reject
    rows.drop(rejects)


def _check_rules(rows: Rows, joined: bytes, template: str) -> None:
    """Hold rows against the rules where one of the rules' needles stands."""
    needles = [needle for needle in validate.NEEDLES if needle in joined]
    if not needles:
        return
    places = rows.positions()
    rejects: dict[int, Reject] = {}
    for index, line in enumerate(rows.lines):
        if index in rows.checked or not any(needle in line for needle in needles):
            continue
        notes = RowNotes()
        try:
            validate.check(_conversation_of(line), template, notes)
        except Reject as reject:
            rejects[index] = reject
        if notes.warnings or notes.repairs:
            rows.notes[places[index]] = notes
    rows.drop(rejects)


def _conversation_of(line: bytes) -> Conversation:
    turns = orjson.loads(line)["conversations"]
    roles = (Role.USER, Role.ASSISTANT)
    return Conversation(tuple(Message(role, turn["value"]) for role, turn in zip(roles, turns, strict=True)))
