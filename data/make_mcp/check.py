"""What is promised of every row, and of all of them together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from jsonschema import Draft202012Validator
from rows import Row

_TURNS = {0: {"human", "observation"}, 1: {"gpt", "function_call"}}


def faults_of(row: Row) -> list[str]:
    """What is wrong with a row: its turns, a call that its tools' schemas don't allow, a slot that is left."""
    faults: list[str] = []
    schemas = {tool.name: tool.schema() for tool in row.tools}
    if len(schemas) != len(row.tools):
        faults.append("a tool is offered twice")
    for number, turn in enumerate(row.turns):
        if turn["from"] not in _TURNS[number % 2]:
            faults.append(f"turn {number + 1} is {turn['from']}")
        if turn["from"] == "function_call":
            faults += _call_faults(turn["value"], schemas)
        elif turn["from"] != "observation" and set("{}[]|") & set(turn["value"]):
            faults.append(f"a slot is left: {turn['value']}")
    return faults + (["the last turn is not the assistant's"] if len(row.turns) % 2 else [])


def _call_faults(text: str, schemas: dict[str, dict[str, object]]) -> Iterable[str]:
    value = json.loads(text)
    for call in value if isinstance(value, list) else [value]:
        if call["name"] not in schemas:
            yield f"{call['name']} is not on offer"
            continue
        validator = Draft202012Validator({**schemas[call["name"]], "additionalProperties": False})
        yield from (f"{call['name']}: {error.message}" for error in validator.iter_errors(call["arguments"]))


def check(rows: Sequence[Row]) -> None:
    """Stop at the first rows that break a promise. Raises ValueError."""
    for number, row in enumerate(rows, 1):
        faults = faults_of(row)
        if faults:
            raise ValueError(f"row {number} ({row.kind}): {'; '.join(faults)}\n{row.line()}")
    twice = [line for line, count in Counter(row.line() for row in rows).items() if count > 1]
    if twice:
        raise ValueError(f"a row stands twice: {twice[0]}")
