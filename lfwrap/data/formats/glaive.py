"""glaive-function-calling-v2 as published: one ``chat`` text, calls with arguments in single quotes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes
from lfwrap.data.formats.parts.arguments import parse_arguments, parse_json
from lfwrap.data.formats.parts.calls import parse_call
from lfwrap.data.formats.parts.exact_json import ExactDecoder
from lfwrap.data.formats.parts.preambles import without_preamble
from lfwrap.data.formats.parts.schemas import parse_tools
from lfwrap.data.formats.parts.texts import result_text
from lfwrap.data.formats.parts.turns import TurnBuilder
from lfwrap.data.schema.conversation import Conversation, ToolCall

_TURN = re.compile(r"^[^\S\n]*(USER|ASSISTANT|FUNCTION RESPONSE):", re.MULTILINE)
_CALL = "<functioncall>"
_END = "<|endoftext|>"
_SYSTEM = "SYSTEM:"
_QUOTED = re.compile(r"\{\s*\"name\"\s*:\s*\"([^\"]+)\"\s*,\s*\"arguments\"\s*:\s*'(.*)'\s*\}\s*$", re.DOTALL)


def evidence(record: Mapping[str, Any]) -> str | None:
    """System and chat are texts, and the chat has USER: and ASSISTANT: marks."""
    chat = record.get("chat")
    if isinstance(chat, str) and "system" in record and "USER:" in chat and "ASSISTANT:" in chat:
        return "chat is a text with USER: and ASSISTANT: marks, system present"
    return None


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:  # noqa: ARG001
    """A row as a conversation; of a system text, what declares functions is left out: the template declares them.

    Raises:
        Reject: the calls or the order make no sense.

    >>> import json
    >>> conversation = convert(json.loads(FORMAT.example), ConvertOptions(), RowNotes())
    >>> [message.text or message.calls[0].name for message in conversation.messages]
    ['Rome?', 'get_weather', '{"t": 15}', '15 degrees.']
    """
    fields = notes.fields(record, "")
    system = str(fields.get("system") or "").strip().removeprefix(_SYSTEM).strip()
    functions, others = _functions_in(system)
    if functions:
        system = without_preamble(others[0], "".join(others[1:]), notes)
    builder = TurnBuilder(notes)
    if system:
        builder.system(system)
    pieces = _TURN.split(str(fields.get("chat", "")))
    if pieces[0].strip():
        raise Reject("structure", "the chat does not begin with USER:")
    for mark, said in zip(pieces[1::2], pieces[2::2], strict=True):
        _add(builder, mark, said.strip(), notes)
    return builder.build(parse_tools(functions, notes, "system"))


def _functions_in(system: str) -> tuple[list[Any], list[str]]:
    """The JSON objects that follow each other in the system text, and the texts before, between and after them."""
    functions: list[Any] = []
    others: list[str] = []
    decoder = ExactDecoder()
    end = 0
    position = system.find("{")
    while position >= 0:
        others.append(system[end:position])
        try:
            value, end, problem = decoder.decode_at(system, position)
        except ValueError as error:
            raise Reject("tool", f"a function in the system text is not JSON: {error}") from error
        if problem is not None:
            raise problem
        functions.append(value)
        position = system.find("{", end)
    return functions, [*others, system[end:]]


def _add(builder: TurnBuilder, mark: str, said: str, notes: RowNotes) -> None:
    if mark == "USER":
        builder.user(said)
    elif mark == "ASSISTANT":
        text, _, call = said.replace(_END, "").partition(_CALL)
        calls = (_parse_call(call.strip(), notes),) if call.strip() else ()
        builder.assistant(text.strip(), calls=calls)
    else:
        builder.result(result_text(said.replace(_END, "").strip(), notes)[0])


def _parse_call(text: str, notes: RowNotes) -> ToolCall:
    """``{"name": …, "arguments": '{…}'}``, which is not JSON, or JSON."""
    quoted = _QUOTED.match(text)
    if quoted is None:
        try:
            return parse_call(parse_json(text), notes)
        except ValueError as error:
            raise Reject("call", f"a call can't be read: {error}") from error
    name, arguments = quoted.groups()
    notes.repair("single-quotes")
    return ToolCall(name, parse_arguments(arguments.replace("\\'", "'"), notes))


FORMAT = Format(
    name="glaive",
    description="glaive-function-calling-v2 as published: a chat text with USER:, ASSISTANT: and FUNCTION RESPONSE:",
    example=(
        '{"system":"SYSTEM: You are a helpful assistant with access to the following functions. -\\n'
        '{\\"name\\":\\"get_weather\\",\\"description\\":\\"d\\",\\"parameters\\":{\\"type\\":\\"object\\",'
        '\\"properties\\":{\\"city\\":{\\"type\\":\\"string\\"}}}}","chat":"USER: Rome?\\n\\n\\nASSISTANT: '
        "<functioncall> "
        '{\\"name\\": \\"get_weather\\", \\"arguments\\": \'{\\"city\\": \\"Rome\\"}\'} <|endoftext|>\\n\\n\\n'
        'FUNCTION RESPONSE: {\\"t\\": 15}\\n\\n\\nASSISTANT: 15 degrees. <|endoftext|>\\n"}'
    ),
    evidence=evidence,
    convert=convert,
)
