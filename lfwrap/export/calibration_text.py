"""The text that quantised weights are calibrated on, read from a person's file."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from lfwrap.errors import DataError

SAMPLES = 128
"""How many texts a calibration takes."""
SAMPLE_CHARACTERS = 6000
"""The least length of a text: enough to be cut to the tokens of one sample."""
_SEED = 42


def calibration_samples(path: Path) -> Iterator[str]:
    """`SAMPLES` texts, each of `SAMPLE_CHARACTERS` or more: the file's own, joined until they are long.

    Args:
        path: plain text with blank lines between its parts, JSON, or JSON lines, whose texts are taken at any depth.

    Raises:
        DataError: the file can't be read, or holds no text.
    """
    texts = list(_texts(path))
    if not texts:
        raise DataError(f"{path}: no text to calibrate on", hint="Text, or JSON rows whose values are texts.")
    chosen = random.Random(_SEED)  # noqa: S311 - a sample, not a secret
    for _ in range(SAMPLES):
        pieces: list[str] = []
        while sum(map(len, pieces)) < SAMPLE_CHARACTERS:
            pieces.append(chosen.choice(texts))
        yield "\n\n".join(pieces)


def _texts(path: Path) -> Iterator[str]:
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise DataError(f"{path}: can't be read: {reason}", hint="Name a text or JSONL file in UTF-8.") from error
    try:
        if path.suffix == ".jsonl":
            rows = [orjson.loads(line) for line in content.splitlines() if line.strip()]
        elif path.suffix == ".json":
            rows = orjson.loads(content)
        else:
            rows = [part for part in content.split("\n\n") if part.strip()]
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON: {error}", hint="One JSON row a line, or plain text.") from error
    for row in rows if isinstance(rows, list) else [rows]:
        text = "\n".join(_strings(row))
        if text.strip():
            yield text


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _strings(item)
