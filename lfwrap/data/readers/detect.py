"""How the records of a file are laid out, and which format they have: detected in a sample, with the evidence."""

from __future__ import annotations

import codecs
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lfwrap.data.formats import FORMATS, READ_AS_JSON, WHOLE_FILE
from lfwrap.data.formats.alpaca import describe_columns
from lfwrap.data.formats.base import ConvertOptions, Format, Reject, SourceRecord
from lfwrap.data.formats.parts.messages import is_turns
from lfwrap.data.readers.archives import Opened
from lfwrap.data.readers.blocks import NotUtf8Error, parse_exactly
from lfwrap.data.readers.chunk_plan import ChunkPlan, Layout
from lfwrap.data.readers.json_files.json_layouts import JSON_SUFFIXES, detect_json
from lfwrap.data.readers.json_files.wanted import SAMPLE_ROWS, Wanted
from lfwrap.data.readers.other_data import kind_of_fields, refuse_no_data
from lfwrap.data.readers.sources import CSV_SUFFIXES, TextFile
from lfwrap.data.schema.columns import is_all_known, resolve_columns
from lfwrap.data.schema.plain_rows import PlainColumns
from lfwrap.errors import DataError, LfwrapError, UsageError

_HEAD_BYTES = 1 << 20
_SNIFFED_CHARACTERS = 1 << 16


@dataclass(frozen=True, slots=True)
class DetectedFile:
    """How a file is laid out, which format its rows have, and why.

    Attributes:
        format: name of the format.
        evidence: why.
        plan: how to read it.
        plain_columns: its columns, when it may be a plain table.
        records: the records, where a reader of their own yields them, else None.
        note: layout, delimiter and the like, for the person.
        more: further lists of the file, to be read after the plan's.
        beside: what a JSON file says beside the lists that are read, by key.
    """

    format: str
    evidence: str
    plan: ChunkPlan
    plain_columns: PlainColumns | None = None
    records: Iterator[SourceRecord] | None = None
    note: str = ""
    more: tuple[ChunkPlan, ...] = ()
    beside: Mapping[str, Any] = field(default_factory=dict)


def detect_file(
    text: TextFile, options: ConvertOptions, *, format_name: str | None, delimiter: str | None, member: str = ""
) -> DetectedFile:
    """Find out what a file is.

    Args:
        text: the file, as UTF-8.
        options: what the user said about columns.
        format_name: the format, if the user named one.
        delimiter: CSV's delimiter, if the user named one.
        member: the list of a JSON object that the user named, or empty.

    Raises:
        DataError: it can't be recognised, or is not training data.
        NotUtf8Error: its beginning holds other bytes after all.
        UsageError: there is no format of that name.
    """
    if format_name is not None and format_name not in FORMATS:
        raise UsageError(f"--format {format_name}: no such format", hint=f"Formats: {', '.join(FORMATS)}")
    head = _head(text)
    refuse_no_data(text.name, head)
    sniffed = head if text.suffix == ".log" else head[:_SNIFFED_CHARACTERS]  # logs may begin with much else
    own = None if format_name is None and _is_surely_a_table(text, head) else _own_reader(sniffed, format_name)
    size = text.path.stat().st_size
    wanted = Wanted(member, format_name, options.columns)
    if own is not None:
        known, evidence = own
        if known.name in READ_AS_JSON and head.lstrip().startswith("{"):
            detected, sample = _detect_json(text, head, wanted)
            return replace(_with_format(detected, sample, options, known.name, text.name), evidence=evidence)
        if member:
            raise DataError(f"{text.name}: there is no list '{member}' in it", hint=f"Name the file alone: {text.name}")
        plan = ChunkPlan(Layout.RECORDS, text.path, 0, size)
        return DetectedFile(known.name, evidence, plan, records=_own_records(known, text.path, options))
    if text.suffix in CSV_SUFFIXES or not (text.suffix in JSON_SUFFIXES or head.lstrip().startswith(("{", "["))):
        if member:
            raise DataError(f"{text.name}: a table has no part '{member}'", hint=f"Name the file alone: {text.name}")
        detected, sample = _detect_csv(text, head, size, delimiter, options)
    else:
        detected, sample = _detect_json(text, head, wanted)
    return _with_format(detected, sample, options, format_name, text.name)


def _detect_json(text: TextFile, head: str, wanted: Wanted) -> tuple[DetectedFile, list[Any]]:
    layout = detect_json(text, head, wanted)
    detected = DetectedFile(
        "", "", layout.plan, records=layout.records, note=layout.note, more=layout.more, beside=layout.beside
    )
    return detected, layout.sample


def detect_table(
    opened: Opened, name: str, options: ConvertOptions, *, format_name: str | None, member: str
) -> DetectedFile:
    """Find out what an XLSX, Parquet or Arrow file holds. Raises as `detect_file` does."""
    from lfwrap.data.readers.tables.tables import read_table

    path = opened.path
    table = read_table(path, name, opened.suffix, member, options.columns)
    records = table.records
    sample = list(itertools.islice(records, SAMPLE_ROWS))
    if not sample:
        raise DataError(f"{name}: the table has no rows", hint="Leave it out, or export it again.")
    plan = ChunkPlan(Layout.RECORDS, path, 0, path.stat().st_size)
    detected = DetectedFile("", "", plan, records=itertools.chain(sample, records), note=table.note)
    return _with_format(detected, [record.value for record in sample], options, format_name, name)


def _head(text: TextFile) -> str:
    with text.path.open("rb") as source:
        source.seek(text.start)
        try:
            return codecs.getincrementaldecoder("utf-8")().decode(source.read(_HEAD_BYTES))
        except UnicodeDecodeError as error:
            raise NotUtf8Error from error


def _is_surely_a_table(text: TextFile, head: str) -> bool:
    """Whether a file can only be a plain table, so that no other format has to be imported and asked."""
    if text.suffix in CSV_SUFFIXES:
        return True
    try:
        first = parse_exactly(head.lstrip().partition("\n")[0])
    except Reject:
        return False
    return isinstance(first, dict) and bool(first) and is_all_known(first)


def _own_records(known: Format, path: Path, options: ConvertOptions) -> Iterator[SourceRecord]:
    """The records of a format's own reader. Raises NotUtf8Error where the file holds other bytes further on."""
    assert known.read is not None  # noqa: S101 - the caller looked
    try:
        yield from known.read(path, options)
    except UnicodeDecodeError as error:
        raise NotUtf8Error from error


def _own_reader(head: str, format_name: str | None) -> tuple[Format, str] | None:
    """The format with a reader of its own that the text looks like, or that the user named."""
    for name in WHOLE_FILE:
        known = FORMATS[name]
        evidence = known.sniff(head) if known.sniff else None
        if known.name == format_name:
            return known, evidence or "--format"
        if evidence is not None and format_name is None:
            return known, evidence
    return None


def _detect_csv(
    text: TextFile, head: str, size: int, delimiter: str | None, options: ConvertOptions
) -> tuple[DetectedFile, list[Any]]:
    from lfwrap.data.readers.tables.csv_header import DELIMITERS, read_header

    default = "\t" if text.suffix in {".tsv", ".tab"} else None
    header = read_header(head, delimiter, text.name, options.columns, default=default)
    start = text.start + header.size_bytes
    plan = ChunkPlan(
        Layout.CSV,
        text.path,
        start,
        size,
        header.lines,
        header.names,
        header.delimiter,
        header.spelled,
        header.skips_space,
    )
    shown = DELIMITERS.get(header.delimiter, repr(header.delimiter))
    above = f", {header.above} row{'s' if header.above > 1 else ''} above the header" if header.above else ""
    space = ", a blank after each delimiter left out" if header.skips_space else ""
    note = f"CSV, {shown}, {len(header.names)} columns{above}{space}"
    return DetectedFile("", "", plan, note=note), _csv_sample(head, plan, header.lines)


def _csv_sample(head: str, plan: ChunkPlan, header_lines: int) -> list[Any]:
    import csv
    import io

    lines = itertools.islice(io.StringIO(head, newline=""), header_lines, None)
    rows = itertools.islice(csv.reader(lines, delimiter=plan.delimiter, skipinitialspace=plan.skips_space), SAMPLE_ROWS)
    sample = [dict(zip(plan.header, row, strict=True)) for row in rows if len(row) == len(plan.header)]
    return sample or [dict.fromkeys(plan.header, "")]


def _with_format(
    detected: DetectedFile, sample: Sequence[Any], options: ConvertOptions, format_name: str | None, name: str
) -> DetectedFile:
    records = [record for record in sample if isinstance(record, dict)]
    if any("mcpServers" in record for record in records):
        raise DataError(
            f"{name}: this is an MCP client's configuration (mcpServers), which holds API keys, not training data",
            hint="Pass the client's logs or recorded sessions instead.",
        )
    if format_name is not None:
        chosen, evidence = format_name, "--format"
    elif options.columns:
        chosen, evidence = "alpaca", "--map"
    else:
        chosen, evidence = _choose(records, sample, name)
    if chosen == "alpaca":
        evidence = _alpaca_columns(detected, records, options, name, evidence)
    plain_columns = _plain_columns(detected, records, options) if chosen == "alpaca" else None
    return replace(detected, format=chosen, evidence=evidence, plain_columns=plain_columns)


def _choose(records: Sequence[Mapping[str, Any]], sample: Sequence[Any], name: str) -> tuple[str, str]:
    votes: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    for record in records:
        # Where all columns are Alpaca's, no other format has to be asked.
        plain = is_all_known(record) and not any(is_turns(value) for value in record.values())
        names = ["alpaca"] if plain else [name for name in FORMATS if name not in WHOLE_FILE]
        for known in (FORMATS[name] for name in names):
            if (evidence := _evidence(known, record)) is not None:
                votes[known.name] += 1
                reasons.setdefault(known.name, evidence)
                break
    if votes:
        chosen = votes.most_common(1)[0][0]
        return chosen, reasons[chosen]
    keys = list(dict.fromkeys(key for record in records for key in record))
    shown = ", ".join(keys[:12])
    what = f"its fields are {shown}" if keys else "it holds no objects with named fields"
    if not sample:
        what = "no row of its beginning is valid"
    if kind := kind_of_fields(keys):
        raise DataError(f"{name}: this is {kind.summary} (its fields: {shown})", hint=kind.hint)
    raise DataError(
        f"{name}: can't tell its format: {what}",
        hint="Name the columns (--map instruction=COLUMN --map output=COLUMN) or the format (--format; "
        "`lfwrap data formats` lists them).",
    )


def _evidence(known: Format, record: Mapping[str, Any]) -> str | None:
    """Why a record has a format, or None; a record that upsets a format speaks for none."""
    try:
        return known.evidence(record)
    except Exception:  # noqa: BLE001 - the row itself is rejected later, with its place
        return None


def _alpaca_columns(
    detected: DetectedFile, records: Sequence[Mapping[str, Any]], options: ConvertOptions, name: str, evidence: str
) -> str:
    """Evidence by columns; raises DataError or UsageError, with the file's name, when they are missing or ambiguous."""
    names = _names(detected, records, options)
    try:
        columns = resolve_columns(names, options.columns)
    except LfwrapError as error:
        raise type(error)(f"{name}: {error.message}", hint=error.hint) from error
    missing = "output" if "output" not in columns else "instruction"
    if missing not in columns and not (missing == "instruction" and "input" in columns):
        raise DataError(
            f"{name}: no column for the {missing}; the columns are {', '.join(names) or 'none'}",
            hint=f"Say which: --map {missing}=COLUMN",
        )
    described = describe_columns(columns)
    return f"{evidence}: {described}" if evidence.startswith("--") else described


def _names(detected: DetectedFile, records: Sequence[Mapping[str, Any]], options: ConvertOptions) -> tuple[str, ...]:
    """The header, or the fields of the first row that has what it takes."""
    if detected.plan.header or not records:
        return detected.plan.header
    wanted = options.columns.get("output")
    fit = (record for record in records if (wanted in record if wanted else FORMATS["alpaca"].evidence(record)))
    return tuple(next(fit, records[0]))


def _plain_columns(
    detected: DetectedFile, records: Sequence[Mapping[str, Any]], options: ConvertOptions
) -> PlainColumns | None:
    """The columns for the fast path: all that a JSON row has, any that a CSV row has; no system, no history."""
    names = _names(detected, records, options)
    columns = resolve_columns(names, options.columns)
    if detected.records is not None or "instruction" not in columns or columns.keys() & {"system", "history"}:
        return None
    if len(set(names)) != len(names) or "\x00" in names:
        return None
    if _say_something([name for name in names if name not in columns.values()]):
        return None  # a label or a mask has to be looked at in every row
    plain = PlainColumns(columns["instruction"], columns.get("input", ""), columns["output"])
    return plain if detected.plan.header or len(names) == len(plain.names) else None


def _say_something(names: Sequence[str]) -> bool:
    """Whether one of some names says what should be trained."""
    if not names:
        return False
    from lfwrap.data.schema.field_meanings import meaning_of

    return any(meaning_of(name) for name in names)
