"""The layout of a JSON file that is one value: a list, or an object that holds lists, columns, or one record."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lfwrap.data.formats.base import Reject, SourceRecord
from lfwrap.data.formats.parts.arguments import TOO_LONG_A_NUMBER, spelled_float
from lfwrap.data.readers.blocks import decode
from lfwrap.data.readers.chunk_plan import LARGEST_RECORD_BYTES, ChunkPlan, Layout, line_at, opening_of, too_long
from lfwrap.data.readers.json_files import json_lists
from lfwrap.data.readers.json_files.array_block import array_items, duplicate_key, marked_object
from lfwrap.data.readers.json_files.json_lines import (
    FirstLines,
    JsonLayout,
    begins_a_value,
    lines_layout,
)
from lfwrap.data.readers.json_files.json_records import (
    exact_record,
    is_wrapped,
    malformed,
    records_by_key,
    records_in_sequence,
    records_of_columns,
    unwrapped,
    unwrapped_rows,
)
from lfwrap.data.readers.json_files.outline import Entry, JsonBytes, MalformedError, Outline, outline
from lfwrap.data.readers.json_files.wanted import SAMPLE_ROWS, Wanted, evidence_of
from lfwrap.data.readers.other_data import is_preference
from lfwrap.data.readers.sources import LINE_SUFFIXES, TextFile
from lfwrap.errors import DataError

_SAMPLED_VALUE_BYTES = 1 << 20


def list_layout(plan: ChunkPlan, head: str, offset: int) -> JsonLayout:
    """The layout of a file that is a list, whose items begin at an offset.

    Raises:
        DataError: the list is empty.
    """
    following = head[offset:]
    plan = replace(
        plan,
        layout=Layout.ARRAY,
        start=plan.start + len(head[:offset].encode()),
        first_line=head.count("\n", 0, offset),
        first_key=opening_of(following.lstrip().encode()),
    )
    if following.strip() == "]":
        raise DataError(f"{plan.name}: the list is empty", hint="Leave it out, or export it again.")
    sample = array_items(following, SAMPLE_ROWS) or json_lists.first_item(plan)
    return _maybe_wrapped(JsonLayout(plan, sample, "JSON list"))


def _maybe_wrapped(layout: JsonLayout) -> JsonLayout:
    """A layout whose items hold the rows proper, as that of those rows."""
    if not is_wrapped(layout.sample):
        return layout
    rows = [row for item in layout.sample if not isinstance(row := unwrapped(item), Reject)]
    plans = (layout.plan, *layout.more)
    return replace(
        layout,
        plan=replace(layout.plan, layout=Layout.RECORDS),
        sample=rows,
        note=f'{layout.note}, each row under "row"',
        more=(),
        records=unwrapped_rows(plans),
    )


def object_layout(text: TextFile, plan: ChunkPlan, lines: FirstLines, wanted: Wanted) -> JsonLayout:
    """The layout of a file that begins with an object: that may be all of it, or the first of several.

    Raises:
        DataError: it is not JSON, with the place; or it holds several lists that don't belong together.
    """
    with plan.path.open("rb") as opened:
        source = JsonBytes(opened, plan.size)
        start = source.past_space(plan.start)
        found = outline(source, start)
        after = source.past_space(found.end)
        rest = source.character(after)
    if found.error is not None:
        return _broken(text, plan, lines, found, found.error)
    if after < plan.size:
        return _lines_after_a_long_one(plan, start, found.end, after, lines.values) or _sequence(plan, after, rest)
    if text.suffix in LINE_SUFFIXES and lines.alone and isinstance(lines.first, dict) and evidence_of(lines.first):
        return lines_layout(plan, lines.values)
    if not found.entries:
        raise DataError(f"{plan.name}: the object is empty", hint="Leave it out, or export it again.")
    _refuse_repeated_keys(plan, found.entries)
    return _one_object(replace(plan, start=start), found.entries, wanted)


def _lines_after_a_long_one(plan: ChunkPlan, start: int, end: int, after: int, others: list[Any]) -> JsonLayout | None:
    """The layout where the first object is one long line, and what follows is a line of its own again."""
    if line_at(plan.path, start) != line_at(plan.path, end) or line_at(plan.path, after) == line_at(plan.path, end):
        return None
    with plan.path.open("rb") as source:
        source.seek(after)
        following = source.readline(_SAMPLED_VALUE_BYTES).decode(errors="ignore")
        if not following.startswith("{") or begins_a_value(following):
            return None
        if end - start > LARGEST_RECORD_BYTES:
            raise too_long(plan, start, "line")
        source.seek(start)
        value = exact_record(source.read(end - start))
    return lines_layout(plan, others if isinstance(value, Reject) else [value])


def _broken(text: TextFile, plan: ChunkPlan, lines: FirstLines, found: Outline, error: MalformedError) -> JsonLayout:
    """An object that can't be made out: lines whose first one is broken, or a list that is read past broken items."""
    if text.suffix in LINE_SUFFIXES or sum(isinstance(value, dict) for value in lines.values) > 1:
        return lines_layout(plan, lines.values)
    records = [entry for entry in found.entries if entry.opening == "[" and entry.first == "{"]
    if records and records[-1].end >= plan.size and len(records) == 1 and not _is_record_key(records[0].key):
        kept = json_lists.plan_of(plan, records[0])
        if sample := json_lists.sample_of(kept):
            return JsonLayout(kept, sample, f'JSON list under "{kept.key}"')
    if plan.size <= LARGEST_RECORD_BYTES:
        _parse(plan)
    raise malformed(plan, error)


def _is_record_key(key: str) -> bool:
    return key in {"conversations", "messages", "tools"}


def _sequence(plan: ChunkPlan, after: int, rest: str) -> JsonLayout:
    if rest not in set("{[,\x1e"):
        raise malformed(plan, MalformedError(after, "something follows the object"))
    sample = [record.value for record in itertools.islice(records_in_sequence(plan), SAMPLE_ROWS)]
    return JsonLayout(
        replace(plan, layout=Layout.RECORDS),
        [value for value in sample if not isinstance(value, Reject)],
        "JSON objects, one after the other",
        records=records_in_sequence(plan),
    )


def _refuse_repeated_keys(plan: ChunkPlan, entries: Sequence[Entry]) -> None:
    keys: set[str] = set()
    for entry in entries:
        if entry.key in keys and (entry.opening == "[" or plan.size > LARGEST_RECORD_BYTES):
            raise DataError(
                f"{plan.name}: the key {entry.key!r} appears twice in one object", hint="Keep one of the two."
            )
        keys.add(entry.key)


def _one_object(plan: ChunkPlan, entries: Sequence[Entry], wanted: Wanted) -> JsonLayout:
    document = _sampled(plan, entries)
    if not wanted.member:
        if _is_columns(document):
            return _columns(plan, entries)
        if evidence_of(document) or wanted.fits(document) or is_preference(document):
            return _record(plan)
    lists = json_lists.choose(plan, entries, wanted)
    if lists is not None:
        plans = lists.plans
        return _maybe_wrapped(JsonLayout(plans[0], lists.sample, lists.note, plans[1:], beside=lists.beside))
    rows = [value for value in document.values() if isinstance(value, dict)]
    if rows and len(rows) == len(document) and all(evidence_of(row) or wanted.fits(row) for row in rows):
        records = records_by_key(plan, entries)
        return JsonLayout(
            replace(plan, layout=Layout.RECORDS), rows, f"JSON object of {len(entries):,} rows by key", records=records
        )
    return _record(plan)


def _sampled(plan: ChunkPlan, entries: Sequence[Entry]) -> dict[str, Any]:
    """The object with the first items of its lists: enough to tell what it is."""
    sampled: dict[str, Any] = {}
    with plan.path.open("rb") as opened:
        source = JsonBytes(opened, plan.size)
        for entry in entries[:_SAMPLED_KEYS]:
            if entry.opening == "[":
                raw = source.read(entry.start + 1, min(entry.end, entry.start + _SAMPLED_VALUE_BYTES))
                sampled[entry.key] = array_items(raw.decode(errors="ignore"), SAMPLE_ROWS)
            elif entry.end - entry.start <= _SAMPLED_VALUE_BYTES:
                value = exact_record(source.read(entry.start, entry.end))
                sampled[entry.key] = {} if isinstance(value, Reject) else value
            else:
                sampled[entry.key] = "" if entry.opening == '"' else {}
    return sampled


_SAMPLED_KEYS = 200


def _is_columns(document: Mapping[str, Any]) -> bool:
    """Whether each key is a column: a list of the rows' values, or an object of them by the row's number."""
    columns = {
        key: list(value.values()) if isinstance(value, dict) else value
        for key, value in document.items()
        if isinstance(value, dict | list)
    }
    if len(columns) <= 1 or not all(columns.values()):
        return False
    return evidence_of({key: values[0] for key, values in columns.items()}) is not None


def _columns(plan: ChunkPlan, entries: Sequence[Entry]) -> JsonLayout:
    if plan.size > LARGEST_RECORD_BYTES:
        raise DataError(
            f"{plan.name}: a table by columns of {plan.size:,} bytes can't be read row by row",
            hint="Write one record a line: pandas.read_json(FILE).to_json('rows.jsonl', orient='records', lines=True)",
        )
    document = _parse(plan)
    if not isinstance(document, dict):
        raise DataError(f"{plan.name}: {duplicate_key(document)}", hint="Keep one of the two.")
    rows = records_of_columns(document, plan.name)
    records = (SourceRecord(number, None, duplicate_key(row) or row) for number, row in enumerate(rows, 1))
    columns = [entry.key for entry in entries if entry.opening in {"[", "{"}]
    unused = [entry.key for entry in entries if entry.key not in columns]
    note = f"JSON table of {len(columns)} columns" + (f"; not used: {', '.join(unused)}" if unused else "")
    return JsonLayout(replace(plan, layout=Layout.RECORDS), rows[:SAMPLE_ROWS], note, records=records)


def _record(plan: ChunkPlan) -> JsonLayout:
    if plan.size - plan.start > LARGEST_RECORD_BYTES:
        raise too_long(plan, plan.start, "JSON object")
    value = _parse(plan)
    twice = duplicate_key(value)
    record = SourceRecord(1, plan.first_line + 1, twice or value)
    sample = [_parse_plainly(plan) if twice else value]  # a key that stands twice does no harm there
    return JsonLayout(replace(plan, layout=Layout.RECORDS), sample, "one JSON object", records=iter([record]))


def _parse_plainly(plan: ChunkPlan) -> Any:
    return json.loads(plan.path.read_bytes()[plan.start :])


def _parse(plan: ChunkPlan) -> Any:
    """The whole file as one value, with marks where a key appears twice."""
    with plan.path.open("rb") as source:
        before = source.read(plan.start).count(b"\n")
        content = decode(source.read())
    try:
        return json.loads(content, object_pairs_hook=marked_object, parse_float=spelled_float)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{plan.name}:{before + error.lineno}:{error.colno}  not valid JSON: {error.msg}",
            hint="Correct it there; a list of records, or one record a line, is also read past broken rows.",
        ) from error
    except RecursionError as error:
        raise DataError(f"{plan.name}: not usable JSON: nested too deeply", hint="Name another file.") from error
    except ValueError as error:
        raise DataError(f"{plan.name}: not usable JSON: {TOO_LONG_A_NUMBER}", hint="Write it as text.") from error
