"""Logs of MCP sessions (modelcontextprotocol.io/specification, every version) joined with what the user asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from second_reader.doubts import doubts_of
from second_reader.layouts.mcp_lines import is_broken, messages
from second_reader.parts import arguments_of, failed, is_mcp, mcp_text
from second_reader.said import Call, Row, Talk, Told, Unclear
from second_reader.schemas import tools_of
from second_reader.values import flaw, parsed, spelled

_CUT = re.compile(r"\[\d+ (?:chars|characters|bytes) truncated\]")
_ANSWERS = ("final_response", "output", "answer", "response")


@dataclass
class _Made:
    session: str
    request_id: str
    name: str
    arguments: Any
    line: int
    answered: int = 0
    reply: Any = None


def rows(log: str, instructions: str) -> list[Row]:
    """One row for each instruction, then one for each call that no instruction claims."""
    made, tools, lost = _read(log)
    left, found = list(made), []
    for raw in instructions.split("\n"):
        if not raw.strip():
            continue
        asked = parsed(raw)
        calls = _claimed(asked, left)
        left = [call for call in left if call not in calls]
        line = calls[0].line if calls else None
        found.append(_row((len(found) + 1, line), asked, calls, tools))
    for call in left:
        found.append(Row(len(found) + 1, call.line, None, doubts=["nobody asked"]))
    for line in lost:
        found.append(Row(len(found) + 1, line, None, doubts=["a message that can't be read, or answers nothing"]))
    return found


def _row(place: tuple[int, int | None], asked: Any, calls: list[_Made], tools: dict[str, Any]) -> Row:
    if not calls:
        return Row(*place, None, doubts=["it claims calls that are not there"])
    try:
        told = _told(asked, calls, tools)
    except Unclear as unclear:
        return Row(*place, None, doubts=[str(unclear)])
    source = [asked, tools, [[call.name, call.arguments, call.reply] for call in calls]]
    return Row(*place, told, doubts=doubts_of(told), source=source)


def _read(log: str) -> tuple[list[_Made], dict[str, Any], list[int]]:
    made: list[_Made] = []
    lost: list[int] = []
    tools: dict[str, Any] = {}
    pending: dict[tuple[str, str], list[tuple[str, Any, Any]]] = {}
    for number, line in enumerate(log.split("\n"), 1):
        if is_broken(line):
            lost.append(number)
        for session, sender, body in messages(line):
            key = (session, str(body.get("id")))
            if "method" in body and "id" in body:
                call = None
                if body["method"] == "tools/call":
                    params = body.get("params") or {}
                    call = _Made(session, key[1], str(params.get("name")), params.get("arguments"), number)
                    made.append(call)
                pending.setdefault(key, []).append((sender, body, call))
            elif "id" in body and ("result" in body or "error" in body):
                waiting = [one for one in pending.get(key, []) if not sender or one[0] != sender]
                if not waiting and "content" in (body.get("result") or {}):
                    lost.append(number)
                elif waiting:
                    pending[key].remove(waiting[0])
                    _note(waiting[0], body, number, tools, session)
    return made, tools, lost


def _note(request: tuple[str, Any, Any], body: Any, number: int, tools: dict[str, Any], session: str) -> None:
    _, asked, call = request
    if call is not None:
        call.answered, call.reply = number, body
    elif asked["method"] == "tools/list" and isinstance(body.get("result"), dict):
        known = tools.get(session, []) if (asked.get("params") or {}).get("cursor") else []
        tools[session] = known + body["result"].get("tools", [])


def _claimed(asked: Any, left: list[_Made]) -> list[_Made]:
    mine = [call for call in left if asked.get("session") in (None, "", call.session)]
    ids = asked.get("ids", asked.get("id"))
    if ids is None or ids == []:
        return mine[:1]
    wanted = [str(one) for one in (ids if isinstance(ids, list) else [ids])]
    found = [next((call for call in mine if call.request_id == one), None) for one in wanted]
    return [call for call in mine if call in found] if None not in found else []


def _told(asked: Any, calls: list[_Made], tools: dict[str, Any]) -> Told:
    talk = Talk()
    talk.user(asked["instruction"])
    if any(flaw([call.arguments, call.reply]) for call in calls):
        raise Unclear("a value that JSON has not, or a key twice")
    if any(_CUT.search(spelled([call.arguments, call.reply])) for call in calls):
        raise Unclear("cut by the client that wrote the log")
    answer = next((asked[key] for key in _ANSWERS if isinstance(asked.get(key), str)), "")
    steps = _steps(calls)
    for step in steps:
        if all(call.reply is None for call in step) and (answer or step is not steps[-1]):
            raise Unclear("a call without a result, and something follows")
        talk.assistant(
            calls=[
                (f"{call.session}/{call.request_id}", Call(call.name, arguments_of(call.arguments))) for call in step
            ]
        )
        for call in step:
            if call.reply is not None:
                talk.result(_result(call.reply), f"{call.session}/{call.request_id}", call.name)
    if answer:
        talk.assistant(answer)
    sessions = dict.fromkeys(call.session for call in calls)
    return talk.told(tools_of([tool for session in sessions for tool in tools.get(session, [])]))


def _steps(calls: list[_Made]) -> list[list[_Made]]:
    """Calls that overlap in time are made in one turn."""
    steps: list[list[_Made]] = []
    until = -1
    for call in sorted(calls, key=lambda one: one.line):
        if steps and call.line < until:
            steps[-1].append(call)
        else:
            steps.append([call])
            until = -1
        until = max(until, call.answered or call.line)
    return steps


def _result(reply: Any) -> tuple[str, ...]:
    if "error" in reply:
        return failed(str(reply["error"].get("message", reply["error"])))
    if not is_mcp({key: value for key, value in reply["result"].items() if key in ("content", "structuredContent")}):
        raise Unclear("a reply that is no result")
    return mcp_text(reply["result"])
