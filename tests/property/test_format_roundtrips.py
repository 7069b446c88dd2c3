"""Conversation → a format's row → the same conversation, for every format."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lfwrap.data.convert import writer
from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, RowNotes
from lfwrap.data.formats.parts.texts import readable_json
from lfwrap.data.schema.conversation import Conversation, Message, Role, Tool, ToolCall

# Text as people write it; marks that some format gives a meaning of its own are left out.
TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<>{}[]"), min_size=1, max_size=30
).filter(str.strip)
NAME = st.from_regex(r"[a-z][a-z0-9_.-]{0,12}", fullmatch=True)
KEY = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
LEAF = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
VALUE = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(KEY, VALUE, max_size=4)
TYPES = ("string", "integer", "number", "boolean", "array", "object")


@st.composite
def tools(draw) -> tuple[Tool, ...]:
    names = draw(st.lists(NAME, min_size=1, max_size=3, unique=True))
    made = []
    for name in names:
        properties = {key: {"type": draw(st.sampled_from(TYPES))} for key in draw(st.sets(KEY, max_size=3))}
        made.append(Tool(name, draw(TEXT), {"type": "object", "properties": properties}))
    return tuple(made)


@st.composite
def conversations(draw, *, texts_beside_calls: bool = True, most_calls: int = 3) -> Conversation:
    declared = draw(tools())
    messages = []
    for turn in range(draw(st.integers(1, 3))):
        messages.append(Message(Role.USER, draw(TEXT)))
        if draw(st.booleans()):
            names = draw(st.lists(st.sampled_from([tool.name for tool in declared]), min_size=1, max_size=most_calls))
            calls = tuple(ToolCall(name, draw(ARGUMENTS), id=f"c{turn}-{number}") for number, name in enumerate(names))
            text = draw(st.just("") | TEXT) if texts_beside_calls else ""
            messages.append(Message(Role.ASSISTANT, text.strip(), calls=calls))
            messages += [Message(Role.TOOL, draw(TEXT), name=call.name, call_id=call.id) for call in calls]
        messages.append(Message(Role.ASSISTANT, draw(TEXT)))
    return Conversation(tuple(messages), system=draw(st.just("") | TEXT), tools=declared)


def told(conversation: Conversation) -> tuple:
    """A conversation without ids, which formats may drop."""
    messages = [
        (
            message.role,
            message.text,
            message.thought,
            [(call.name, call.arguments) for call in message.calls],
            message.name,
        )
        for message in conversation.messages
    ]
    return conversation.system, conversation.tools, messages


def read(name: str, record: dict) -> Conversation:
    return FORMATS[name].convert(json.loads(json.dumps(record)), ConvertOptions(), RowNotes())


def tool_values(conversation: Conversation, schema: str = "parameters") -> list[dict]:
    return [
        {"name": tool.name, "description": tool.description, schema: tool.parameters} for tool in conversation.tools
    ]


@settings(max_examples=60)
@given(conversations())
def test_engine_rows_read_back(conversation):
    for template in ("qwen", "llama3", ""):
        row = json.loads(writer.engine_line(writer.engine_row(conversation, template)))
        assert told(read("sharegpt", row)) == told(conversation)


@settings(max_examples=60)
@given(conversations(), st.randoms())
def test_openai_in_any_order_of_results(conversation, shuffle):
    messages = [{"role": "system", "content": conversation.system}] if conversation.system else []
    results: list[dict] = []
    for message in (*conversation.messages, None):
        if message is not None and message.role is Role.TOOL:
            results.append({"role": "tool", "tool_call_id": message.call_id, "content": message.text})
            continue
        shuffle.shuffle(results)
        messages += results
        results = []
        if message is not None:
            value = {"role": str(message.role), "content": message.text}
            if message.calls:
                value["tool_calls"] = [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                    }
                    for call in message.calls
                ]
            messages.append(value)
    record = {
        "messages": messages,
        "tools": [{"type": "function", "function": tool} for tool in tool_values(conversation)],
    }
    assert FORMATS["openai"].evidence(record)
    assert told(read("openai", record)) == told(conversation)


@settings(max_examples=60)
@given(conversations())
def test_anthropic(conversation):
    messages: list[dict] = []
    for message in conversation.messages:
        if message.role is Role.TOOL:
            block = {
                "type": "tool_result",
                "tool_use_id": message.call_id,
                "content": [{"type": "text", "text": message.text}],
            }
            if messages[-1]["role"] == "user":
                messages[-1]["content"].append(block)
            else:
                messages.append({"role": "user", "content": [block]})
        else:
            blocks = [{"type": "text", "text": message.text}] if message.text else []
            blocks += [
                {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}
                for call in message.calls
            ]
            messages.append({"role": str(message.role), "content": blocks})
    record = {"system": conversation.system, "tools": tool_values(conversation, "input_schema"), "messages": messages}
    assert FORMATS["anthropic"].evidence(record)
    assert told(read("anthropic", record)) == told(conversation)


@settings(max_examples=60)
@given(conversations(most_calls=1))
def test_toucan(conversation):
    messages = [{"role": "system", "content": conversation.system}] if conversation.system else []
    for message in conversation.messages:
        if message.role is Role.TOOL:
            messages.append({"role": "function", "name": message.name, "content": message.text})
        elif message.calls:
            messages.append({"role": "assistant", "content": message.text})
            messages += [
                {
                    "role": "assistant",
                    "content": "",
                    "function_call": {"name": call.name, "arguments": json.dumps(call.arguments)},
                }
                for call in message.calls
            ]
        else:
            messages.append({"role": str(message.role), "content": message.text})
    record = {"available_tools": json.dumps(tool_values(conversation)), "messages": json.dumps(messages)}
    assert FORMATS["toucan"].evidence(record)
    assert told(read("toucan", record)) == told(conversation)


@settings(max_examples=60)
@given(TEXT, tools(), st.data())
def test_single_questions(question, declared, data):
    """xLAM, MCP-Flow and mcp-flow-simple rows."""
    calls = [ToolCall(tool.name, data.draw(ARGUMENTS)) for tool in declared]
    expected = Conversation((Message(Role.USER, question), Message(Role.ASSISTANT, calls=tuple(calls))), tools=declared)
    values = [{"name": call.name, "arguments": call.arguments} for call in calls]
    xlam = {"query": question, "answers": json.dumps(values), "tools": json.dumps(tool_values(expected))}
    assert told(read("xlam", xlam)) == told(expected)
    by_name = {tool.name: tool for tool in declared}
    flow = {"source_instruction": question, "function_call": values, "tool": "x"}
    found = FORMATS["mcpflow"].convert(flow, ConvertOptions(tools=by_name), RowNotes())
    assert told(found)[2] == told(expected)[2]
    assert {tool.name for tool in found.tools} == set(by_name)
    tool = declared[0]
    simple = {
        "instruction": question,
        "tool_info": {"tool_name": tool.name, "tool_description": tool.description, "input_schema": tool.parameters},
        "function_call": values[0],
    }
    assert told(read("mcpflow-simple", simple)) == (
        "",
        (tool,),
        [*told(expected)[2][:1], (Role.ASSISTANT, "", "", [(calls[0].name, calls[0].arguments)], "")],
    )


@settings(max_examples=80)
@given(
    st.lists(
        st.tuples(st.from_regex(r"[A-Z][A-Za-z' .-]{0,15}[A-Za-z]", fullmatch=True), ARGUMENTS),
        min_size=1,
        max_size=3,
        unique_by=lambda pair: pair[0],
    )
)
def test_toolace_calls_in_brackets(calls):
    declared = [
        {"name": name, "description": "d", "parameters": {"type": "dict", "properties": {}}} for name, _ in calls
    ]
    said = (
        "["
        + ", ".join(f"{name}({', '.join(f'{key}={value!r}' for key, value in held.items())})" for name, held in calls)
        + "]"
    )
    record = {
        "system": f"Functions: {json.dumps(declared)}.",
        "conversations": [{"from": "user", "value": "go"}, {"from": "assistant", "value": said}],
    }
    assert FORMATS["toolace"].evidence(record)
    found = read("toolace", record)
    assert [(call.name, call.arguments) for call in found.messages[-1].calls] == calls


@settings(max_examples=80)
@given(ARGUMENTS, TEXT)
def test_glaive_calls(arguments, answer):
    schema = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
    quoted = json.dumps(arguments).replace("'", "\\'")
    call = f'{{"name": "f", "arguments": \'{quoted}\'}}'
    turns = (f"USER: go\n\n\nASSISTANT: <functioncall> {call}", f"\n\n\nFUNCTION RESPONSE: {answer}\n\n\nASSISTANT: ok")
    chat = " <|endoftext|>".join(turns)
    found = read("glaive", {"system": f"SYSTEM: Use -\n{json.dumps(schema)}", "chat": chat})
    assert found.messages[1].calls[0].arguments == arguments
    assert found.messages[2].text == answer.strip()


@given(VALUE)
def test_readable_json_changes_no_value(value):
    text = json.dumps(value)
    assert json.loads(readable_json(text, RowNotes())) == value


@settings(max_examples=60)
@given(conversations())
def test_openai_responses(conversation):
    items: list[dict] = []
    for message in conversation.messages:
        if message.role is Role.TOOL:
            items.append({"type": "function_call_output", "call_id": message.call_id, "output": message.text})
            continue
        if message.text:
            items.append({"type": "message", "role": str(message.role), "content": message.text})
        items += [
            {
                "type": "function_call",
                "call_id": call.id,
                "name": call.name,
                "arguments": json.dumps(call.arguments),
            }
            for call in message.calls
        ]
    asked = next(place for place, message in enumerate(conversation.messages) if message.role is Role.ASSISTANT)
    record = {
        "instructions": conversation.system,
        "input": items[:asked],
        "tools": [{"type": "function", **tool} for tool in tool_values(conversation)],
        "output": items[asked:],
    }
    assert FORMATS["openai-responses"].evidence(record)
    assert told(read("openai-responses", record)) == told(conversation)


@settings(max_examples=60)
@given(conversations(most_calls=1))
def test_mcpflow_trajectories(conversation):
    """The tools stand elsewhere; an MCP result comes JSON-encoded; one object stands where OpenAI has a list."""
    messages = []
    for message in conversation.messages:
        value = {"role": str(message.role), "content": message.text}
        if message.calls:
            call = message.calls[0]
            value["tool_calls"] = {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        if message.role is Role.TOOL:
            result = {"content": [{"type": "text", "text": message.text}], "isError": False}
            value |= {"name": message.name, "content": json.dumps(result), "tool_call_id": len(messages)}
        messages.append(value)
    record = {"messages": messages}
    assume(any("tool_calls" in message for message in messages))
    assert FORMATS["mcpflow-trajectories"].evidence(record)
    options = ConvertOptions(tools={tool.name: tool for tool in conversation.tools})
    found = FORMATS["mcpflow-trajectories"].convert(json.loads(json.dumps(record)), options, RowNotes())
    assert told(found)[2] == told(conversation)[2]


def accepted(value):
    """A value as BFCL accepts it: the fields of nested objects list their accepted values, too."""
    if isinstance(value, dict):
        return {key: [accepted(held)] for key, held in value.items()}
    return [accepted(held) for held in value] if isinstance(value, list) else value


@settings(max_examples=60)
@given(TEXT, tools(), st.data())
def test_bfcl(question, declared, data):
    """Every value but the empty text, which stands there for an argument that is left out."""
    arguments = ARGUMENTS.filter(lambda held: '""' not in json.dumps(held))
    calls = tuple(ToolCall(tool.name, data.draw(arguments)) for tool in declared)
    expected = Conversation((Message(Role.USER, question), Message(Role.ASSISTANT, calls=calls)), tools=declared)
    record = {
        "id": "simple_0",
        "question": [[{"role": "user", "content": question}]],
        "function": tool_values(expected),
        "ground_truth": [
            {call.name: {key: [accepted(value), "another"] for key, value in call.arguments.items()}} for call in calls
        ],
    }
    assert FORMATS["bfcl"].evidence(record)
    assert told(read("bfcl", record)) == told(expected)


@settings(max_examples=40)
@given(TEXT, TEXT, tools(), st.data())
def test_mcp_sessions(question, answer, declared, data):
    """A session of one server, joined with what the user asked."""
    calls = [ToolCall(tool.name, data.draw(ARGUMENTS), id=str(number)) for number, tool in enumerate(declared, 2)]
    results = [data.draw(TEXT) for _ in calls]
    listed = [{"name": tool.name, "description": tool.description, "inputSchema": tool.parameters} for tool in declared]
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": 1, "result": {"tools": listed}},
    ]
    for call, result in zip(calls, results, strict=True):
        called = {"name": call.name, "arguments": call.arguments}
        content = {"content": [{"type": "text", "text": result}]}
        lines.append({"jsonrpc": "2.0", "id": int(call.id), "method": "tools/call", "params": called})
        lines.append({"jsonrpc": "2.0", "id": int(call.id), "result": content})
    with tempfile.TemporaryDirectory() as folder:
        log, asked = Path(folder) / "session.jsonl", Path(folder) / "asked.jsonl"
        log.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        wanted = {"ids": [int(call.id) for call in calls], "instruction": question, "final_response": answer}
        asked.write_text(json.dumps(wanted), encoding="utf-8")
        options = ConvertOptions(instructions=asked)
        records = list(FORMATS["mcp-wire"].read(log, options))
    assert len(records) == 1
    found = FORMATS["mcp-wire"].convert(records[0].value, options, RowNotes())
    assert found.tools == declared
    assert [(call.name, call.arguments) for message in found.messages for call in message.calls] == [
        (call.name, call.arguments) for call in calls
    ]
    assert [message.text for message in found.messages if message.role is Role.TOOL] == results
    assert (found.messages[0].text, found.messages[-1].text) == (question, answer)


@st.composite
def plain_conversations(draw) -> Conversation:
    turns = [Message(role, draw(TEXT)) for _ in range(draw(st.integers(1, 3))) for role in (Role.USER, Role.ASSISTANT)]
    return Conversation(tuple(turns), system=draw(st.just("") | TEXT))


@settings(max_examples=60)
@given(plain_conversations())
def test_alpaca(conversation):
    texts = [message.text for message in conversation.messages]
    record = {
        "instruction": texts[-2],
        "input": "",
        "output": texts[-1],
        "system": conversation.system,
        "history": [list(pair) for pair in zip(texts[:-2:2], texts[1:-2:2], strict=True)],
    }
    assert FORMATS["alpaca"].evidence(record)
    assert told(read("alpaca", record)) == told(conversation)
