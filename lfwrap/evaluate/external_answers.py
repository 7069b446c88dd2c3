"""Answers that were made elsewhere, by whatever means: JSON lines with an id and the answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from lfwrap.errors import DataError, Finding

_KEYS = ("id", "case", "key")
_TEXTS = ("answer", "text", "output")
_SHAPES = (
    'Give {"id": CASE, "answer": TEXT}, {"id": …, "calls": [{"name", "arguments"}…]}, or BFCL\'s {"id", "result"}.'
)


def load_answers(path: Path) -> dict[str, str]:
    """Case → answer as text; calls that stand as JSON become text again, to be read as any answer is.

    Raises:
        DataError: the file can't be read, or has lines that are not answers; each is a finding.
    """
    answers: dict[str, str] = {}
    findings: list[Finding] = []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}", hint="Name a JSONL file.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = _answer(line)
        if found is None:
            findings.append(Finding("unusable-answer", "is not an answer.", file=str(path), line=number, hint=_SHAPES))
        else:
            answers[found[0]] = found[1]
    if findings:
        raise DataError(f"{path}: {len(findings)} unusable lines", findings=findings)
    return answers


def _answer(line: bytes) -> tuple[str, str] | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(row, Mapping):
        return None
    key = next((row[name] for name in _KEYS if name in row), None)
    text = _text(row)
    return None if key is None or text is None else (str(key), text)


def _text(row: Mapping[str, Any]) -> str | None:
    for name in _TEXTS:
        if isinstance(row.get(name), str):
            return str(row[name])
    if isinstance(row.get("calls"), list):
        return orjson.dumps(row["calls"]).decode()
    result = row.get("result")  # BFCL's own files: text, or [{name: arguments as JSON text}…]
    if isinstance(result, list):
        pairs = [(name, arguments) for call in result if isinstance(call, Mapping) for name, arguments in call.items()]
        return orjson.dumps([{"name": name, "arguments": arguments} for name, arguments in pairs]).decode()
    return result if isinstance(result, str) else None
