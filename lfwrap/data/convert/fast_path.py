"""The fast path: blocks of plain rows, which are nothing but text: instruction, input and output.

It writes the same bytes as the record path and checks the same things, but for a whole block at once: the literals that
rules look for are searched in the joined output, and a key that appears twice shows as a surplus of quotation marks in
the input. Where something is found, the rows concerned go through the record path's checks after all.
"""

from __future__ import annotations

import io

import orjson
import xxhash

from lfwrap.data.convert.converted_rows import ConvertedRows, Unused
from lfwrap.data.convert.failed_row import failed_row
from lfwrap.data.convert.prefilter import rules_prefilter
from lfwrap.data.convert.record_path import Conversion, RecordPath
from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.readers.blocks import Block, CsvBlock, LineBlock, NotUtf8Error
from lfwrap.data.readers.json_files.array_block import ArrayBlock
from lfwrap.data.schema.conversation import Conversation, Message, Role
from lfwrap.data.schema.plain_rows import QUOTES_IN_OUTPUT, PlainColumns, blank_row, growth, plain_line, plain_texts

_LINE_START_BYTES = 1 << 10


def convert_block(block: Block, conversion: Conversion, columns: PlainColumns | None) -> ConvertedRows:
    """All records of a block, by the quickest path that fits.

    Args:
        block: the records.
        conversion: how to convert them.
        columns: the columns of a plain table, or None when the rows are not of that kind.
    """
    if columns is not None and isinstance(block, CsvBlock):
        return _table(block, conversion, columns)
    records = RecordPath(block, conversion)
    if columns is None:
        return records.take_all()
    if isinstance(block, LineBlock):
        _lines(block, columns, records)
    elif isinstance(block, ArrayBlock) and block.items:
        _items(block, columns, records)
        _check_keys(block, columns, records.rows)
    else:
        return records.take_all()
    _check_rules(records.rows, conversion.template)
    return records.rows


def _table(block: CsvBlock, conversion: Conversion, columns: PlainColumns) -> ConvertedRows:
    block.trained = frozenset(block.header.index(name) for name in columns.names)
    records = _table_path(block, conversion, columns)
    if not _csv_rows(block, columns, records):
        records = _table_path(block, conversion, columns)
        block.scan()
        _mixed_csv_rows(block, columns, records)
    _check_rules(records.rows, conversion.template)
    if records.rows.rejects and not block.rows:
        block.scan()  # a rejected row is shown with its cells
    for name in block.unnamed:
        if records.rows.unused[name].value is None:
            del records.rows.unused[name]
    for unused in records.rows.unused.values():
        unused.count = len(records.rows.keys)  # a row of a table has every column
    return records.rows


def _table_path(block: CsvBlock, conversion: Conversion, columns: PlainColumns) -> RecordPath:
    records = RecordPath(block, conversion)
    records.rows.unused = {name: Unused() for name in block.header if name not in columns.names}
    return records


def _exemplify(seeking: list[tuple[int, Unused]], row: list[str], position: int) -> list[tuple[int, Unused]]:
    """Columns that still need an example once this row has given those that it has."""
    for place, unused in seeking:
        if row[place]:
            unused.value, unused.position = row[place], position
    return [(place, unused) for place, unused in seeking if unused.value is None]


def _csv_rows(block: CsvBlock, columns: PlainColumns, records: RecordPath) -> bool:
    """Rows of a CSV block while all of them are plain; False when one is not, or the block ends within a row."""
    import csv

    header = block.header
    ask, answer = header.index(columns.instruction), header.index(columns.output)
    more = header.index(columns.input) if columns.input else -1
    cells, ended = len(header), False
    dumps, newline = orjson.dumps, orjson.OPT_APPEND_NEWLINE
    digest, seed = xxhash.xxh3_128_intdigest, records.conversion.seed
    output, keys = records.rows.output, records.rows.keys
    row, asked, answered = blank_row()
    seeking = [(header.index(name), unused) for name, unused in records.rows.unused.items()]
    if block.has_escapes:
        return False
    header_sizes, is_header = block.may_be_header(columns.output), block.is_header
    reader = block.reader(strict=True)
    try:
        for read in reader:
            if len(read) != cells:
                ended = block.is_end(read)
                break
            question, told, extra = read[ask], read[answer], read[more] if more >= 0 else ""
            if (
                (question < "!" or told < "!" or question.isspace() or told.isspace() or (extra and extra < "!"))
                and _is_not_plain(question, told, extra)
            ) or (len(told) in header_sizes and is_header(read)):
                return False
            asked["value"], answered["value"] = f"{question}\n{extra}" if extra else question, told
            line = dumps(row, option=newline)
            output += line
            if seeking:
                seeking = _exemplify(seeking, read, len(keys))
            keys.append(digest(line, seed))
    except csv.Error:
        return False
    except UnicodeDecodeError as error:
        raise NotUtf8Error from error
    block.size, block.line_count = len(keys), reader.line_num - 1
    return ended


def _is_not_plain(question: str, told: str, extra: str) -> bool:
    """Whether question or answer are blank, or a cell begins with blanks and a quote, which then may be no quote."""
    is_blank = not question or not told or question.isspace() or told.isspace()
    return is_blank or any(cell[:1] == " " and cell.lstrip(" ")[:1] == '"' for cell in (question, told, extra))


def _mixed_csv_rows(block: CsvBlock, columns: PlainColumns, records: RecordPath) -> None:
    """Rows of a CSV block of which some need the record path."""
    header = block.header
    ask, answer = header.index(columns.instruction), header.index(columns.output)
    more = header.index(columns.input) if columns.input else -1
    seeking = [(header.index(name), unused) for name, unused in records.rows.unused.items()]
    header_sizes = block.may_be_header(columns.output)
    for position, row in enumerate(block.rows):
        if not row:
            records.rows.skipped.append(position)
            continue
        whole = block.is_whole(position) and not (len(row[answer]) in header_sizes and block.is_header(row))
        if not whole or not row[ask].strip() or not row[answer].strip():
            records.take(position)
            continue
        line = plain_line(row[ask], row[more] if more >= 0 else "", row[answer])
        records.rows.output += line
        records.rows.keys.append(xxhash.xxh3_128_intdigest(line, records.conversion.seed))
        seeking = _exemplify(seeking, row, position)


def _lines(block: LineBlock, columns: PlainColumns, records: RecordPath) -> None:
    """Rows of a JSONL block. One long loop: a call for each row would cost a good part of parsing it."""
    ask, more, tell = columns.keys
    fields, quotes, absent = len(columns.names), columns.quotes, columns.absent_input
    loads, dumps, newline = orjson.loads, orjson.dumps, orjson.OPT_APPEND_NEWLINE
    digest, seed = xxhash.xxh3_128_intdigest, records.conversion.seed
    output, add_key = records.rows.output, records.rows.keys.append
    grown, grown_by_input = growth(block.content[:_LINE_START_BYTES], columns)
    row, asked, answered = blank_row()
    position = -1
    for position, raw in enumerate(io.BytesIO(block.content)):  # a line let go before the next stays in the CPU's cache
        try:
            record = loads(raw)
            question, extra, answer = record[ask], record.get(more, absent), record[tell]
            is_blank = not question or not answer or question.isspace() or answer.isspace()
        except (ValueError, KeyError, TypeError, AttributeError):  # no JSON, no object, a key too few, no text
            if raw.isspace():
                block.blanks.append(position)
                records.rows.skipped.append(position)
            else:
                records.take(position)
            continue
        if is_blank or type(extra) is not str or len(record) != fields:
            records.take(position)
            continue
        asked["value"], answered["value"] = f"{question}\n{extra}" if extra else question, answer
        line = dumps(row, option=newline)
        if len(line) - len(raw) != (grown_by_input if extra else grown) and (
            # Other spellings or spaces, then; but a key that appears twice shows in the quotation marks.
            raw.count(b'"') != quotes
            and (raw.count(b'"') - line.count(b'"') != quotes - QUOTES_IN_OUTPUT or b"\\u0022" in raw)
        ):
            records.take(position)
            continue
        output += line
        add_key(digest(line, seed))
    block.size = position + 1


def _items(block: ArrayBlock, columns: PlainColumns, records: RecordPath) -> None:
    digest, seed = xxhash.xxh3_128_intdigest, records.conversion.seed
    output, add_key = records.rows.output, records.rows.keys.append
    for position, record in enumerate(block.items):
        texts = plain_texts(record, columns)
        if texts is None:
            records.take(position)
            continue
        line = plain_line(*texts)
        output += line
        add_key(digest(line, seed))


def _check_keys(block: ArrayBlock, columns: PlainColumns, rows: ConvertedRows) -> None:
    """Find keys that appear twice in an array's objects, of which a fast parser keeps the last and says nothing.

    Escaped quotation marks go from input to output one for one; what else the input has more than its rows need
    belongs to a key that was lost. Then, or when that can't be counted, everything is read again, exactly.
    """
    if not (rows.checked or rows.skipped or b"\\u0022" in block.content):
        surplus = block.content.count(b'"') - rows.output.count(b'"')
        if surplus == (columns.quotes - QUOTES_IN_OUTPUT) * len(rows.keys):
            return
    rejects: dict[int, Reject] = {}
    for index, position in enumerate(rows.positions()):
        if index not in rows.checked:
            try:
                block.record(position)
            except Exception as error:  # noqa: BLE001 - whatever one row brings about, the others are written
                rejects[index] = failed_row(error)
    rows.drop(rejects)


def _check_rules(rows: ConvertedRows, template: str) -> None:
    """Check by the rules those rows that contain a literal which a rule looks for."""
    output, rejects = rows.output, dict[int, Reject]()
    found: dict[int, RowNotes] = {}
    starts = rules_prefilter(template).starts_of_lines(output)
    if not starts:
        return
    from lfwrap.data.convert import validate

    for start in starts:
        index = output.count(b"\n", 0, start) if rows.checked else -1
        if index in rows.checked:
            continue
        notes = RowNotes()
        try:
            validate.check(_conversation_of(output[start : output.find(b"\n", start)]), template, notes)
        except Exception as error:  # noqa: BLE001 - whatever one row brings about, the others are written
            rejects[output.count(b"\n", 0, start)] = failed_row(error)
        if notes.warnings or notes.repairs:
            found[output.count(b"\n", 0, start)] = notes
    if found:
        places = rows.positions()
        rows.notes |= {places[index]: notes for index, notes in found.items()}
    rows.drop(rejects)


def _conversation_of(line: bytes | bytearray) -> Conversation:
    turns = orjson.loads(line)["conversations"]
    roles = (Role.USER, Role.ASSISTANT)
    return Conversation(tuple(Message(role, turn["value"]) for role, turn in zip(roles, turns, strict=True)))
