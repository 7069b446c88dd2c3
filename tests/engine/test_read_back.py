"""The check of a new data set, over every template of the engine and rows made to upset it: it never blames wrongly."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lfwrap.data.convert import validate, writer
from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes
from lfwrap.engine.arguments import FOLDER
from lfwrap.engine.chat_templates import Saying, chat_template, chat_template_names

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("llamafactory") is None, reason="the engine is not installed"),
]

HERE = Path(__file__).parent
MARKS = sorted(
    {word for name in chat_template_names() for word in chat_template(name).thought_words}
    | {word for name in chat_template_names() for word in chat_template(name).call_words}
    | {"<|tool_call>call:f{", "}<tool_call|>", '<|"|>', "[TOOL_CALLS]", "Action: f\nAction Input: {}", "functools[",
       "<function=f>", "</function>", "<parameter=a>", "</parameter>", "<arg_key>a</arg_key>", "<arg_value>",
       "</arg_value>", "<minimax:tool_call>", '<invoke name="f">', "</invoke>", "<seed:tool_call>", "</seed:tool_call>",
       "<tool_calls>", "</tool_calls>", "<|python_tag|>", "]<|im_end|>"}
)  # fmt: skip
TAME = {"city": "Rome", "days": 2}
ARGUMENTS: dict[str, Any] = {
    "tame": TAME,
    "empty": {},
    "sentence": {"city": "Shopping list: milk, 'eggs' and \"bread\""},
    "figures": {"city": "42", "zip": "00123", "flag": "true", "none": "null", "text": '"quoted"'},
    "values": {"flag": True, "none": None, "float": 1.5, "big": 12345678901234567890123, "negative": -7, "tiny": 1e-9},
    "nested": {"a": [[], {}, [{"b": [None, False, {"c": "d:e,f"}]}]], "": "empty key", "with space": 1, "a-b.c": 2},
    "unicode": {"北京": "天气 😀 \u2028 \x7f", "é": "ﷺ"},
    "lines": {"code": "def f():\n\treturn {'a': 1}\n", "path": "C:\\new\\x"},
    "braces": {"a": "}{][)(", "b": "{{content}} {{idx}}", "c": "```json\n{}\n```"},
    "blank": {"a": "", "b": " ", "c": "\n"},
    "python": {"a": "lambda: __import__('os')", "b": "x=1, y=2)"},
    "spaces": {"a": " " * 3000 + "x", "b": "Action:" * 300},
    **{f"mark {mark}": {"text": mark, "both": f"x{mark}y{mark}", mark: 1} for mark in MARKS},
    "all marks": {"text": "".join(MARKS)},
}
PAIRS = ["<think>a</think>", *sorted({"x".join(chat_template(name).call_words) for name in chat_template_names()})]
TEXTS = ["", "Let me look.", "{not json}", *PAIRS, *MARKS]
NAMES = ["f", "get-weather", "server.tool"]


def record(calls: list[dict[str, Any]], text: str = "", thought: str = "", name: str = "f") -> dict[str, Any]:
    made = [
        {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for number, arguments in enumerate(calls)
    ]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "15"} for call in made]
    return {
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": text, "reasoning_content": thought, "tool_calls": made},
            *results,
            {"role": "assistant", "content": "done"},
        ],
        "tools": [{"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}],
    }


def hostile_records() -> list[dict[str, Any]]:
    records = [record([arguments]) for arguments in ARGUMENTS.values()]
    records += [record([arguments], "Let me look.") for arguments in ARGUMENTS.values()]
    records += [record([arguments], thought="I should look.") for arguments in ARGUMENTS.values()]
    records += [record([arguments, TAME]) for arguments in ARGUMENTS.values()]
    records += [record([TAME], text, thought) for text in TEXTS for thought in ("", *TEXTS)]
    records += [record([TAME], name=name) for name in NAMES]
    return records


def tame_records() -> dict[str, dict[str, Any]]:
    return {
        "alone": record([TAME]),
        "parallel_calls": record([TAME, {"city": "Oslo"}]),
        "text_beside_call": record([TAME], "Let me look."),
        "thought_beside_call": record([TAME], thought="I should look."),
    }


def kinds() -> list[str]:
    """One template of each kind: those that write and read calls alike are looked at once."""
    names = {replace(chat_template(name), name="", media=(), special_tokens=()): name for name in chat_template_names()}
    return sorted(names.values())


def rows_for(template: str, records: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
    rows: list[dict[str, Any] | None] = []
    for one in records:
        rows.append(None)
        with contextlib.suppress(Reject):
            conversation = FORMATS["openai"].convert(one, ConvertOptions(), RowNotes())
            validate.check(conversation, template, RowNotes())
            rows[-1] = json.loads(writer.engine_line(writer.engine_row(conversation, template)))
    return rows


def looked_at(rows: dict[str, list[dict[str, Any]]], folder: Path) -> dict[str, list[dict[str, Any]]]:
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    files = [str(folder / "rows.json"), str(folder / "out.json"), str(FOLDER)]
    command = [sys.executable, str(HERE / "read_back_rows.py"), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "out.json").read_text(encoding="utf-8"))


def test_no_hostile_row_upsets_the_check_with_any_template(tmp_path: Path) -> None:
    """Whatever is written is written by the engine as it was meant, and the check has no fault of its own."""
    rows = {name: [row for row in rows_for(name, hostile_records()) if row is not None] for name in kinds()}
    wrong = [
        (name, row["conversations"][1]["value"], verdict)
        for name, verdicts in looked_at(rows, tmp_path).items()
        for row, verdict in zip(rows[name], verdicts, strict=True)
        if "fault" in verdict or verdict["changed"]
    ]
    assert wrong == []
    assert all(len(held) > 80 for held in rows.values())


def test_tame_calls_are_read_back_where_the_table_says_so(tmp_path: Path) -> None:
    wanted = tame_records()
    written = {name: rows_for(name, list(wanted.values())) for name in chat_template_names()}
    found = looked_at({name: [row for row in rows if row is not None] for name, rows in written.items()}, tmp_path)
    wrong = []
    for name, rows in written.items():
        verdicts = iter(found[name])
        facts = chat_template(name)
        for kind, row in zip(wanted, rows, strict=True):
            if row is None:
                assert kind != "alone"
                continue
            verdict = next(verdicts)
            reads = facts.parallel_calls if kind == "alone" else getattr(facts, kind)
            if (reads is Saying.READ_BACK) is verdict["unread"] and (kind != "alone" or reads is Saying.READ_BACK):
                wrong.append((name, kind, reads, verdict))
    assert wrong == []
