"""Alpaca: instruction, input, output, system and history, under the names that people give them; also tables."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

from second_reader.said import Talk, Told, Unclear
from second_reader.values import spelled

NAMES = {
    "instruction": "instruction prompt question query ask user_prompt 指令 问题 提问",
    "input": "input context 输入 上下文",
    "output": "output response answer completion reply ai_prompt 输出 答案 回答 回复",
    "system": "system system_prompt 系统提示",
    "history": "history 历史",
}


def told(record: dict[str, Any], columns: dict[str, str] | None = None) -> Told:
    """A record with an instruction; ``columns`` are field → column where the user says so."""
    found = dict(columns or {})
    for column in record:
        name = unicodedata.normalize("NFKC", column).strip().lower()
        for field, names in NAMES.items():
            if name in names.split() and field not in (columns or {}) and column not in found.values():
                if field in found:
                    raise Unclear(f"two columns for the {field}")
                found[field] = column
    texts = {field: _text(record[column]) for field, column in found.items() if field != "history"}
    talk = Talk()
    for question, answer in _pairs(record[found["history"]]) if "history" in found else ():
        talk.user(_text(question))
        talk.assistant(_text(answer))
    asked = [texts[field] for field in ("instruction", "input") if texts.get(field)]
    talk.user("\n".join(asked))
    talk.assistant(texts.get("output", ""))
    if not texts.get("output", "").strip():
        raise Unclear("no answer")
    return talk.told((), texts.get("system", ""))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, dict | list):
        raise Unclear("a field that is no text")
    return spelled(value)


def _pairs(value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except ValueError as error:
            raise Unclear("a history that is no list") from error
    value = [] if value is None or (isinstance(value, float) and math.isnan(value)) else value
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise Unclear("a history that is no list of pairs")
    if not all(_text(part).strip() for pair in value for part in pair):
        raise Unclear("an empty turn in the history")
    return value
