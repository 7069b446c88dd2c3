"""Conversations written into each layout by a writer of its own, with fields that nobody knows strewn in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from made_talks import EXTRAS, TEXT, VALUE
from second_reader.said import Told, Tool, Turn

Draw = Callable[[Any], Any]
Made = tuple[Told, Any]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _schemas(told: Told, key: str = "parameters") -> list[Any]:
    return [{"name": tool.name, "description": tool.description, key: tool.schema} for tool in told.tools or ()]


def _wrapped(told: Told) -> list[Any]:
    return [{"type": "function", "function": function} for function in _schemas(told)]


def _system(told: Told, message: Callable[[str], Any]) -> list[Any]:
    return [message(told.systems[0])] if told.systems[0] else []


def _arguments(draw: Draw, arguments: str) -> Any:
    """As an object, as text, or as text of text."""
    return draw(st.sampled_from([json.loads(arguments), arguments, _text(arguments)]))


def openai(draw: Draw, told: Told) -> Any:
    """OpenAI's chat; results in any order, content in parts, thoughts in a field."""
    messages: list[Any] = _system(
        told, lambda text: {"role": draw(st.sampled_from(["system", "developer"])), "content": text}
    )
    for place, turn in enumerate(told.turns):
        if turn.who == "results":
            results = list(enumerate(turn.results))
            for number, result in draw(st.permutations(results)):
                messages.append({"role": "tool", "tool_call_id": f"c{place - 1}-{number}", "content": result.texts[0]})
        elif turn.who == "user":
            messages.append({"role": "user", "content": _parts(draw, turn.text)})
        else:
            messages.append(_openai_assistant(draw, turn, place))
    messages = [{**message, **draw(EXTRAS)} for message in messages]
    record = {"messages": messages, **draw(EXTRAS)}
    return {**record, "tools": _wrapped(told)} if told.tools else record


def _parts(draw: Draw, text: str) -> Any:
    cut = draw(st.integers(-1, -1))
    return text if cut < 0 else [{"type": "text", "text": text[:cut]}, {"type": "text", "text": text[cut:]}]


def _openai_assistant(draw: Draw, turn: Turn, place: int) -> Any:
    message: dict[str, Any] = {"role": "assistant", "content": turn.text or (None if turn.calls else "")}
    if turn.thought:
        message["reasoning_content"] = turn.thought
    if turn.calls:
        message["tool_calls"] = [
            {
                "id": f"c{place}-{number}",
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(draw, call.arguments)},
            }
            for number, call in enumerate(turn.calls)
        ]
    return message


def anthropic(draw: Draw, told: Told) -> Any:
    """Anthropic's messages; always with tools, by which they are known."""
    messages: list[Any] = []
    for place, turn in enumerate(told.turns):
        if turn.who == "user":
            messages.append({"role": "user", "content": turn.text})
        elif turn.who == "results":
            blocks = [
                {
                    "type": "tool_result",
                    "tool_use_id": f"c{place - 1}-{number}",
                    "content": draw(st.sampled_from([result.texts[0], [{"type": "text", "text": result.texts[0]}]])),
                }
                for number, result in enumerate(turn.results)
            ]
            messages.append({"role": "user", "content": draw(st.permutations(blocks))})
        else:
            blocks = [{"type": "thinking", "thinking": turn.thought, "signature": "s"}] if turn.thought else []
            blocks += [{"type": "text", "text": turn.text}] if turn.text else []
            blocks += [
                {"type": "tool_use", "id": f"c{place}-{number}", "name": call.name, "input": json.loads(call.arguments)}
                for number, call in enumerate(turn.calls)
            ]
            messages.append({"role": "assistant", "content": blocks})
    record = {"messages": messages, "tools": _schemas(told, "input_schema"), **draw(EXTRAS)}
    return {"system": told.systems[0], **record} if told.systems[0] else record


def openai_responses(draw: Draw, told: Told) -> Any:
    """Responses items: input up to the first answer, then output."""
    items: list[Any] = []
    asked = 0
    for place, turn in enumerate(told.turns):
        if turn.who == "user":
            items.append({"type": "message", "role": "user", "content": [{"type": "input_text", "text": turn.text}]})
        elif turn.who == "results":
            items += [
                {"type": "function_call_output", "call_id": f"c{place - 1}-{number}", "output": result.texts[0]}
                for number, result in enumerate(turn.results)
            ]
        else:
            asked = asked or len(items)
            if turn.thought:
                items.append({"type": "reasoning", "summary": [{"type": "summary_text", "text": turn.thought}]})
            if turn.text:
                items.append(
                    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": turn.text}]}
                )
            items += [
                {
                    "type": "function_call",
                    "call_id": f"c{place}-{number}",
                    "name": call.name,
                    "arguments": call.arguments,
                }
                for number, call in enumerate(turn.calls)
            ]
    tools = [{"type": "function", **function} for function in _schemas(told)]
    record = {"input": items[:asked], "tools": tools, "output": items[asked:], **draw(EXTRAS)}
    return {"instructions": told.systems[0], **record} if told.systems[0] else record


def sharegpt(draw: Draw, told: Told) -> Any:
    """from/value turns as LLaMA-Factory has them."""
    names = draw(st.sampled_from([("human", "gpt"), ("user", "assistant")]))
    turns: list[Any] = []
    for turn in told.turns:
        thought = f"<think>\n{turn.thought}\n</think>\n\n" if turn.thought else ""
        if turn.who == "user":
            turns.append({"from": names[0], "value": turn.text})
        elif turn.who == "results":
            listed = [{"name": result.name, "content": result.texts[0]} for result in turn.results]
            turns.append({"from": "observation", "value": listed[0]["content"] if len(listed) == 1 else _text(listed)})
        elif turn.calls:
            calls = [{"name": call.name, "arguments": json.loads(call.arguments)} for call in turn.calls]
            turns.append({"from": "function_call", "value": thought + _text(calls[0] if len(calls) == 1 else calls)})
        else:
            turns.append({"from": names[1], "value": thought + turn.text})
    in_column = draw(st.booleans())
    record = {
        "conversations": ([] if in_column else _system(told, lambda text: {"from": "system", "value": text})) + turns
    }
    record |= {"system": told.systems[0]} if in_column else {}
    record |= {"tools": _text(_schemas(told))} if told.tools else {}
    return {**record, **draw(EXTRAS)}


def toucan_teacher(draw: Draw, told: Told) -> Any:
    """Text columns; each call is a message of its own with the legacy function_call."""
    messages: list[Any] = _system(told, lambda text: {"role": "system", "content": text})
    for turn in told.turns:
        if turn.who == "results":
            messages += [
                {"role": "function", "name": result.name, "content": result.texts[0]} for result in turn.results
            ]
        elif turn.who == "user" or not turn.calls:
            messages.append({"role": turn.who, "content": turn.text})
        else:
            messages += [{"role": "assistant", "content": turn.text}] if turn.text else []
            messages += [
                {"role": "assistant", "content": "", "function_call": {"name": call.name, "arguments": call.arguments}}
                for call in turn.calls
            ]
    return {
        "uuid": draw(TEXT),
        "question": draw(TEXT),
        "available_tools": _text(_wrapped(told)),
        "messages": _text(messages),
    }


def toucan_sft(draw: Draw, told: Told) -> Any:
    """The SFT set: calls are Python dicts."""
    messages: list[Any] = _system(told, lambda text: {"role": "system", "content": text})
    for turn in told.turns:
        if turn.who == "results":
            messages += [{"role": "tool_response", "content": result.texts[0]} for result in turn.results]
        elif turn.calls:
            for call in turn.calls:
                held = draw(st.sampled_from([call.arguments, json.loads(call.arguments)]))
                messages.append({"role": "tool_call", "content": repr({"name": call.name, "arguments": held})})
        else:
            messages.append({"role": turn.who, "content": turn.text})
    return {"uuid": draw(TEXT), "tools": _text(_wrapped(told)), "messages": _text(messages), **draw(EXTRAS)}


def trajectories(draw: Draw, told: Told) -> Any:
    """MCP-Flow's trajectories: tool_calls is one object, results are MCP's as JSON text."""
    messages: list[Any] = _system(told, lambda text: {"role": "system", "content": text})
    for place, turn in enumerate(told.turns):
        if turn.who == "results":
            result = {"content": [{"type": "text", "text": turn.results[0].texts[0]}], "isError": False}
            messages.append(
                {"role": "tool", "name": turn.results[0].name, "tool_call_id": place, "content": _text(result)}
            )
        elif turn.calls:
            call = {"name": turn.calls[0].name, "arguments": json.loads(turn.calls[0].arguments)}
            messages.append(
                {"role": "assistant", "content": turn.text, "tool_calls": {"type": "function", "function": call}}
            )
        else:
            messages.append({"role": turn.who, "content": turn.text})
    return {"messages": messages, "tools": _wrapped(told), **draw(EXTRAS)}


def xlam(draw: Draw, told: Told) -> Any:
    """xLAM: everything as text."""
    calls = [{"name": call.name, "arguments": json.loads(call.arguments)} for call in told.turns[1].calls]
    return {
        "id": draw(st.integers()),
        "query": told.turns[0].text,
        "answers": _text(calls),
        "tools": _text(_schemas(told)),
    }


def expected_calls(draw: Draw, told: Told) -> Any:
    """NeMo-Gym: a request with the calls that are expected."""
    calls = [{"name": call.name, "arguments": _arguments(draw, call.arguments)} for call in told.turns[1].calls]
    tools = [{"type": "function", **function} for function in _schemas(told)]
    request = {"input": [{"role": "user", "content": told.turns[0].text}], "tools": tools}
    return {"id": draw(st.integers()), "responses_create_params": request, "expected_answers": calls, **draw(EXTRAS)}


def bfcl(draw: Draw, told: Told) -> Any:
    """BFCL: each argument with the values that are accepted."""
    truth = [
        {
            call.name: {
                key: [_accepted(value), *draw(st.lists(VALUE, max_size=1))]
                for key, value in json.loads(call.arguments).items()
            }
        }
        for call in told.turns[1].calls
    ]
    question = [[{"role": "user", "content": told.turns[0].text}]]
    return {
        "id": f"case_{draw(st.integers(0, 999))}",
        "question": question,
        "function": _schemas(told),
        "ground_truth": truth,
    }


def _accepted(value: Any) -> Any:
    """An accepted value: objects list what is accepted for each of their fields."""
    if isinstance(value, dict):
        return {key: [_accepted(held)] for key, held in value.items()}
    return [_accepted(held) for held in value] if isinstance(value, list) else value


def simple(draw: Draw, told: Told) -> Any:
    """mcp-flow-simple."""
    tool: Tool = (told.tools or ())[0]
    call = told.turns[1].calls[0]
    record = {
        "instruction": told.turns[0].text,
        "server_info": {"server_name": draw(TEXT)},
        "tool_info": {"tool_name": tool.name, "tool_description": tool.description, "input_schema": tool.schema},
        "function_call": {"name": call.name, "arguments": json.loads(call.arguments)},
    }
    if len(told.turns) > 2:
        record["tool_response"] = {"content": told.turns[2].results[0].texts[0]}
        record["final_response"] = told.turns[3].text
    return {**record, **draw(EXTRAS)}


def glaive(draw: Draw, told: Told) -> Any:
    """glaive-function-calling-v2."""
    system = "SYSTEM: Use them if required -\n" + "\n\n".join(_text(function) for function in _schemas(told))
    system = system if told.tools else f"SYSTEM: {told.systems[0]}"
    chat = ""
    for turn in told.turns:
        if turn.who == "user":
            chat += f"USER: {turn.text}\n\n\n"
        elif turn.who == "results":
            chat += f"FUNCTION RESPONSE: {turn.results[0].texts[0]}\n\n\n"
        elif turn.calls:
            quoted = turn.calls[0].arguments.replace("'", "\\'")
            call = f'{{"name": "{turn.calls[0].name}", "arguments": \'{quoted}\'}}'
            chat += f"ASSISTANT: {turn.text}{' ' if turn.text else ''}<functioncall> {call} <|endoftext|>\n\n\n"
        else:
            chat += f"ASSISTANT: {turn.text} <|endoftext|>\n\n\n"
    return {"system": system, "chat": chat}


def toolace(draw: Draw, told: Told) -> Any:
    """ToolACE: calls in brackets, values as Python or JSON writes them."""
    turns: list[Any] = []
    for turn in told.turns:
        if turn.who == "results":
            listed = [{"name": result.name, "results": result.texts[0]} for result in turn.results]
            turns.append({"from": "tool", "value": _text(listed)})
        elif turn.calls:
            spell = draw(st.sampled_from([repr, _text]))
            calls = [
                f"{call.name}({', '.join(f'{key}={spell(held)}' for key, held in json.loads(call.arguments).items())})"
                for call in turn.calls
            ]
            turns.append({"from": "assistant", "value": f"[{', '.join(calls)}]"})
        else:
            turns.append({"from": turn.who, "value": turn.text})
    return {"system": f"Functions: {_text(_schemas(told))}. ", "conversations": turns}
