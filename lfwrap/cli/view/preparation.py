"""A preparation of data as it is shown: what each file is, how far it is, what became of rows and fields."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lfwrap.cli.view import output

if TYPE_CHECKING:
    from lfwrap.data.prepare import DataReport, FileReport, Listener, PassedOver
    from lfwrap.data.request import Request

_SHOWN_FIELDS = 12
_SHOWN_FILES = 5


@contextlib.contextmanager
def listener() -> Iterator[Listener]:
    """Shows each file's detected format as a line, and on a terminal the progress as a bar."""
    from lfwrap.data.prepare import Listener

    if not sys.stderr.isatty():
        yield Listener(detected=_say_detected, passed_over=_say_passed_over, checking=_say_checking)
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output.console(), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield Listener(
            detected=_say_detected,
            passed_over=_say_passed_over,
            advanced=lambda size_bytes: bar.advance(task, size_bytes),
            started=lambda size_bytes: bar.update(task, total=size_bytes),
            checking=_say_checking,
        )


def _say_detected(file: FileReport) -> None:
    sure = file.encoding_confidence
    encoding = f"{file.encoding} ({sure:.0%} sure)" if sure is not None and sure < 1 else file.encoding
    details = ", ".join(detail for detail in (file.note, encoding) if detail)
    output.say(f"{file.file}: detected: {file.format} ({file.evidence}); {details}")
    if file.encoding_doubt:
        output.say(f"warning: {file.file}: --encoding {file.encoding} is probably wrong: {file.encoding_doubt}")


def _say_passed_over(files: Sequence[PassedOver]) -> None:
    shown = ", ".join(f"{each.file} ({each.why})" for each in files[:_SHOWN_FILES])
    more = f" and {len(files) - _SHOWN_FILES:,} more, which the report names" if len(files) > _SHOWN_FILES else ""
    output.say(f"not read: {shown}{more}")


def _say_checking() -> None:
    output.say("the engine loads the result (a few seconds; --no-engine-check leaves that out) …")


def summarise(report: DataReport, request: Request) -> None:
    """What became of all rows and fields, on stderr."""
    rejects = request.out / f"{report.name}.rejects.jsonl"
    output.say(f"{'rows in':>20} {report.rows_in:>12,}")
    output.say(f"{'written':>20} {report.train_rows:>12,}")
    for label, count, remark in (
        ("for validation", report.val_rows, ""),
        ("duplicates", report.duplicates, "removed"),
        *((reason, count, "left out") for reason, count in report.left_out.items()),
        ("rejected", report.rejected, f"see {rejects}"),
    ):
        if count:
            output.say(f"{label:>20} {count:>12,}  {remark}".rstrip())
    for rule, count in report.rejects.most_common():
        output.say(f"{'':>20} {count:>12,}    {rule}")
    if failed := report.rejects["conversion-failed"]:
        output.say(
            f"warning: lfwrap itself failed on {failed:,} of the rows: please report one with its reason, which"
            f" {rejects} holds"
        )
    _summarise_check(report.engine_check or {})
    _summarise_unused(report)
    for title, counts in (("repaired", report.repairs.items()), ("warnings", _counts(report))):
        for kind, count in counts:
            output.say(f"{title:>20} {count:>12,}  {kind}")


def _summarise_unused(report: DataReport) -> None:
    fields = report.unused_fields
    for path, unused in list(fields.items())[:_SHOWN_FIELDS]:
        example = f"such as {json.dumps(unused.example, ensure_ascii=False)}" if unused.example else "always empty"
        output.say(f"{'not used':>20} {unused.count:>12,}  {path}, {example}")
    for name in report.idle_ignores:
        output.say(
            f"warning: --ignore {name}: no written row has it, or it is read all the same{_nearest(name, fields)}"
        )
    if len(fields) > _SHOWN_FIELDS:
        output.say(f"{'':>20} {'':>12}  and {len(fields) - _SHOWN_FIELDS} more fields: see the report")


def _nearest(name: str, fields: Iterable[str]) -> str:
    import difflib

    found = difflib.get_close_matches(name, fields, 1)
    return f"; the nearest is {found[0]}" if found else ""


def _summarise_check(check: Mapping[str, Any]) -> None:
    if not check:
        return
    output.say(f"{'engine reads back':>20} {check['rows_checked']:>12,}  LLaMA-Factory {check['engine']}")
    for key, remark in (
        ("calls_unread", f"rows whose calls the parser of the template {check['template'] or 'used'} does not find"),
        ("over_cutoff", f"rows longer than {check.get('cutoff_len', 0):,} tokens"),
        ("question_cut", "rows whose question or tools the cut would hit"),
        ("without_supervised_token", "rows without a trained token after the cut"),
    ):
        if check.get(key):
            output.say(f"{'':>20} {check[key]:>12,}  {remark}, {_first_line(check, key)}")
    for entry in check.get("parser_errors", ()):
        output.say(f"{'':>20} {entry['rows']:>12,}    of them the parser fails on ({entry['error']}), {_place(entry)}")
    for entry in check.get("own_faults", ()):
        rows = f" on {entry['rows']:,} rows, {_place(entry)}" if "rows" in entry else ""
        output.say(
            f"warning: the check of the result has a fault of its own{rows}: {entry['error']}; the data set is"
            " written, this part of it unchecked: please report it"
        )


def _first_line(check: Mapping[str, Any], key: str) -> str:
    """An example of what is counted: the first line of it."""
    return next(f"such as line {found[key][0]:,} of {name}" for name, found in check["rows"].items() if found.get(key))


def _place(entry: Mapping[str, Any]) -> str:
    return f"such as line {entry['example']['line']:,} of {entry['example']['set']}"


def _counts(report: DataReport) -> list[tuple[str, int]]:
    return [(rule, warned.count) for rule, warned in report.warnings.items()]
