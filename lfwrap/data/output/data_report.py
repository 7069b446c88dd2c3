"""The report of a preparation: what became of every row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lfwrap.data.schema.fields import UnusedField, is_ignored

_LISTED_FILES = 1000


@dataclass(slots=True)
class FileReport:
    """What became of the rows of one source file.

    Attributes:
        file: the file as the user named it.
        format: its format.
        evidence: why it was taken for this format.
        note: layout, delimiter.
        encoding: its text encoding, empty for binary tables.
        encoding_confidence: how sure that is, from 0 to 1; None where the user named it, and for binary tables.
        encoding_doubt: why the encoding that the user named is probably another one, or empty.
        rows_in: rows read.
        rejected: rows that could not be used.
        duplicates: rows that had been seen before, here or in an earlier source.
        left_out: rows left out on purpose, by reason (sampling, decontamination, near-duplicates).
        repairs: repairs by kind.
        unused_fields: path → a field of the rows that was not converted.
        lists: of a JSON object: rows read from each of its lists.
    """

    file: str
    format: str = ""
    evidence: str = ""
    note: str = ""
    encoding: str = ""
    encoding_confidence: float | None = None
    encoding_doubt: str = ""
    rows_in: int = 0
    rejected: int = 0
    duplicates: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    unused_fields: dict[str, UnusedField] = field(default_factory=dict)
    lists: Counter[str] = field(default_factory=Counter)

    def add_unused(self, path: str, unused: UnusedField, rows_before: int = 0) -> None:
        """Count a field that was not converted in some rows; ``rows_before`` come before the row of its example."""
        entry = self.unused_fields.setdefault(path, UnusedField())
        entry.count += unused.count
        if entry.example is None and unused.example is not None:
            entry.example = unused.example
            entry.row = rows_before + unused.row if unused.row is not None else None

    @property
    def rows_out(self) -> int:
        """Rows that were written."""
        return self.rows_in - self.rejected - self.duplicates - self.left_out.total()

    def to_json(self) -> dict[str, Any]:
        """Plain values for the report file."""
        return {
            "file": self.file,
            "format": self.format,
            "evidence": self.evidence,
            "layout": self.note,
            "encoding": self.encoding,
            "encoding_confidence": self.encoding_confidence,
            "encoding_doubt": self.encoding_doubt,
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "rejected": self.rejected,
            "duplicates": self.duplicates,
            "left_out": dict(self.left_out),
            "repairs": dict(self.repairs),
            "unused_fields": [
                {**entry, "row": self.unused_fields[entry["field"]].row} for entry in _by_field(self.unused_fields)
            ],
            "lists": dict(self.lists),
        }


@dataclass(frozen=True, slots=True)
class Example:
    """One row for which a rule warned, and where it is."""

    file: str
    row: int
    line: int | None
    message: str


@dataclass(slots=True)
class Warnings:
    """How often a rule warned, and the first few places."""

    count: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass(slots=True)
class DataReport:
    """What became of all rows of a preparation.

    ``rows_in = rows_out + rejected + duplicates + left_out`` holds always, for every file and in total; ``rows_out``
    counts training and validation rows.
    """

    name: str
    files: list[FileReport] = field(default_factory=list)
    rejects: Counter[str] = field(default_factory=Counter)
    warnings: dict[str, Warnings] = field(default_factory=dict)
    train_rows: int = 0
    val_rows: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    engine_check: dict[str, Any] | None = None
    passed_over: list[tuple[str, str]] = field(default_factory=list)
    ignore: frozenset[str] = frozenset()

    @property
    def rows_in(self) -> int:
        """Rows read from all files."""
        return sum(file.rows_in for file in self.files)

    @property
    def rows_out(self) -> int:
        """Rows written, for training and validation."""
        return self.train_rows + self.val_rows

    @property
    def rejected(self) -> int:
        """Rows that could not be used."""
        return sum(file.rejected for file in self.files)

    @property
    def duplicates(self) -> int:
        """Rows that had been seen before."""
        return sum(file.duplicates for file in self.files)

    @property
    def left_out(self) -> Counter[str]:
        """Rows left out on purpose, by reason."""
        return sum((file.left_out for file in self.files), Counter())

    @property
    def repairs(self) -> Counter[str]:
        """Repairs of all files, by kind."""
        return sum((file.repairs for file in self.files), Counter())

    @property
    def unused_fields(self) -> dict[str, UnusedField]:
        """Path → a field of the rows that was not converted, over all files, but for those that may be left out."""
        return {path: unused for path, unused in self._all_unused().items() if not is_ignored(path, self.ignore)}

    @property
    def ignored_fields(self) -> dict[str, UnusedField]:
        """Path → a field that was left out because the user said that it may be."""
        return {path: unused for path, unused in self._all_unused().items() if is_ignored(path, self.ignore)}

    @property
    def idle_ignores(self) -> list[str]:
        """Names of fields that may be left out, but that no written row has, or that are read all the same."""
        paths = self._all_unused()
        return sorted(
            name
            for name in self.ignore
            if not any(
                is_ignored(path, frozenset({name})) or _may_hold(unused, path, name) for path, unused in paths.items()
            )
        )

    def _all_unused(self) -> dict[str, UnusedField]:
        total = FileReport("")
        for file in self.files:
            for path, unused in file.unused_fields.items():
                total.add_unused(path, unused)
        return total.unused_fields

    @property
    def balanced(self) -> bool:
        """Whether every row is accounted for."""
        return self.rows_in == self.rows_out + self.rejected + self.duplicates + self.left_out.total()

    def to_json(self) -> dict[str, Any]:
        """Plain values for the report file and ``--json``."""
        return {
            "name": self.name,
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "rejected": self.rejected,
            "duplicates": self.duplicates,
            "left_out": dict(self.left_out),
            "train_rows": self.train_rows,
            "val_rows": self.val_rows,
            "rejects_by_rule": dict(self.rejects),
            "repairs": dict(self.repairs),
            "warnings": {
                rule: {
                    "count": warned.count,
                    "examples": [
                        {"file": example.file, "row": example.row, "line": example.line, "message": example.message}
                        for example in warned.examples
                    ],
                }
                for rule, warned in self.warnings.items()
            },
            "unused_fields": _by_field(self.unused_fields),
            "ignored_fields": _by_field(self.ignored_fields),
            "files": [file.to_json() for file in self.files],
            "skipped_files": [{"file": file, "why": why} for file, why in self.passed_over[:_LISTED_FILES]],
            "skipped_file_count": len(self.passed_over),
            "options": self.options,
            "outputs": self.outputs,
            "engine_check": self.engine_check,
        }


def _may_hold(unused: UnusedField, path: str, name: str) -> bool:
    """Whether a field may stand within one that was left out as a whole: ``label`` in ``metadata``."""
    return name.startswith(f"{path}.") or f'"{name.rpartition(".")[2]}":' in (unused.example or "")


def _by_field(unused: dict[str, UnusedField]) -> list[dict[str, Any]]:
    return [{"field": path, "count": entry.count, "example": entry.example} for path, entry in unused.items()]
