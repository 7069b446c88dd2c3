"""A preparation from source files to an engine data set: detect, convert in processes, write, split, register."""

from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from lfwrap.data.convert.record_path import Conversion
from lfwrap.data.formats.base import ConvertOptions, Reject
from lfwrap.data.output.data_report import DataReport, FileReport
from lfwrap.data.output.registry import LOCK_NAME, check_name, dataset_entry, read_registry
from lfwrap.data.output.sink import RowSink, split_lines
from lfwrap.data.output.staging import commit, staging_folder
from lfwrap.data.readers.blocks import NotUtf8Error
from lfwrap.data.readers.detect import DetectedFile, detect_file, detect_table
from lfwrap.data.readers.inputs import Inputs, refuse_unreadable
from lfwrap.data.readers.listing import Listing, PassedOver, list_sources
from lfwrap.data.readers.sources import FOREIGN_SUFFIXES, TABLE_SUFFIXES, Part, SourceFile, open_text, parse_part
from lfwrap.data.request import Request
from lfwrap.data.schema.fields import UnusedField, is_nothing
from lfwrap.data.schema.rules import RULES
from lfwrap.data.workers.parallel import FileChunks, Workers, usable_cpus
from lfwrap.data.workers.task import shorten
from lfwrap.engine.chat_templates import chat_template
from lfwrap.errors import DataError, Finding, PreflightError
from lfwrap.files import locked

__all__ = ["DataReport", "FileReport", "Listener", "PassedOver", "prepare"]

_SMALL_BYTES = 8 << 20
_SMALL_WITH_DISTRACTORS_BYTES = 1 << 20  # rows grow tenfold
_SHOWN_REJECTS = 5


@dataclass(frozen=True, slots=True)
class Listener:
    """The receiver of a preparation's progress.

    Attributes:
        detected: called with the account of each file once its kind is known.
        advanced: called with bytes of input dealt with.
        started: called with the bytes of input there are.
        passed_over: called with the files of folders and archives that are not read, where there are any.
        checking: called before the engine looks at the result.
    """

    detected: Callable[[FileReport], None] = lambda _: None
    advanced: Callable[[int], None] = lambda _: None
    started: Callable[[int], None] = lambda _: None
    passed_over: Callable[[Sequence[PassedOver]], None] = lambda _: None
    checking: Callable[[], None] = lambda: None


def prepare(request: Request, listener: Listener | None = None) -> DataReport:
    """Turn sources into a data set of the engine; either all of its files appear or none does.

    Raises:
        UsageError: an option makes no sense.
        DataError: a source can't be used, too many rows are rejected, the name is taken, the engine changes rows.
        EngineError: the engine can't load the result.
        PreflightError: no disk space, a missing package.
    """
    check_name(request.name)
    parts = request.mixture
    listing = Listing()
    files = files_of(parts, request.beside, listing)
    chat_template(request.template)
    _refuse_overwriting(request)
    listener = listener or Listener()
    if listing.passed_over:
        listener.passed_over(list(listing.passed_over.values()))
    try:
        with staging_folder(request.out) as folder:
            return _prepare(request, files, folder, listener, listing)
    except OSError as error:
        refuse_unreadable(error, {file.name for file in files})
        raise PreflightError(
            f"{error.filename or request.out}: {error.strerror or error}; nothing was changed",
            hint="Free some disk space, check the permissions, or name another --out.",
        ) from error


def files_of(
    parts: Sequence[Part], beside: Sequence[Path] = (), listing: Listing | None = None
) -> dict[SourceFile, int]:
    """File → its part; a file that two parts name belongs to the first.

    Files of ``beside`` that lie in a folder or match a glob are left out; one that a part names itself is kept.

    Args:
        parts: the sources.
        beside: files that are no sources.
        listing: takes what was passed over.
    """
    files: dict[SourceFile, int] = {}
    listing = Listing() if listing is None else listing
    others = {path.resolve() for path in beside}
    for number, part in enumerate(parts):
        found = list_sources([part.path])
        listing.passed_over |= found.passed_over
        for name in found.names:
            if name == part.path or Path(name).resolve() not in others:
                files.setdefault(SourceFile(name, part.member), number)
            else:
                listing.pass_over(name, "named with --tools or --instructions")
    return files


def _refuse_overwriting(request: Request) -> None:
    names = [request.name, f"{request.name}_val"] if request.val_size else [request.name]
    taken = [name for name in names if name in read_registry(request.out)]
    taken += [f"{name}.jsonl" for name in names if name not in taken and (request.out / f"{name}.jsonl").exists()]
    if taken and not request.force:
        raise DataError(
            f"{request.out}: {', '.join(taken)} exists already",
            hint="Choose another --name, or replace it with --force.",
        )


def _prepare(
    request: Request, files: Mapping[SourceFile, int], folder: Path, listener: Listener, listing: Listing
) -> DataReport:
    inputs = Inputs([file.name for file in files], folder)
    size = inputs.size_bytes
    listener.started(size)
    small_bytes = _SMALL_WITH_DISTRACTORS_BYTES if request.options.distractors else _SMALL_BYTES
    jobs = request.jobs or (usable_cpus() if size > small_bytes else 1)
    checked: set[str] = set()
    with Workers(jobs, folder, start_method=request.start_method, tools=request.options.tools) as workers:
        while True:
            attempt = _Attempt(request, inputs, workers, checked, listener)
            try:
                report = attempt.run(files)
            except NotUtf8Error:
                checked.add(attempt.current)  # found too late: this time, decide on all of its bytes
                continue
            break
        workers.dismiss()
        report.passed_over = [(each.file, each.why) for each in listing.passed_over.values()]
        _conclude(request, report, folder, listener)
    return report


def _conclude(request: Request, report: DataReport, folder: Path, listener: Listener) -> None:
    _judge(request, report, folder)
    if request.engine_check is not None:
        from lfwrap.data.datasets.engine_check import check_staged

        rows = {request.name: report.train_rows, f"{request.name}_val": report.val_rows}
        listener.checking()
        report.engine_check = check_staged(request.engine_check, folder, {name: n for name, n in rows.items() if n})
    _finish(request, report, folder)


class _Attempt:
    """One pass over all files."""

    def __init__(
        self, request: Request, inputs: Inputs, workers: Workers, checked: set[str], listener: Listener
    ) -> None:
        self.request = request
        self.inputs = inputs
        self.folder = inputs.scratch
        self.workers = workers
        self.checked = checked
        self.listener = listener
        self.current = ""
        self.sources: tuple[str, ...] = ()
        self.report = DataReport(request.name, options=_options_of(request), ignore=request.options.ignore)

    def run(self, files: Mapping[SourceFile, int]) -> DataReport:
        """Convert all files; the staged files are complete afterwards."""
        request, parts = self.request, self.request.mixture
        choosing = request.is_choosing(parts)
        tests = [parse_part(text) for text in request.shaping.test_files]
        test_files = [(name, part) for part in tests for name in list_sources([part.path]).names]
        test_lines = [line for name, part in test_files for line in self._test_lines(name, part)]
        if request.options.instructions:
            self.sources = tuple(dict.fromkeys(source.name for source in files))
        sink = RowSink(self.folder, self.report, request.val_size, choosing=choosing)
        try:
            for source, part in files.items():
                self._convert(source, parts[part], sink)
        finally:
            sink.close()
        if choosing:
            self._choose(sink, parts, list(files.values()), test_lines)
        return self.report

    def _choose(
        self, sink: RowSink, parts: Sequence[Part], part_of: Sequence[int], test_lines: Sequence[bytes]
    ) -> None:
        from lfwrap.data.output.near_duplicates import NearDuplicates, contamination, sketch_lines
        from lfwrap.data.output.select import Choice, choose_rows

        threshold = self.request.shaping.near_duplicates
        choice = Choice(
            parts,
            part_of,
            lambda batches: self.workers.map(sketch_lines, batches),
            self.request.val_size,
            contamination(test_lines) if test_lines else None,
            NearDuplicates(threshold) if threshold is not None else None,
        )
        choose_rows(sink, choice)

    def _convert(self, source: SourceFile, part: Part, sink: RowSink) -> None:
        file = FileReport(source.label)
        self.report.files.append(file)
        detected, options = self._detect(source.name, part, file)
        self.listener.detected(file)
        _heed_file(detected.beside, file, options.ignore)
        for result in self._chunks(detected, options).results():
            sink.add(result, file)
            if result.key:
                file.lists[result.key] += result.rows
            self.listener.advanced(result.consumed_bytes)
            importlib.import_module("filelock")  # for the end: now workers are busy while it takes its time
        self.inputs.check_unchanged(source.name)

    def _test_lines(self, name: str, part: Part) -> Iterator[bytes]:
        """The rows of a test file, converted like any other."""
        detected, options = self._detect(name, Part(name, member=part.member), FileReport(name))
        for result in self._chunks(detected, options).results():
            yield from split_lines(result.lines)

    def _chunks(self, detected: DetectedFile, options: ConvertOptions) -> FileChunks:
        request = self.request
        conversion = Conversion(
            detected.format, options, request.template, options.seed, last_exchange=request.shaping.last_exchange
        )
        return FileChunks(detected, conversion, self.workers, request.chunk_bytes)

    def _detect(self, name: str, part: Part, file: FileReport) -> tuple[DetectedFile, ConvertOptions]:
        request = self.request
        self.current = name
        opened = self.inputs.open(name)
        columns = {**request.options.columns, **part.columns}
        options = replace(request.options, columns=columns, sources=self.sources)
        format_name = part.format or request.format
        if opened.suffix in TABLE_SUFFIXES | FOREIGN_SUFFIXES.keys():
            detected = detect_table(opened, name, options, format_name=format_name, member=part.member)
        else:
            encoding, checked = part.encoding or request.encoding, name in self.checked
            text = open_text(name, self.folder, encoding=encoding, checked=checked, opened=opened)
            file.encoding, file.encoding_confidence, file.encoding_doubt = text.encoding, text.confidence, text.doubt
            file.repairs.update(text.repairs)
            delimiter = part.delimiter or request.delimiter
            detected = detect_file(text, options, format_name=format_name, delimiter=delimiter, member=part.member)
        file.format, file.evidence, file.note = detected.format, detected.evidence, detected.note
        return detected, options


def _heed_file(beside: Mapping[str, Any], file: FileReport, ignore: frozenset[str]) -> None:
    """Account for what a file says beside its rows. Raises DataError where that forbids to train them."""
    if not beside:
        return
    from lfwrap.data.convert import training_fields

    try:
        training_fields.check_file(beside, ignore)
    except Reject as reject:
        raise DataError(
            f"{file.file}: beside its rows it says of all of them: {reject}",
            hint=f"Leave the file out, or name the list of rows itself, as {file.file}#LIST.",
        ) from reject
    for key, value in beside.items():
        example = None if is_nothing(value) else shorten(value if isinstance(value, str) else json.dumps(value))
        file.add_unused(f"(file).{key}", UnusedField(1, example))


def _options_of(request: Request) -> dict[str, Any]:
    return {
        "columns": dict(request.options.columns),
        "tools": len(request.options.tools),
        "distractors": request.options.distractors,
        "instructions": str(request.options.instructions) if request.options.instructions else None,
        "template": request.template,
        "ignore": sorted(request.options.ignore),
        "seed": request.options.seed,
        "val_size": asdict(request.val_size) if request.val_size else None,
        "shaping": asdict(request.shaping),
        "parts": [asdict(part) for part in request.parts],
    }


def _judge(request: Request, report: DataReport, folder: Path) -> None:
    """Refuse a result with too many rejects or without rows; the rejects file is kept in any case."""
    rejects = f"{request.name}.rejects.jsonl"
    rejected, rows = report.rejected, report.rows_in
    limit = 0.0 if request.strict else request.max_rejects
    problem = ""
    if limit is not None and rejected > limit * rows:
        allowed = "--strict allows none" if request.strict else f"--max-rejects allows {limit:.2%}"
        problem = f"{rejected:,} of {rows:,} rows can't be used; {allowed}"
    elif report.rows_out == 0:
        problem = f"none of {rows:,} rows can be used" if rows else "the sources hold no rows"
    elif report.val_rows == 0 and request.val_size:
        raise DataError(
            f"--val-size: no row of {report.rows_out:,} fell into the validation part",
            hint="Give a number of rows, such as --val-size 1.",
        )
    if problem:
        findings = _first_rejects(folder / rejects)
        (folder / rejects).replace(request.out / rejects)
        raise DataError(
            f"{problem}; nothing else was written",
            hint=f"{request.out / rejects} lists every one of them.",
            findings=findings,
        )
    if request.strict:
        _refuse_unused(report)


def _refuse_unused(report: DataReport) -> None:
    """Refuse fields that say something and were not used: what ``--strict`` is for."""
    unused = {path: entry for path, entry in report.unused_fields.items() if entry.example is not None}
    if unused:
        raise DataError(
            f"{len(unused)} fields are not used; --strict allows none; nothing was written",
            hint="Say which may be left out: " + " ".join(f"--ignore '{path}'" for path in unused),
            findings=[
                Finding("unused-field", f"{path}: in {entry.count:,} rows, such as {entry.example!r}")
                for path, entry in unused.items()
            ],
        )


def _first_rejects(path: Path) -> list[Finding]:
    with path.open("rb") as source:
        entries = [orjson.loads(line) for line in itertools.islice(source, _SHOWN_REJECTS)]
    findings, said = [], set[str]()
    for entry in entries:
        rule, reason = entry["rule"], entry["reason"]
        hint = "" if rule in said or "--" in reason else RULES[rule].hint  # a reason may say the way out itself
        said.add(rule)
        message = f"row {entry['row']}: {reason}{'.' if hint else ''}"
        findings.append(Finding(rule, message, file=entry["file"], line=entry["line"], hint=hint))
    return findings


def _finish(request: Request, report: DataReport, folder: Path) -> None:
    name, val = request.name, f"{request.name}_val"
    names = [f"{name}.jsonl", f"{name}.rejects.jsonl", f"{name}.report.json"]
    removed = [f"{val}.jsonl"]
    entries: dict[str, Any] = {name: dataset_entry(f"{name}.jsonl")}
    if report.val_rows:
        names, removed = [f"{val}.jsonl", *names], []
        entries[val] = dataset_entry(f"{val}.jsonl")
    else:
        entries |= {val: None} if _is_ours(request.out, val) else {}
        removed = removed if _is_ours(request.out, val) else []
    report.outputs = {entry: str(request.out / f"{entry}.jsonl") for entry, value in entries.items() if value}
    account = {"schema": "lfwrap.data-report/1", **report.to_json()}
    (folder / f"{name}.report.json").write_bytes(orjson.dumps(account, option=orjson.OPT_INDENT_2))
    with locked(request.out / LOCK_NAME):
        _refuse_overwriting(request)
        commit(request.out, folder, names, removed, entries)


def _is_ours(out: Path, val: str) -> bool:
    """Whether an earlier run for this name wrote a validation set, which the new one has no longer."""
    return read_registry(out).get(val) == dataset_entry(f"{val}.jsonl")
