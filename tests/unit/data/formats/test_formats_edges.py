"""What each format makes of rows at its edges: odd shapes that are taken, and broken ones that are rejected by rule."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes
from lfwrap.data.schema.rules import RULES
from lfwrap.errors import DataError

TOOL = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
CALL = {"name": "f", "arguments": {}}
ASK = {"role": "user", "content": "q"}


def convert(name, record, **options):
    notes = RowNotes()
    return FORMATS[name].convert(record, ConvertOptions(**options), notes), notes


def turns(name, record, **options):
    conversation, _ = convert(name, record, **options)
    return [(str(turn.role), turn.text or [call.name for call in turn.calls]) for turn in conversation.messages]


ALPACA = {"instruction": "q", "output": "a"}


@pytest.mark.parametrize(
    ("row", "found", "repairs"),
    [
        (ALPACA, [("user", "q"), ("assistant", "a")], []),
        ({**ALPACA, "input": "x"}, [("user", "q\nx"), ("assistant", "a")], []),
        ({"input": "x", "output": "a"}, [("user", "x"), ("assistant", "a")], []),
        ({**ALPACA, "output": 3.5}, [("user", "q"), ("assistant", "3.5")], ["number-to-text"]),
        ({**ALPACA, "input": float("nan")}, [("user", "q"), ("assistant", "a")], ["null-to-empty"]),
        ({**ALPACA, "history": None}, [("user", "q"), ("assistant", "a")], []),
        ({**ALPACA, "history": " "}, [("user", "q"), ("assistant", "a")], []),
        ({**ALPACA, "history": float("nan")}, [("user", "q"), ("assistant", "a")], []),
        ({**ALPACA, "history": []}, [("user", "q"), ("assistant", "a")], []),
        ({**ALPACA, "history": [["p", "r"]]},
         [("user", "p"), ("assistant", "r"), ("user", "q"), ("assistant", "a")], []),
        ({**ALPACA, "history": '[["p", 1]]'},
         [("user", "p"), ("assistant", "1"), ("user", "q"), ("assistant", "a")],
         ["history-text-to-list", "number-to-text"]),
    ],
)  # fmt: skip
def test_alpaca_rows(row, found, repairs):
    assert turns("alpaca", row) == found
    assert sorted(convert("alpaca", row)[1].repairs) == repairs


BROKEN = {
    "alpaca: two answers": ("alpaca", {"q": "?", "question": "q", "answer": "a", "reply": "b"}, "columns", "reply"),
    "alpaca: no answer column": ("alpaca", {"instruction": "q"}, "empty-output", "no output column"),
    "alpaca: blank answer": ("alpaca", {"instruction": "q", "output": " \n"}, "empty-output", "output is empty"),
    "alpaca: nothing asked": ("alpaca", {"instruction": " ", "output": "a"}, "empty-instruction", "nothing to learn"),
    "alpaca: answer is a list": ("alpaca", {**ALPACA, "output": ["a"]}, "not-text", "output is a list"),
    "alpaca: question is an object": ("alpaca", {**ALPACA, "instruction": {}}, "not-text", "is an object"),
    "alpaca: history no JSON": ("alpaca", {**ALPACA, "history": "p: r"}, "bad-history", "not a JSON list"),
    "alpaca: history an object": ("alpaca", {**ALPACA, "history": {"p": "r"}}, "bad-history", "not a list"),
    "alpaca: history of threes": ("alpaca", {**ALPACA, "history": [["a", "b"], ["a", "b", "c"]]}, "bad-history",
                                  "entry 2 is no"),
    "alpaca: history half empty": ("alpaca", {**ALPACA, "history": [["a", ""]]}, "bad-history", "entry 1 has an empty"),
    "sharegpt: no turns": ("sharegpt", {"conversations": []}, "structure", "no list"),
    "sharegpt: a turn without from": (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "q"}, {"value": "a"}]},
        "structure",
        "turn 2",
    ),
    "toolace: no tools": (
        "toolace", {"system": "none", "conversations": [{"from": "user", "value": "q"}]}, "tool", "no JSON list"),
    "toolace: a turn without from": (
        "toolace", {"system": f"[{json.dumps(TOOL)}]", "conversations": [{"value": "q"}]}, "structure", "turn 1"),
    "toolace: no turns": (
        "toolace", {"system": f"[{json.dumps(TOOL)}]", "conversations": None}, "structure", "not a list"),
    "openai: a call in a part is broken": (
        "openai",
        {"messages": [ASK, {"role": "assistant", "content": [{"type": "tool_call", "value": "{broken"}]}]},
        "call",
        "not JSON",
    ),
    "sharegpt: calls nested without end": (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "[" * 100_000}]},
        "call", ""),
    "toolace: tools nested without end": (
        "toolace", {"system": '[{"name": "f", "parameters": ' + "[" * 100_000, "conversations": []}, "tool", ""),
    "glaive: functions nested without end": (
        "glaive", {"system": '{"name": ' + "[" * 100_000, "chat": "USER: q\n\nASSISTANT: a"}, "tool", ""),
    "xlam: answers nested without end": ("xlam", {"query": "q", "answers": "[" * 100_000, "tools": "[]"}, "call", ""),
    "bfcl: a message without a role": (
        "bfcl", {"question": [[{"content": "q"}]], "function": [], "ground_truth": [{"f": {}}]}, "structure",
        "message 1"),
    "bfcl: two names in one answer": (
        "bfcl", {"question": [[ASK]], "function": [TOOL], "ground_truth": [{"f": {}, "g": {}}]}, "call", "{name:"),
    "bfcl: arguments a list": (
        "bfcl", {"question": [[ASK]], "function": [TOOL], "ground_truth": [{"f": [1]}]}, "arguments", "'f'"),
    "responses: params no object": ("openai-responses", {"responses_create_params": 3}, "structure", "not an object"),
    "responses: output no list": ("openai-responses", {"input": "q", "output": "a"}, "structure", "not a list"),
    "responses: an item is text": ("openai-responses", {"input": ["q"], "output": []}, "structure", "item 1"),
    "mcpflow-simple: no tool": ("mcpflow-simple", {"instruction": "q", "tool_info": "f"}, "tool", "not an object"),
    "toucan: no tools column": ("toucan", {"messages": "[]"}, "structure", "tools column"),
    "toucan: a message without a role": ("toucan", {"messages": "[{}]", "tools": "[]"}, "structure", "message 1"),
    "glaive: function no JSON": (
        "glaive", {"system": 'SYSTEM: {"name": }', "chat": "USER: q\n\nASSISTANT: a"}, "tool", "not JSON"),
    "openai: result of another tool": (
        "openai",
        {"messages": [ASK, {"role": "assistant", "content": "", "tool_calls": [CALL]},
                      {"role": "tool", "name": "g", "content": "1"}, {"role": "assistant", "content": "a"}]},
        "unmatched-result",
        "'g'",
    ),
    "openai: two calls, three results": (
        "openai",
        {"messages": [ASK, {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
                      *[{"role": "tool", "content": "1"}] * 3, {"role": "assistant", "content": "a"}]},
        "unmatched-result",
        "2 calls have 3 results",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_rows_say_what_and_where(case):
    name, record, rule, words = BROKEN[case]
    with pytest.raises(Reject) as caught:
        convert(name, record)
    assert caught.value.rule == rule
    assert words in caught.value.reason


TAKEN = {
    "toolace: a result nested without end": (
        "toolace",
        {"system": f"[{json.dumps(TOOL)}]",
         "conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "[f(), f()]"},
                           {"from": "tool", "value": "[" * 100_000}]},
        [("user", "q"), ("assistant", ["f", "f"])],
    ),
    "sharegpt: a result nested without end": (
        "sharegpt",
        {"tools": json.dumps([TOOL]),
         "conversations": [{"from": "human", "value": "q"},
                           {"from": "function_call", "value": json.dumps([CALL, CALL])},
                           {"from": "observation", "value": "[" * 100_000}]},
        [("user", "q"), ("assistant", ["f", "f"])],
    ),
    "two system messages become one": (
        "openai",
        {"messages": [{"role": "system", "content": "a"}, {"role": "system", "content": "b"}, ASK,
                      {"role": "assistant", "content": "x"}]},
        [("user", "q"), ("assistant", "x")],
    ),
    "fragments of an answer become one turn": (
        "openai",
        {"messages": [ASK, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]},
        [("user", "q"), ("assistant", "a\nb")],
    ),
    "one result may answer several calls": (
        "openai",
        {"messages": [ASK, {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
                      {"role": "tool", "content": "both"}, {"role": "assistant", "content": "a"}]},
        [("user", "q"), ("assistant", ["f", "f"]), ("tool", "both"), ("assistant", "a")],
    ),
    "results come in the order of their calls": (
        "openai",
        {"messages": [ASK, {"role": "assistant", "content": "",
                            "tool_calls": [{"id": "1", "function": CALL}, {"id": "2", "function": CALL}]},
                      {"role": "tool", "tool_call_id": "2", "content": "second"},
                      {"role": "tool", "tool_call_id": "1", "content": "first"},
                      {"role": "assistant", "content": "a"}]},
        [("user", "q"), ("assistant", ["f", "f"]), ("tool", "first"), ("tool", "second"), ("assistant", "a")],
    ),
    "an accepted argument that may be left out is": (
        "bfcl",
        {"question": [[ASK]], "function": [TOOL],
         "ground_truth": [{"f": {"a": ["", 1], "b": [2, 3], "c": [{"d": [4], "e": [""]}], "g": [[5]], "h": 6}}]},
        [("user", "q"), ("assistant", ["f"])],
    ),
    "toolace: results by name": (
        "toolace",
        {"system": f"[{json.dumps(TOOL)}]",
         "conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "[f(), f()]"},
                           {"from": "tool",
                            "value": '[{"name": "f", "results": "x"}, {"name": "f", "results": {"y": 1}}]'},
                           {"from": "assistant", "value": "a"}]},
        [("user", "q"), ("assistant", ["f", "f"]), ("tool", "x"), ("tool", '{"y": 1}'), ("assistant", "a")],
    ),
    "toolace: a result as it is": (
        "toolace",
        {"system": f"[{json.dumps(TOOL)}]",
         "conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "[f()]"},
                           {"from": "tool", "value": "plain"}, {"from": "assistant", "value": "a"}]},
        [("user", "q"), ("assistant", ["f"]), ("tool", "plain"), ("assistant", "a")],
    ),
    "sharegpt: results in one observation, by name": (
        "sharegpt",
        {"tools": json.dumps([TOOL]),
         "conversations": [{"from": "human", "value": "q"},
                           {"from": "function_call", "value": json.dumps([CALL, CALL])},
                           {"from": "observation",
                            "value": '[{"name": "f", "content": "x"}, {"name": "f", "content": [1]}]'},
                           {"from": "gpt", "value": "a"}]},
        [("user", "q"), ("assistant", ["f", "f"]), ("tool", "x"), ("tool", "[1]"), ("assistant", "a")],
    ),
    "sharegpt: a list that is not a list of results stays one": (
        "sharegpt",
        {"tools": json.dumps([TOOL]),
         "conversations": [{"from": "human", "value": "q"},
                           {"from": "function_call", "value": json.dumps([CALL, CALL])},
                           {"from": "observation", "value": '[{"name": "f"}, 2]'}, {"from": "gpt", "value": "a"}]},
        [("user", "q"), ("assistant", ["f", "f"]), ("tool", '[{"name": "f"}, 2]'), ("assistant", "a")],
    ),
    "responses: instructions, calls and their outputs": (
        "openai-responses",
        {"input": "q", "instructions": "be brief", "tools": [TOOL],
         "output": [{"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "1", "output": "x"},
                    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}]},
        [("user", "q"), ("assistant", ["f"]), ("tool", "x"), ("assistant", "a")],
    ),
    "mcpflow-simple: a response of MCP parts as text": (
        "mcpflow-simple",
        {"instruction": "q", "tool_info": {"tool_name": "f"}, "function_call": CALL,
         "tool_response": {"content": '[{"type": "text", "text": "x"}]'}, "final_response": "a"},
        [("user", "q"), ("assistant", ["f"]), ("tool", "x"), ("assistant", "a")],
    ),
    "mcpflow-simple: a response that only looks like parts": (
        "mcpflow-simple",
        {"instruction": "q", "tool_info": {"tool_name": "f"}, "function_call": CALL,
         "tool_response": {"content": "[not JSON"}, "final_response": "a"},
        [("user", "q"), ("assistant", ["f"]), ("tool", "[not JSON"), ("assistant", "a")],
    ),
    "mcpflow-simple: without a response": (
        "mcpflow-simple",
        {"instruction": "q", "tool_info": {"tool_name": "f"}, "function_call": CALL},
        [("user", "q"), ("assistant", ["f"])],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
def test_odd_rows_become_the_right_turns(case):
    name, record, expected = TAKEN[case]
    assert turns(name, record) == expected


def test_bfcl_takes_the_first_accepted_value_of_each_argument():
    conversation, _ = convert(*TAKEN["an accepted argument that may be left out is"][:2])
    assert conversation.messages[-1].calls[0].arguments == {"b": 2, "c": {"d": 4}, "g": [5], "h": 6}


@pytest.mark.parametrize("place", ["q.possible_answer.jsonl", "possible_answer/q.jsonl", None])
def test_bfcl_answers_are_found_beside_or_below(tmp_path, place):
    rows = [{"id": "a", "question": [[ASK]], "function": [TOOL]}, {"id": "b", "question": [[ASK]], "function": []}]
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n\n" for row in rows) + "{broken\n", encoding="utf-8")
    if place:
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text('{"id": "a", "ground_truth": [{"f": {}}]}\nno JSON\n', encoding="utf-8")
    records = list(FORMATS["bfcl"].read(path, ConvertOptions()))
    assert [(record.row, record.line) for record in records] == [(1, 1), (2, 3), (3, 5)]
    assert ("ground_truth" in records[0].value) is (place is not None)
    assert isinstance(records[1].value, Reject) is (place is not None)
    assert records[2].value.rule == "not-json"


TRAJECTORY = [ASK, {"role": "assistant", "content": "", "tool_calls": {"function": CALL}}]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (json.dumps([TRAJECTORY, TRAJECTORY]), [(1, 1), (2, 1)]),
        (json.dumps([TRAJECTORY, TRAJECTORY], indent=1), [(1, 2), (2, 18)]),
        (json.dumps({"messages": TRAJECTORY}), [(1, 1)]),
        (json.dumps({"messages": TRAJECTORY}, indent=2), [(1, 1)]),
        (json.dumps(TRAJECTORY), [(1, 1)]),
        (json.dumps(TRAJECTORY, indent=2), [(1, 1)]),
        ("\ufeff" + json.dumps([TRAJECTORY]), [(1, 1)]),
        (f"{json.dumps({'messages': TRAJECTORY})}\n\n{json.dumps(TRAJECTORY)}\n{{broken", [(1, 1), (2, 3), (3, 4)]),
    ],
)
def test_trajectories_stand_in_a_list_or_in_lines(tmp_path, text, found):
    path = tmp_path / "t.json"
    path.write_text(text, encoding="utf-8")
    known = FORMATS["mcpflow-trajectories"]
    assert known.sniff(text)
    records = list(known.read(path, ConvertOptions()))
    assert [(record.row, record.line) for record in records] == found
    assert records[0].value == {"messages": TRAJECTORY}


@pytest.mark.parametrize("text", ["", '{"messages": [\n', "plain words\n"])
def test_a_trajectories_file_that_is_no_json(tmp_path, text):
    path = tmp_path / "t.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="is not JSON"):
        list(FORMATS["mcpflow-trajectories"].read(path, ConvertOptions()))


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _mutate(record, path, value):
    """A copy of a record with the value at a path (indices, taken round) replaced."""
    if not path or not isinstance(record, dict | list) or not record:
        return value
    keys = list(record) if isinstance(record, dict) else range(len(record))
    key = keys[path[0] % len(keys)]
    changed = dict(record) if isinstance(record, dict) else list(record)
    changed[key] = _mutate(record[key], path[1:], value)
    return changed


def outcome(name, record):
    """The rule by which a record is rejected, or "converted"."""
    try:
        conversation, _ = convert(name, record)
    except Reject as rejected:
        return rejected.rule
    return "converted" if conversation.messages else "empty"


UNHASHABLE = {"type": ["text"], "text": "a"}


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_type_that_is_a_list_is_no_crash(name):
    for turn in ({"role": "user", "content": [UNHASHABLE]}, {"role": "assistant", "content": [UNHASHABLE]}):
        for record in ({"messages": [ASK, turn]}, {"input": [UNHASHABLE], "output": [UNHASHABLE]}):
            evidence = FORMATS[name].evidence(record)
            assert evidence is None or evidence
            assert outcome(name, record) in {"converted", *RULES}


@pytest.mark.parametrize("name", sorted(FORMATS))
@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), ANY_JSON)
def test_a_broken_example_is_converted_or_rejected_and_never_crashes(name, path, value):
    record = _mutate(json.loads(FORMATS[name].example), path, value)
    evidence = FORMATS[name].evidence(record)
    assert evidence is None or isinstance(evidence, str)
    assert outcome(name, record) in {"converted", *RULES}


@pytest.mark.parametrize(
    ("parameters", "rule"),
    [
        ('{"type": "object", "properties": {"a": {"type": "string"}, "a": {"type": "integer"}}}', "duplicate-key"),
        ('{"type": "object", "properties": {}, "properties": {"a": {"type": "string"}}}', "duplicate-key"),
        ('{"type": "object", "properties": {"a": {"maximum": Infinity}}}', "not-json"),
    ],
)
@pytest.mark.parametrize("name", ["glaive", "toolace"])
def test_a_function_in_a_system_text_loses_nothing_in_silence(name, parameters, rule):
    function = f'{{"name": "get_weather", "description": "d", "parameters": {parameters}}}'
    if name == "glaive":
        row = {"system": f"SYSTEM: Use these functions:\n{function}", "chat": "USER: Rome?\n\n\nASSISTANT: Dry.\n"}
    else:
        turns = [{"from": "user", "value": "Rome?"}, {"from": "assistant", "value": "[get_weather(a=1)]"}]
        row = {"system": f"Functions in JSON format:\n[{function}]", "conversations": turns}
    with pytest.raises(Reject) as caught:
        FORMATS[name].convert(row, ConvertOptions(), RowNotes())
    assert caught.value.rule == rule
