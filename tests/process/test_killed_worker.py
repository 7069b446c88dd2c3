"""A worker process that is killed, as the kernel does where memory runs out: the error names what it worked on."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lfwrap.data.formats import FORMATS, openai_chat
from lfwrap.data.formats.base import SourceRecord
from lfwrap.data.formats.mcp_wire import wire_format
from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request
from lfwrap.errors import PreflightError


def chat(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]}


def deadly(known: Any) -> Any:
    def convert(record: Any, *rest: Any) -> Any:
        if "boom" in json.dumps(record):
            os.kill(os.getpid(), signal.SIGKILL)
        return known.convert(record, *rest)

    return dataclasses.replace(known, convert=convert)


@pytest.mark.parametrize("at", [0, 37, 99])
def test_the_lines_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    monkeypatch.setattr(openai_chat, "FORMAT", deadly(FORMATS["openai"]))
    source = tmp_path / "rows.jsonl"
    rows = [json.dumps(chat("boom" if number == at else f"q{number}")) for number in range(100)]
    source.write_text("\n".join(rows) + "\n", encoding="utf-8")
    with pytest.raises(PreflightError, match="was killed at lines") as raised:
        prepare(Request((str(source),), tmp_path / "out", "x", jobs=2, chunk_bytes=600))
    words = raised.value.message.replace(",", "").split()
    first, last = int(words[words.index("lines") + 1]), int(words[words.index("to") + 1])
    assert first <= at + 1 <= last <= first + 10
    assert str(source) in raised.value.message
    assert not (tmp_path / "out" / "x.jsonl").exists()


def test_the_rows_of_a_whole_file_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = dataclasses.replace(deadly(FORMATS["openai"]), name="mcp-wire")

    def read(path: Path, options: Any) -> Iterator[SourceRecord]:
        for number in range(1, 2000):
            yield SourceRecord(number, None, chat("boom" if number == 700 else f"q{number}"))

    monkeypatch.setattr(wire_format, "FORMAT", dataclasses.replace(known, read=read))
    source = tmp_path / "rows.json"
    source.write_text("[]", encoding="utf-8")
    with pytest.raises(PreflightError, match="was killed at rows 513 to 1,024 of"):
        prepare(Request((str(source),), tmp_path / "out", "x", jobs=2, format=known.name))
