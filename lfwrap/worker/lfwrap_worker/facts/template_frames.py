"""What each of the engine's templates writes around a row's texts: prints one JSON object.

`just engine-tables` runs it and keeps what it prints. It needs no model and no tokenizer. With it the
tokens of a row are its texts' tokens plus those of the pieces that stand around them.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import version
from typing import Any

from llamafactory.data.template import TEMPLATES, ReasoningTemplate
from llamafactory.data.tool_utils import FunctionCall

PLACEHOLDER = re.compile(r"\{\{[a-z_]+\}\}")
TODAY = re.compile(r"\d{2} [A-Z][a-z]{2} \d{4}")  # some templates write the date
TOOL: dict[str, Any] = {
    "name": "f",
    "description": "d",
    "parameters": {"type": "object", "properties": {}, "required": []},
}


def frame(slots: list[Any]) -> dict[str, Any]:
    """Texts around the content, and how many single tokens (begin, end, special) besides."""
    texts = [piece for slot in slots if isinstance(slot, str) for piece in PLACEHOLDER.split(slot) if piece]
    return {"texts": texts, "tokens": sum(not isinstance(slot, str) for slot in slots)}


def tool_list(template: Any) -> dict[str, Any]:
    """The text around a list of tools, and the characters that each tool takes besides its JSON."""
    utils = getattr(template.format_tools, "tool_utils", None)
    if utils is None:
        return {"texts": [], "each_characters": 0}
    none, one, two = (TODAY.sub("01 Jan 2026", str(utils.tool_formatter([TOOL] * count))) for count in range(3))
    own = len(json.dumps(TOOL, ensure_ascii=False))
    return {"texts": [none], "each_characters": max(0, len(two) - len(one) - own)}


def call_frame(template: Any) -> dict[str, Any]:
    """What stands around a call: its own marks, and the turn's."""
    utils = template.format_function.tool_utils
    written = str(utils.function_formatter([FunctionCall("f", "{}")]))
    found = frame(template.format_function.slots)
    return {**found, "extra_characters": max(0, len(written) - len('{"name": "f", "arguments": {}}'))}


def describe(template: Any) -> dict[str, Any]:
    """The pieces of text of one template."""
    thought = template.add_thought() if isinstance(template, ReasoningTemplate) else ""
    return {
        "prefix": frame(template.format_prefix.slots),
        "system": frame(template.format_system.slots),
        "default_system": template.default_system,
        "user": frame(template.format_user.slots),
        "assistant": frame(template.format_assistant.slots),
        "observation": frame(template.format_observation.slots),
        "call": call_frame(template),
        "tools": tool_list(template),
        "thought": thought,
        "end_tokens": int(template.efficient_eos),
    }


def main() -> None:
    """Print the table, one template a line."""
    rows = (f"  {json.dumps(name)}: {json.dumps(describe(template))}" for name, template in sorted(TEMPLATES.items()))
    engine, templates = json.dumps(version("llamafactory")), ",\n".join(rows)
    sys.stdout.write(f'{{\n "engine": {engine},\n "templates": {{\n{templates}\n }}\n}}\n')
