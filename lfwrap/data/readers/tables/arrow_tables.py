"""Rows of Parquet and Arrow files, a batch at a time, as JSON has them.

Arrow has types that JSON lacks: decimals, dates, times, durations and binary become text, which is counted. In a struct
every field is there in every row, null where a row had none: such nulls are left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfwrap.data.formats.base import Reject, SourceRecord
from lfwrap.data.readers.tables.json_values import bytes_to_json, time_text
from lfwrap.errors import DataError, PreflightError

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 512
_FILE_MAGIC = b"ARROW1"
_OLD_FEATHER_MAGIC = b"FEA1"
_READ_BYTES = 1 << 20
_LARGE_BATCH_BYTES = 64 << 20

Repairs = set[str]
Converter = Callable[[Any, Repairs], Any]


def read_parquet(path: Path, name: str) -> Iterator[SourceRecord]:
    """Rows of a Parquet file.

    Raises:
        PreflightError: pyarrow is not installed.
        DataError: no Parquet file.
    """
    _require_pyarrow(name, ".parquet")
    from pyarrow import parquet

    # By default whole row groups, of any size, are read ahead; that is no quicker here, where pages are read in order.
    with _errors(name, "Parquet"), parquet.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False) as file:
        batches = file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False)
        yield from _records(file.schema_arrow, batches, name)


def read_arrow(path: Path, name: str) -> Iterator[SourceRecord]:
    """Rows of an Arrow IPC file in file or stream form, such as Feather and what ``save_to_disk`` of datasets writes.

    Raises:
        PreflightError: pyarrow is not installed.
        DataError: no Arrow file.
    """
    _require_pyarrow(name, ".arrow")
    import pyarrow as pa

    with path.open("rb") as source:
        magic = source.read(len(_FILE_MAGIC))
    if magic.startswith(_OLD_FEATHER_MAGIC):
        raise DataError(f"{name}: the first version of Feather", hint="Save it again as Parquet or as Feather 2.")
    with _errors(name, "Arrow"), pa.OSFile(str(path)) as file:
        if magic != _FILE_MAGIC:
            stream = pa.ipc.open_stream(file)
            yield from _records(stream.schema, stream, name)
            return
        batches = pa.ipc.open_file(file)
        count = batches.num_record_batches
        if path.stat().st_size > _LARGE_BATCH_BYTES * count:  # memory that the system may take back suits them
            batches = pa.ipc.open_file(pa.memory_map(str(path)))
        yield from _records(batches.schema, map(batches.get_batch, range(count)), name)


def _require_pyarrow(name: str, suffix: str) -> None:
    try:
        import pyarrow  # noqa: F401, ICN001 - only whether it is there
    except ImportError as error:
        raise PreflightError(f"{name}: reading {suffix} needs pyarrow", hint="pip install 'lfwrap[data]'") from error


@contextlib.contextmanager
def _errors(name: str, kind: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the system; Arrow calls a file that ends too early or is damaged one, too, but without a number
        raise DataError(f"{name}: not a readable {kind} file: {error}", hint="Copy or export it again.") from error


def _records(schema: pa.Schema, batches: Iterator[pa.RecordBatch], name: str) -> Iterator[SourceRecord]:
    twice = next((column for column in schema.names if schema.names.count(column) > 1), None)
    if twice is not None:
        raise DataError(f"{name}: the column {twice!r} is there twice", hint="Rename one of them, or leave it out.")
    converters = {field.name: converter for field in schema if (converter := _converter_of(field.type))}
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            for row in batch.slice(start, _BATCH_ROWS).to_pylist():
                number += 1
                yield _record(number, row, converters)


def _record(number: int, row: dict[str, Any], converters: Mapping[str, Converter]) -> SourceRecord:
    repairs: Repairs = set()
    try:
        for column, convert in converters.items():
            row[column] = convert(row[column], repairs)
    except Reject as reject:
        return SourceRecord(number, None, reject)
    return SourceRecord(number, None, row, tuple(sorted(repairs)))


def _converter_of(kind: pa.DataType) -> Converter | None:
    """How a value of an Arrow type, as Python has it, becomes one that JSON has; None where it is one."""
    from pyarrow import types

    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _converter_of(kind.value_type)
    if types.is_struct(kind):
        return _of_struct({field.name: _converter_of(field.type) for field in kind})
    if types.is_map(kind):
        return _of_map(_converter_of(kind.item_type))
    if any(test(kind) for test in (types.is_list, types.is_large_list, types.is_fixed_size_list)):
        return _of_list(_converter_of(kind.value_type))
    if types.is_decimal(kind):
        return _text_of("decimal-to-text", lambda value: format(value, "f"))
    if types.is_temporal(kind):
        return _text_of("time-to-text", time_text)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return _text_of("binary-to-text", bytes_to_json)
    if hasattr(kind, "storage_type"):
        return (
            _text_of("value-to-text", str)
            if types.is_fixed_size_binary(kind.storage_type)
            else (_converter_of(kind.storage_type))
        )
    plain = (types.is_null, types.is_boolean, types.is_integer, types.is_floating, types.is_string,
             types.is_large_string, types.is_string_view)  # fmt: skip
    return None if any(test(kind) for test in plain) else _text_of("value-to-text", str)


def _text_of(repair: str, spell: Callable[[Any], Any]) -> Converter:
    def convert(value: Any, repairs: Repairs) -> Any:
        if value is None:
            return None
        repairs.add(repair)
        return spell(value)

    return convert


def _of_struct(fields: Mapping[str, Converter | None]) -> Converter:
    def convert(value: Any, repairs: Repairs) -> Any:
        if value is None:
            return None
        if None in value.values():
            repairs.add("struct-nulls-left-out")
        return {
            key: inner(held, repairs) if (inner := fields[key]) else held
            for key, held in value.items()
            if held is not None
        }

    return convert


def _of_list(inner: Converter | None) -> Converter | None:
    if inner is None:
        return None
    return lambda value, repairs: None if value is None else [inner(item, repairs) for item in value]


def _of_map(inner: Converter | None) -> Converter:
    def convert(value: Any, repairs: Repairs) -> Any:
        if value is None:
            return None
        entries = {str(key): inner(held, repairs) if inner else held for key, held in value}
        if len(entries) < len(value):
            raise Reject("duplicate-key", "a key appears twice in one map")
        return entries

    return convert
