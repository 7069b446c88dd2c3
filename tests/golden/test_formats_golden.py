"""Every format's golden rows: a record, and the conversation, repairs and warnings that come of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lfwrap import bundled
from lfwrap.data.convert import validate, writer
from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, RowNotes
from lfwrap.data.formats.parts.schemas import parse_tools
from lfwrap.data.schema.conversation import Conversation, Role
from lfwrap.data.tools.catalogue import load_catalogue

FOLDER = Path(__file__).parent / "formats"
INPUTS = sorted(FOLDER.rglob("*.input.json"))


def options_of(case: dict) -> ConvertOptions:
    wanted = case.get("options", {})
    if "tools_file" in wanted:
        tools = load_catalogue([bundled.bundled_path(f"data/{wanted['tools_file']}")]).tools
    else:
        tools = {tool.name: tool for tool in parse_tools(wanted.get("tools"), RowNotes())}
    return ConvertOptions(tools=tools, distractors=wanted.get("distractors", 0))


def plain(conversation: Conversation) -> dict:
    """A conversation as JSON, without what is empty."""
    messages = []
    for message in conversation.messages:
        value = {"role": str(message.role), "text": message.text, "thought": message.thought, "name": message.name}
        value["calls"] = [{"name": call.name, "arguments": dict(call.arguments)} for call in message.calls]
        value["is_error"] = message.is_error
        messages.append({key: held for key, held in value.items() if held or key == "role"})
    tools = [
        {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        for tool in conversation.tools
    ]
    return {"system": conversation.system, "tools": tools, "messages": messages}


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name.removesuffix('.input.json')}")
def test_golden(path):
    case = json.loads(path.read_text(encoding="utf-8"))
    known = FORMATS[path.parent.name]
    notes = RowNotes()
    conversation = known.convert(case["record"], options_of(case), notes)
    validate.check(conversation, "qwen", notes)
    found = plain(conversation) | {
        "repairs": dict(sorted(notes.repairs.items())),
        "warnings": [list(note) for note in notes.warnings],
    }
    expected = path.with_name(path.name.replace(".input.", ".expected."))
    if os.environ.get("LFWRAP_UPDATE_GOLDEN"):
        expected.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    assert found == json.loads(expected.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name.removesuffix('.input.json')}")
def test_what_is_written_reads_back_the_same(path):
    """The engine's row, read as ShareGPT, is the same conversation: nothing is lost on the way."""
    case = json.loads(path.read_text(encoding="utf-8"))
    first = FORMATS[path.parent.name].convert(case["record"], options_of(case), RowNotes())
    row = json.loads(writer.engine_line(writer.engine_row(first, "qwen")))
    again = FORMATS["sharegpt"].convert(row, ConvertOptions(), RowNotes())

    def told(conversation):
        value = plain(conversation)
        for message in value["messages"]:
            if message["role"] == Role.TOOL:
                failed = message.pop("is_error", False)
                text = message.get("text", "")
                message["text"] = f"Error: {text}" if failed and not text.lower().startswith("error") else text
        return value

    assert told(again) == told(first)


def test_every_format_has_golden_rows():
    assert len(INPUTS) >= 26
    assert {path.parent.name for path in INPUTS} == set(FORMATS)
