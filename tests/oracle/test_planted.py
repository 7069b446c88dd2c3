"""A check that can't fail is worthless: each fault that the oracle is for is planted again, and the oracle finds it.

The faults are those of careless readers: fields that say what is trained are not looked at, a JSON result is taken for
MCP's, a log's servers are taken for levels, and so on. What was written is also changed by hand, in every way in which
a row can be wrong.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import meaning_cases as cases
import pytest
from meaning_cases import Case
from oracle_run import run
from second_reader.files import tool_lists
from second_reader.judge import Offer, complaints
from second_reader.reading import rows_of
from second_reader.said import Row
from second_reader.schemas import tool_of
from second_reader.written import Outcome
from test_meaning import judged_case

from lfwrap.data.convert import training_fields, writer_tools
from lfwrap.data.formats import anthropic, openai_chat, sharegpt
from lfwrap.data.formats.mcp_wire import wire_messages, wire_pairs
from lfwrap.data.formats.parts import arguments, exact_json, texts, turns
from lfwrap.data.formats.parts.channels import said_on
from lfwrap.data.readers import blocks, sources
from lfwrap.data.readers.encodings import encoding
from lfwrap.data.readers.json_files import array_block, json_lists
from lfwrap.data.schema.field_meanings import Meaning

Patch = pytest.MonkeyPatch


def _blind(*kinds: Meaning) -> Callable[[Patch], None]:
    """Fields of these meanings are fields like any other."""

    def plant(patch: Patch) -> None:
        for function in ("meaning_of", "meaning_in_turn"):
            known = getattr(training_fields, function)
            patch.setattr(
                training_fields, function, lambda name, known=known: None if known(name) in kinds else known(name)
            )

    return plant


def _channels_are_text(patch: Patch) -> None:
    patch.setattr(openai_chat, "said_on", lambda channel, recipient, text, notes: said_on("final", "", text, notes))


def _first_list_only(patch: Patch) -> None:
    patch.setattr(json_lists, "_of_one_kind", lambda plan, lists: list(lists[:1]))


def _any_content_is_mcp(patch: Patch) -> None:
    def looks(value: Any) -> bool:
        content = value.get("content") if isinstance(value, dict) else None
        return isinstance(content, list) or (isinstance(value, dict) and "structuredContent" in value)

    patch.setattr(texts, "looks_like_mcp_result", looks)
    for module in (openai_chat, anthropic, sharegpt):
        eager = functools.partial(texts.result_text, mcp=True)
        patch.setattr(module, "result_text", lambda *a, eager=eager, mcp=True, **more: eager(*a, **more))


def _last_key_wins(patch: Patch) -> None:
    for module in (arguments, array_block, blocks, exact_json):
        patch.setattr(module, "unique_object", dict)


def _any_number(patch: Patch) -> None:
    patch.setattr(arguments, "refuse_constant", float)
    patch.setattr(exact_json.ExactDecoder, "_constant", lambda _, name: float(name))
    patch.setattr(exact_json.ExactDecoder, "_float", lambda _, text: float(text))
    patch.setattr(writer_tools, "_dump", lambda value: json.dumps(value, ensure_ascii=False))


def _guess_gb18030(patch: Patch) -> None:
    patch.setattr(sources, "decide_encoding", lambda *_: encoding.Decision("gb18030", 1.0))


def _second_tag_is_the_server(patch: Patch) -> None:
    patch.setattr(wire_messages, "name_sessions", lambda said, *_: {tags: tags[-1] if tags else "" for tags in said})


def _cuts_are_text(patch: Patch) -> None:
    patch.setattr(wire_pairs, "find_cut", lambda value: None)


def _any_reply_fits(patch: Patch) -> None:
    patch.setattr(wire_pairs, "_fits", lambda request, message: True)


def _replies_nobody_asked_for_vanish(patch: Patch) -> None:
    patch.setattr(wire_pairs.Pairing, "_unasked", lambda *_: None)


def _results_as_they_come(patch: Patch) -> None:
    def ordered(calls: Any, results: Any, notes: Any) -> Any:
        return [texts_of_call(result, call.name) for call, result in zip(calls, results, strict=False)]

    def texts_of_call(result: Any, name: str) -> Any:
        return turns.dataclasses.replace(result, name=name)

    patch.setattr(turns, "order_results", ordered)


_SWAPPED = Case(
    "results in another order",
    "openai",
    [
        {
            "messages": [
                {"role": "user", "content": "Find both."},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": name, "type": "function", "function": {"name": "find", "arguments": "{}"}}
                        for name in ("c1", "c2")
                    ],
                },
                {"role": "tool", "tool_call_id": "c2", "content": "second"},
                {"role": "tool", "tool_call_id": "c1", "content": "first"},
                {"role": "assistant", "content": "Both are there."},
            ],
            "tools": [{"type": "function", "function": {"name": "find", "description": "", "parameters": {}}}],
        }
    ],
    good=1,
)
PLANTS: dict[str, tuple[Callable[[Patch], None], list[Case]]] = {
    "labels are not looked at": (_blind(Meaning.LABEL), cases.LABELS),
    "better and worse answers are not looked at": (_blind(Meaning.PREFERENCE, Meaning.ANSWER), cases.PREFERENCES),
    "masks and weights are not looked at": (_blind(Meaning.TRAINED), cases.MASKS),
    "media columns are not looked at": (_blind(Meaning.MEDIA), cases.MEDIA),
    "every channel is the answer": (_channels_are_text, cases.CHANNELS),
    "only the first list is read": (_first_list_only, cases.LISTS),
    "any JSON with content is an MCP result": (_any_content_is_mcp, cases.RESULTS),
    "of two equal keys the last one wins": (_last_key_wins, cases.VALUES),
    "NaN and infinity are numbers": (_any_number, cases.VALUES),
    "what is not UTF-8 is GB18030": (_guess_gb18030, cases.ENCODINGS),
    "the second tag of a log is the server": (_second_tag_is_the_server, cases.LOGS),
    "texts that a client cut are texts": (_cuts_are_text, cases.LOGS),
    "any reply fits a call of its id": (_any_reply_fits, cases.LOGS),
    "replies that nobody asked for vanish": (_replies_nobody_asked_for_vanish, cases.LOGS),
    "results are taken as they come": (_results_as_they_come, [_SWAPPED]),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(name: str, tmp_path: Path, monkeypatch: Patch) -> None:
    plant, files = PLANTS[name]
    plant(monkeypatch)
    for number, case in enumerate(files):
        folder = tmp_path / str(number)
        folder.mkdir()
        if judged_case(case, folder):
            return
    pytest.fail("no case of this kind fails")


def test_results_in_another_order_are_right_without_the_fault(tmp_path: Path) -> None:
    assert judged_case(_SWAPPED, tmp_path) == []


# What was written, changed by hand.

MCP = Path(__file__).parents[2] / "data" / "mcp"


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[Row]], Outcome, Offer]:
    """The bundled conversations, a row that can't be used, and one that comes twice."""
    folder = tmp_path_factory.mktemp("planted")
    path = folder / "rows.jsonl"
    lines = (MCP / "conversations.jsonl").read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:40], '{"messages": []}', lines[0]]), encoding="utf-8")
    tools = MCP / "tools.json"
    offer = Offer({name: tool_of(tool) for name, tool in tool_lists([tools]).items()})
    outcome = run([path], folder / "out", "--tools", tools)
    return {str(path): rows_of(path, "openai")}, outcome, offer


def _turn(outcome: Outcome, who: str, wanted: Callable[[str], bool] = bool) -> dict[str, Any]:
    found = (turn for row in outcome.train for turn in row["conversations"] if turn["from"] == who)
    return next(turn for turn in found if wanted(turn["value"]))


def _text(who: str, change: Callable[[str], str], wanted: Callable[[str], bool] = bool) -> Callable[[Outcome], None]:
    def mutate(outcome: Outcome) -> None:
        turn = _turn(outcome, who, wanted)
        turn["value"] = change(turn["value"])

    return mutate


def _call(change: Callable[[Any], Any], wanted: Callable[[Any], bool]) -> Callable[[Outcome], None]:
    def is_wanted(value: str) -> bool:
        return value.startswith("{") and wanted(json.loads(value)["arguments"])

    def changed(value: str) -> str:
        call = json.loads(value)
        return json.dumps({**call, "arguments": change(call["arguments"])}, ensure_ascii=False)

    return _text("function_call", changed, is_wanted)


def _tools(change: Callable[[list[Any]], None]) -> Callable[[Outcome], None]:
    def mutate(outcome: Outcome) -> None:
        row = next(row for row in outcome.train if row["tools"])
        tools = json.loads(row["tools"])
        change(tools)
        row["tools"] = json.dumps(tools, ensure_ascii=False)

    return mutate


def _swapped(value: str) -> str:
    results = json.loads(value)
    results[0]["content"], results[1]["content"] = results[1]["content"], results[0]["content"]
    return json.dumps(results, ensure_ascii=False)


def _is_several(value: str) -> bool:
    return value.startswith('[{"name"') and len(json.loads(value)) > 1


def _first_number(held: dict[str, Any]) -> str:
    return next((key for key, value in held.items() if type(value) is int), "")


def _parameters(tools: list[Any]) -> dict[str, Any]:
    held: dict[str, Any] = next(
        tool["function"]["parameters"] for tool in tools if len(tool["function"]["parameters"]["properties"]) > 1
    )
    return held


def _reversed(held: dict[str, Any]) -> dict[str, Any]:
    return dict(reversed(held.items()))


MUTANTS: dict[str, Callable[[Outcome], None]] = {
    "a text loses white space": _text("gpt", lambda text: text.replace(" ", "", 1)),
    "an answer is cut": _text("gpt", lambda text: text[:-1]),
    "a question gains a line": _text("human", lambda text: text + "\n"),
    "a result is changed": _text("observation", lambda text: text.replace("1", "2", 1), lambda text: "1" in text),
    "two results change places": _text("observation", _swapped, _is_several),
    "a call's keys change places": _call(_reversed, lambda held: len(held) > 1),
    "a call's number becomes text": _call(
        lambda held: {**held, _first_number(held): str(held[_first_number(held)])},
        lambda held: bool(_first_number(held)),
    ),
    "a call's number becomes a fraction": _call(
        lambda held: {**held, _first_number(held): float(held[_first_number(held)])},
        lambda held: bool(_first_number(held)),
    ),
    "a call gains an argument that is null": _call(lambda held: {**held, "unit": None}, bool),
    "a call loses an argument": _call(lambda held: dict(list(held.items())[1:]), bool),
    "an argument is text of JSON": _call(json.dumps, bool),
    "a call is an answer": lambda outcome: _turn(outcome, "function_call").update({"from": "gpt"}),
    "the user is the assistant": lambda outcome: _turn(outcome, "human").update({"from": "gpt"}),
    "a turn is lost": lambda outcome: outcome.train[0]["conversations"].pop(),
    "two turns are lost": lambda outcome: outcome.train[0].update(conversations=outcome.train[0]["conversations"][2:]),
    "a system prompt is made up": lambda outcome: outcome.train[0].update(system="You are helpful."),
    "a tool is lost": _tools(lambda tools: tools.pop()),
    "a tool is offered twice": _tools(lambda tools: tools.append(tools[0])),
    "a description is lost": _tools(lambda tools: tools[0]["function"].update(description="")),
    "a parameter is lost": _tools(lambda tools: _parameters(tools)["properties"].popitem()),
    "parameters change places": _tools(
        lambda tools: _parameters(tools).update(properties=_reversed(_parameters(tools)["properties"]))
    ),
    "nothing is required": _tools(lambda tools: [tool["function"]["parameters"].pop("required", 0) for tool in tools]),
    "a row is lost": lambda outcome: outcome.train.pop(3),
    "a row is written twice": lambda outcome: outcome.train.insert(1, outcome.train[0]),
    "two rows change places": lambda outcome: outcome.train.reverse(),
    "a row is made up": lambda outcome: outcome.train.append(
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "", "tools": ""}
    ),
    "a row has another column": lambda outcome: outcome.train[0].update(images=[]),
    "a reject is not listed": lambda outcome: outcome.rejects.clear(),
    "a reject is of another row": lambda outcome: outcome.rejects[0].update(row=1),
    "a reject is of another line": lambda outcome: outcome.rejects[0].update(line=1),
    "the report counts one row less": lambda outcome: outcome.report.update(rows_in=outcome.report["rows_in"] - 1),
    "the report counts no duplicate": lambda outcome: outcome.report.update(duplicates=0),
    "the report counts a row as left out": lambda outcome: outcome.report.update(left_out={"not sampled": 1}),
}


def test_nothing_is_wrong_with_what_was_written(conversations: Any) -> None:
    read, outcome, offer = conversations
    assert complaints(read, outcome, offer=offer) == []
    assert (len(outcome.train), len(outcome.rejects), outcome.report["duplicates"]) == (40, 1, 1)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_change_of_what_was_written_is_found(name: str, conversations: Any) -> None:
    read, outcome, offer = conversations
    changed = copy.deepcopy(outcome)
    MUTANTS[name](changed)
    assert changed != outcome
    assert complaints(read, changed, offer=offer) != []
