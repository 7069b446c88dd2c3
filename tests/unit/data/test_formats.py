"""Formats: each claims its own rows and no other's; broken rows are rejected by name."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from lfwrap.data.convert import validate, writer
from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes

SAMPLES = Path(__file__).parents[4] / "shared" / "samples"
WEATHER = {
    "name": "get_weather",
    "description": "d",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CALL = {"name": "get_weather", "arguments": {"city": "Rome"}}
NEEDS_TOOLS = {"mcpflow", "mcpflow-trajectories"}


def convert(name, record, **options):
    notes = RowNotes()
    conversation = FORMATS[name].convert(record, ConvertOptions(**options), notes)
    validate.check(conversation, "qwen", notes)
    writer.engine_row(conversation, "qwen")
    return conversation, notes


@pytest.mark.parametrize("name", list(FORMATS))
def test_example_is_claimed_by_its_own_format_alone(name):
    record = json.loads(FORMATS[name].example)
    claims = {other.name: evidence for other in FORMATS.values() if (evidence := other.evidence(record))}
    assert list(claims) == [name]
    assert len(claims[name]) > 10


@pytest.mark.parametrize("name", sorted(set(FORMATS) - NEEDS_TOOLS - {"mcp-wire"}))
def test_example_converts_without_a_reject(name):
    conversation, _ = convert(name, json.loads(FORMATS[name].example))
    assert conversation.messages[-1].role == "assistant"


@pytest.mark.parametrize("name", sorted(NEEDS_TOOLS))
def test_example_without_its_tools_asks_for_them(name):
    with pytest.raises(Reject) as caught:
        convert(name, json.loads(FORMATS[name].example))
    assert caught.value.rule == "undeclared-tool"


def openai(*messages, tools=(WEATHER,)):
    return {"messages": [{"role": role, **rest} for role, rest in messages], "tools": list(tools)}


def called(calls):
    return ("assistant", {"content": None, "tool_calls": calls})


ASK = ("user", {"content": "Rome?"})
CALLED = called([{"id": "c1", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}])
RESULT = ("tool", {"tool_call_id": "c1", "content": "15"})
SAID = ("assistant", {"content": "15"})

BROKEN = {
    "openai: no messages": ("openai", {"messages": []}, "structure"),
    "openai: a message without a role": (
        "openai",
        {"messages": [{"role": "user", "content": "a"}, {"content": "b"}]},
        "structure",
    ),
    "openai: unknown role": ("openai", openai(ASK, ("narrator", {"content": "x"})), "role"),
    "openai: late system": ("openai", openai(ASK, SAID, ("system", {"content": "x"}), ASK, SAID), "late-system"),
    "openai: two users": ("openai", openai(ASK, ASK, SAID), "order"),
    "openai: assistant first": ("openai", openai(SAID, ASK, SAID), "order"),
    "openai: only a question": ("openai", openai(ASK), "no-answer"),
    "openai: empty answer": ("openai", openai(ASK, ("assistant", {"content": " "})), "no-answer"),
    "openai: empty turn": (
        "openai",
        openai(ASK, ("assistant", {"content": ""}), ("user", {"content": "?"}), SAID),
        "empty-turn",
    ),
    "openai: image": ("openai", openai(("user", {"content": [{"type": "image_url", "image_url": {}}]}), SAID), "media"),
    "openai: arguments a list": (
        "openai",
        openai(ASK, called([{"function": {"name": "get_weather", "arguments": "[1]"}}])),
        "arguments",
    ),
    "openai: arguments no JSON": (
        "openai",
        openai(ASK, called([{"function": {"name": "get_weather", "arguments": "{city}"}}])),
        "arguments",
    ),
    "openai: arguments NaN": (
        "openai",
        openai(ASK, called([{"function": {"name": "get_weather", "arguments": '{"a": NaN}'}}])),
        "arguments",
    ),
    "openai: a key twice": (
        "openai",
        openai(ASK, called([{"function": {"name": "get_weather", "arguments": '{"city": "a", "city": "b"}'}}])),
        "duplicate-key",
    ),
    "openai: undeclared": (
        "openai",
        openai(ASK, called([{"function": {"name": "other", "arguments": "{}"}}])),
        "undeclared-tool",
    ),
    "openai: call without a name": ("openai", openai(ASK, called([{"function": {"arguments": "{}"}}])), "call"),
    "openai: tool_calls is text": ("openai", openai(ASK, ("assistant", {"tool_calls": "[]"}), SAID), "structure"),
    "openai: result without a call": ("openai", openai(ASK, RESULT, SAID), "unmatched-result"),
    "openai: unknown id": (
        "openai",
        openai(ASK, CALLED, RESULT, ("tool", {"tool_call_id": "c9", "content": "x"}), SAID),
        "unmatched-result",
    ),
    "openai: one id twice": ("openai", openai(ASK, CALLED, RESULT, RESULT, SAID), "unmatched-result"),
    "openai: no result, goes on": ("openai", openai(ASK, CALLED, SAID), "order"),
    "openai: user before the result": ("openai", openai(ASK, CALLED, ASK, RESULT, SAID), "unmatched-result"),
    "openai: two users after a result": ("openai", openai(ASK, CALLED, RESULT, ASK, ASK, SAID), "order"),
    "openai: tools collide": (
        "openai",
        openai(ASK, SAID, tools=[WEATHER, {**WEATHER, "description": "else"}]),
        "tool-collision",
    ),
    "openai: nameless tool": ("openai", openai(ASK, SAID, tools=[{"description": "d"}]), "tool"),
    "openai: tools is a number": ("openai", {**openai(ASK, SAID), "tools": 3}, "tool"),
    "openai: lone surrogate": ("openai", openai(ASK, ("assistant", {"content": "\ud83d"})), "lone-surrogate"),
    "openai: idx": ("openai", openai(("user", {"content": "What is {{idx}}?"}), SAID), "placeholder"),
    "sharegpt: call no JSON": (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "f(x)"}]},
        "call",
    ),
    "sharegpt: tools no JSON": (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "tools": "[{"},
        "tool",
    ),
    "sharegpt: value is a list of numbers": (
        "sharegpt",
        {"conversations": [{"from": "human", "value": [1]}, {"from": "gpt", "value": "a"}]},
        "not-text",
    ),
    "anthropic: nameless call": (
        "anthropic",
        {
            "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": [{"type": "tool_use", "input": {}}]},
            ]
        },
        "call",
    ),
    "anthropic: tool role": (
        "anthropic",
        {"messages": [{"role": "user", "content": "q"}, {"role": "tool", "content": []}]},
        "role",
    ),
    "toucan: messages no JSON": ("toucan", {"messages": "[{", "tools": "[]"}, "structure"),
    "toucan: call no literal": (
        "toucan",
        {
            "messages": json.dumps([{"role": "user", "content": "q"}, {"role": "tool_call", "content": "f()"}]),
            "tools": "[]",
        },
        "arguments",
    ),
    "xlam: no query": ("xlam", {"query": "", "answers": "[]", "tools": "[]"}, "empty-turn"),
    "xlam: no answers": ("xlam", {"query": "q", "answers": "[]", "tools": "[]"}, "no-answer"),
    "xlam: answers no JSON": ("xlam", {"query": "q", "answers": "[{'name': 'f'}]", "tools": "[]"}, "call"),
    "toolace: tools cut off": (
        "toolace",
        {"system": '[{"name": "f", "parameters": {', "conversations": [{"from": "user", "value": "q"}]},
        "tool",
    ),
    "toolace: open quote": (
        "toolace",
        {
            "system": f"[{json.dumps(WEATHER)}]",
            "conversations": [
                {"from": "user", "value": "q"},
                {"from": "assistant", "value": '[get_weather(city="Rome)]'},
            ],
        },
        "call",
    ),
    "toolace: value is code": (
        "toolace",
        {
            "system": f"[{json.dumps(WEATHER)}]",
            "conversations": [
                {"from": "user", "value": "q"},
                {"from": "assistant", "value": "[get_weather(city=open('x'))]"},
            ],
        },
        "call",
    ),
    "toolace: argument twice": (
        "toolace",
        {
            "system": f"[{json.dumps(WEATHER)}]",
            "conversations": [
                {"from": "user", "value": "q"},
                {"from": "assistant", "value": "[get_weather(city='a', city='b')]"},
            ],
        },
        "duplicate-key",
    ),
    "glaive: another tool": (
        "glaive",
        {
            "system": json.dumps(WEATHER),
            "chat": 'USER: q\n\nASSISTANT: <functioncall> {"name": "bmi", "arguments": \'{}\'} <|endoftext|>',
        },
        "undeclared-tool",
    ),
    "glaive: call cut off": (
        "glaive",
        {"system": json.dumps(WEATHER), "chat": 'USER: q\n\nASSISTANT: <functioncall> {"name": "bm <|endoftext|>'},
        "call",
    ),
    "glaive: begins anyhow": ("glaive", {"system": "", "chat": "Hi USER: q\nASSISTANT: a"}, "structure"),
    "bfcl: no answer": ("bfcl", {"question": [[{"role": "user", "content": "q"}]], "function": []}, "no-answer"),
    "bfcl: two turns": (
        "bfcl",
        {"question": [[{"role": "user", "content": "q"}], []], "function": [], "ground_truth": [{"f": {}}]},
        "structure",
    ),
    "mcpflow: no instruction": ("mcpflow", {"source_instruction": "", "function_call": CALL}, "empty-turn"),
    "mcpflow: arguments are text": (
        "mcpflow",
        {"source_instruction": "q", "function_call": {"name": "f", "arguments": "city=Rome"}},
        "arguments",
    ),
    "mcpflow-simple: tool without a name": (
        "mcpflow-simple",
        {"instruction": "q", "tool_info": {}, "function_call": CALL},
        "tool",
    ),
    "mcpflow-trajectories: other tool answers": (
        "mcpflow-trajectories",
        {
            "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "tool_calls": {"function": CALL}},
                {"role": "tool", "name": "else", "content": ""},
            ]
        },
        "unmatched-result",
    ),
    "openai-responses: unknown item": (
        "openai-responses",
        {"input": [{"type": "web_search_call"}], "output": []},
        "structure",
    ),
    "mcp-wire: a bare message": ("mcp-wire", {"jsonrpc": "2.0", "method": "tools/call", "id": 1}, "needs-instructions"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_rows_are_rejected_by_the_right_rule(case):
    name, record, rule = BROKEN[case]
    with pytest.raises(Reject) as caught:
        convert(name, record)
    assert caught.value.rule == rule
    assert caught.value.reason


REPAIRED = {
    "null beside a call is no repair": (openai(ASK, CALLED), {"arguments-text-to-object": 1}),
    "arguments absent": (openai(ASK, called([{"function": {"name": "get_weather"}}])), {"arguments-absent": 1}),
    "arguments twice encoded": (
        openai(ASK, called([{"function": {"name": "get_weather", "arguments": json.dumps('{"city": "a"}')}}])),
        {"arguments-encoded-twice": 1},
    ),
    "trailing question": (openai(ASK, SAID, ASK), {"trailing-turns": 1}),
    "user after a result": (
        openai(ASK, CALLED, RESULT, ASK, SAID),
        {"arguments-text-to-object": 1, "user-after-result-joined": 1},
    ),
    "trailing question after a result": (
        openai(ASK, CALLED, RESULT, ASK),
        {"arguments-text-to-object": 1, "trailing-turns": 1},
    ),
    "trailing result": (openai(ASK, CALLED, RESULT), {"arguments-text-to-object": 1, "trailing-turns": 1}),
    "number as answer": (openai(ASK, ("assistant", {"content": 15})), {"number-to-text": 1}),
    "wrapped tool": (openai(ASK, SAID, tools=[{"type": "function", "function": WEATHER}]), {"tool-unwrapped": 1}),
    "escapes in a result": (
        openai(ASK, CALLED, ("tool", {"tool_call_id": "c1", "content": '{"a": "\\u5317"}'}), SAID),
        {"arguments-text-to-object": 1, "unicode-escapes": 1},
    ),
    "thought without its line breaks": (
        openai(ASK, ("assistant", {"content": "<think>hm</think>15"})),
        {"think-newlines": 1},
    ),
}


@pytest.mark.parametrize("case", REPAIRED)
def test_repairs_are_counted_by_kind(case):
    record, repairs = REPAIRED[case]
    _, notes = convert("openai", record)
    assert dict(notes.repairs) == repairs


def test_distractors_depend_on_the_row_and_the_seed_alone():
    from lfwrap.data.formats.parts.schemas import parse_tool

    tools = {f"t{number}": parse_tool({"name": f"t{number}"}, RowNotes()) for number in range(50)}
    record = {"source_instruction": "go", "function_call": {"name": "t7", "arguments": {}}}
    first, _ = convert("mcpflow", record, tools=tools, distractors=9)
    again, _ = convert("mcpflow", record, tools=tools, distractors=9)
    other, _ = convert("mcpflow", {**record, "source_instruction": "Go"}, tools=tools, distractors=9)
    reseeded, _ = convert("mcpflow", record, tools=tools, distractors=9, seed=7)
    assert len(first.tools) == 10
    assert "t7" in {tool.name for tool in first.tools}
    assert first == again
    assert first.tools != other.tools
    assert first.tools != reseeded.tools


def test_gold_tools_stay_when_there_are_fewer_others_than_asked_for():
    from lfwrap.data.formats.parts.schemas import parse_tool

    tools = {name: parse_tool({"name": name}, RowNotes()) for name in "ab"}
    found, _ = convert(
        "mcpflow", {"source_instruction": "go", "function_call": {"name": "a"}}, tools=tools, distractors=9
    )
    assert {tool.name for tool in found.tools} == {"a", "b"}


def sample_records(path: Path):
    text = path.read_text(encoding="utf-8")
    for known in FORMATS.values():
        if known.read and known.sniff and known.sniff(text[: 1 << 16]):
            return [(known, record.value) for record in known.read(path, ConvertOptions())]
    document = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    claimed = []
    for record in document if isinstance(document, list) else [document]:
        claims = [known for known in FORMATS.values() if known.evidence(record)]
        assert len(claims) == 1, (path.name, [known.name for known in claims])
        claimed.append((claims[0], record))
    return claimed


SAMPLE_FILES = {
    "formats/toucan_teacher.jsonl": ("toucan", {"ok": 1}),
    "formats/toucan_sft_pyrepr.jsonl": ("toucan", {"ok": 1}),
    "formats/glaive_v2_raw.jsonl": ("glaive", {"undeclared-tool": 1}),
    "formats/anthropic.jsonl": ("anthropic", {"ok": 1}),
    "formats/openai_parallel.jsonl": ("openai", {"ok": 1}),
    "formats/xlam_raw.jsonl": ("xlam", {"ok": 1}),
    "formats/toolace_raw.jsonl": ("toolace", {"ok": 1}),
    "formats/claude_desktop_mcp.log": ("mcp-wire", {"needs-instructions": 2}),
    "formats/mcp_session_2024-11-05.jsonl": ("mcp-wire", {"needs-instructions": 2}),
    "openai/nemo_gym_xlam_fc_responses_example.jsonl": ("openai-responses", {"ok": 5}),
    "bfcl/BFCL_v4_simple_python.jsonl": ("bfcl", {"ok": 400}),
    "tool_calling/glaive_toolcall_en_demo.json": ("sharegpt", {"ok": 300}),
    "tool_calling/glaive_toolcall_zh_demo.json": ("sharegpt", {"ok": 298, "unmatched-result": 2}),
    "tool_calling/reason_tool_use_demo_50.jsonl": ("openai", {"ok": 50}),
    "mcp_wire/CreateMessageRequestParams__follow-up-with-tool-results.json": ("anthropic", {"ok": 1}),
    "mcp_wire/CreateMessageRequestParams__basic-request.json": ("openai", {"no-answer": 1}),
}


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the shared samples are not beside this checkout")
@pytest.mark.parametrize("name", SAMPLE_FILES)
def test_every_sample_row_is_written_or_rejected_by_name(name):
    expected_format, expected = SAMPLE_FILES[name]
    outcomes: Counter[str] = Counter()
    for known, record in sample_records(SAMPLES / name):
        assert known.name == expected_format
        try:
            convert(known.name, record)
        except Reject as reject:
            outcomes[reject.rule] += 1
        else:
            outcomes["ok"] += 1
    assert dict(outcomes) == expected


def test_the_documentation_of_the_formats_is_current():
    from lfwrap.data.formats.format_docs import DOCS_PAGE, render_formats

    page = Path(__file__).parents[3] / DOCS_PAGE
    assert page.read_text(encoding="utf-8") == render_formats(), (
        "write lfwrap.data.formats.format_docs.render_formats() there"
    )
