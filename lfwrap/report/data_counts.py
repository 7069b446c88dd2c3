"""What a run was trained on: files, rows, and what became of the rows on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from lfwrap.run.folder.record import Run

_PREFIX = "dataset:"
_COUNTED_BYTES = 4 << 30
_CHUNK_BYTES = 1 << 20
_LOG_BYTES = 4 << 20
_ENGINE_COUNTS = {
    "rows": re.compile(r"Num examples = ([\d,]+)"),
    "trainable_parameters": re.compile(r"trainable params: ([\d,]+)"),
    "all_parameters": re.compile(r"all params: ([\d,]+)"),
}
_REPORT_KEYS = ("rows_in", "rows_out", "rejected", "duplicates", "left_out")


def describe_data(run: Run, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a run.

    Args:
        run: the run.
        inputs: its ``inputs.json``.

    Returns:
        ``files`` (each with its rows where they can be counted), ``prepared`` (what prepare-data reported, by data
        set), ``engine`` (rows and parameters as the engine counted them), ``seeds``.
    """
    files = [_file(what, entry) for what, entry in inputs.get("files", {}).items() if what.startswith(_PREFIX)]
    return {
        "files": files,
        "prepared": dict(_prepared(run, files)),
        "engine": _engine_counts(run),
        "seeds": inputs.get("seeds", {}),
    }


def _file(what: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    path = Path(entry["path"])
    return {"name": what.removeprefix(_PREFIX), **entry, "rows": count_rows(path, entry["size_bytes"])}


def count_rows(path: Path, size_bytes: int) -> int | None:
    """Lines of a JSONL file that is still as large as it was; None for another file, and for a very large one."""
    if path.suffix != ".jsonl" or size_bytes > _COUNTED_BYTES:
        return None
    try:
        if path.stat().st_size != size_bytes:
            return None
        rows, last = 0, b"\n"
        with path.open("rb") as source:
            while chunk := source.read(_CHUNK_BYTES):
                rows += chunk.count(b"\n")
                last = chunk[-1:]
    except OSError:
        return None
    return rows + (last != b"\n")


def _prepared(run: Run, files: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What `lfwrap prepare-data` left beside the files that it wrote."""
    for name in run.record.datasets:
        path = next((Path(file["path"]) for file in files if file["name"] == name), None)
        if path is None:
            continue
        try:
            report = orjson.loads((path.parent / f"{name}.report.json").read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(report, dict):
            yield name, {key: _total(report[key]) for key in _REPORT_KEYS if key in report}


def _total(count: Any) -> int:
    """A count, or the sum of counts by reason."""
    return sum(count.values()) if isinstance(count, dict) else int(count)


def _engine_counts(run: Run) -> dict[str, int | None]:
    """What the engine logged when it began: the last attempt that came so far counts."""
    found: dict[str, int | None] = dict.fromkeys(_ENGINE_COUNTS)
    for number in run.paths.attempt_numbers():
        folder = run.paths.attempt(number)
        logs = [folder.stderr, folder.stdout, *(rank.stderr for rank in folder.ranks()[:1])]
        text = "\n".join(map(_head, logs))
        for name, pattern in _ENGINE_COUNTS.items():
            if match := pattern.search(text):
                found[name] = int(match.group(1).replace(",", ""))
    return found


def _head(path: Path) -> str:
    try:
        with path.open("rb") as source:
            return source.read(_LOG_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
