"""glaive-function-calling-v2 (huggingface.co/datasets/glaiveai): one chat text, calls with arguments in quotes."""

from __future__ import annotations

import json
import re
from typing import Any

from second_reader.parts import arguments_of, call_of, result_of
from second_reader.said import Call, Talk, Told, Unclear
from second_reader.schemas import tools_of
from second_reader.values import exact

_MARK = re.compile(r"(?:^|\n)\s*(USER|ASSISTANT|FUNCTION RESPONSE):")
_QUOTED = re.compile(r"\{\s*\"name\"\s*:\s*\"([^\"]+)\"\s*,\s*\"arguments\"\s*:\s*'(.*)'\s*\}\s*$", re.DOTALL)


def told(record: dict[str, Any]) -> Told:
    """A record with a chat; a system text that declares functions is the template's affair."""
    system = (record.get("system") or "").strip().removeprefix("SYSTEM:").strip()
    functions = _objects(system)
    talk = Talk()
    if system and not functions:
        talk.system(system)
    pieces = _MARK.split(record["chat"])
    if pieces[0].strip():
        raise Unclear("text before the first mark")
    for mark, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        said = piece.replace("<|endoftext|>", "").strip() if mark != "USER" else piece.strip()
        if mark == "USER":
            talk.user(said)
        elif mark == "ASSISTANT":
            text, _, call = said.partition("<functioncall>")
            talk.assistant(text.strip(), calls=[("", _call(call.strip()))] if call.strip() else [])
        else:
            talk.result(result_of(said))
    told = talk.told(tools_of(functions))
    return Told(told.turns, (*told.systems, *_kept(system)) if functions else told.systems, told.tools)


def _kept(system: str) -> list[str]:
    """What stands around the functions, which may be kept."""
    pieces, at = [], 0
    while (start := system.find("{", at)) >= 0:
        pieces.append(system[at:start])
        at = json.JSONDecoder().raw_decode(system, start)[1]
    pieces.append(system[at:])
    whole = [piece.strip() for piece in pieces if piece.strip()]
    return [system, "".join(pieces).strip(), "\n".join(whole), "\n\n".join(whole), " ".join(whole)]


def _objects(text: str) -> list[Any]:
    found, at = [], text.find("{")
    while at >= 0:
        try:
            value, at = json.JSONDecoder().raw_decode(text, at)
        except ValueError as error:
            raise Unclear("a function that is no JSON") from error
        found.append(value)
        at = text.find("{", at)
    return found


def _call(text: str) -> Call:
    quoted = _QUOTED.match(text)
    return Call(quoted[1], arguments_of(quoted[2].replace("\\'", "'"))) if quoted else call_of(exact(text))
