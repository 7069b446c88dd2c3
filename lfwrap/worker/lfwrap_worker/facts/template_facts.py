"""What each of the engine's templates can say about tools, found by trying it: prints one JSON object.

`just engine-tables` runs it and keeps what it prints. It needs no model and no tokenizer. For every
template it formats one call, two calls, a call beside text and a call after a thought exactly as the engine does
while training, and reads them back with the engine's own extractor.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import version
from typing import Any

from llamafactory.data.template import TEMPLATES, Llama2Template, ReasoningTemplate
from llamafactory.data.tool_utils import TOOLS

SPECIAL_TOKEN = re.compile(
    r"<\|[^|<>]{1,40}\|>|<｜[^｜<>]{1,40}｜>|\[/?[A-Z_]{3,20}\]|<\[[^\]]{1,40}\]>|</?s>|<[a-z_]+of[a-z_]+>|<\|?tool[a-z_|]*>"
)
CALL = {"name": "get_weather", "arguments": {"city": "北京", "days": 2}}
OTHER = {"name": "get_time", "arguments": {"city": "上海"}}


def dumps(value: Any) -> str:
    """JSON as the data set has it."""
    return json.dumps(value, ensure_ascii=False)


def normal(calls: Any) -> Any:
    """Extracted calls as plain values, or None where the extractor found none."""
    if isinstance(calls, str):
        return None
    return [{"name": name, "arguments": json.loads(arguments)} for name, arguments in calls]


def say(template: Any, content: str) -> str:
    """A function_call turn as the template writes it, without its end tokens. Raises as the engine would."""
    words = (
        {}
        if isinstance(template, Llama2Template)
        else {
            "thought_words": template.thought_words,
            "tool_call_words": template.tool_call_words,
        }
    )
    slots = template.format_function.slots
    try:
        template.format_function.slots = ["{{content}}"]
        return str(template.format_function.apply(content=content, **words)[0])
    finally:
        template.format_function.slots = slots


def verdict(template: Any, content: str, calls: list[Any]) -> str:
    """``read back``, ``unread`` (trained, but the engine finds no such call in it) or ``impossible`` (it crashes)."""
    try:
        text = say(template, content)
    except Exception:  # noqa: BLE001 - any failure there ends the engine's whole load
        return "impossible"
    try:
        return "read back" if normal(template.extract_tool(text)) == calls else "unread"
    except Exception:  # noqa: BLE001
        return "unread"


def observation_style(template: Any) -> str:
    """How several results of one turn go into one observation: ``join``, ``json value`` or ``json array``."""
    slot = "".join(part for part in template.format_observation.slots if isinstance(part, str))
    if "<tool_response>\n{{content}}\n</tool_response>" in slot:
        return "join"
    return "json value" if re.search(r'":\s*\{\{content\}\}', slot) else "json array"


def special_tokens(template: Any) -> list[str]:
    """Everything in the template's slots and stop words that a tokenizer takes for one token."""
    found = set(template.stop_words)
    for name in ("user", "assistant", "system", "function", "observation", "prefix"):
        for slot in getattr(template, f"format_{name}").slots:
            if isinstance(slot, str):
                found.update(SPECIAL_TOKEN.findall(slot))
            elif isinstance(slot, dict) and "token" in slot:
                found.add(slot["token"])
    return sorted(token for token in found if token.strip())


def family(template: Any) -> str:
    """The name of the tool format that writes the template's calls."""
    utils = template.format_function.tool_utils
    return str(next(name for name, known in TOOLS.items() if known is utils))


def describe(template: Any) -> dict[str, Any]:
    """The row of one template in the table."""
    single, text = dumps(CALL), "Let me look."
    thought = template.thought_words[0] + "hm" + template.thought_words[1]
    block = "\n".join([text, template.tool_call_words[0] + single + template.tool_call_words[1]])
    dotted = {"name": "maps-server.find", "arguments": {"q": "x"}}
    figures = {"name": "dial", "arguments": {"number": "5"}}
    plugin = template.mm_plugin
    return {
        "family": family(template),
        "lists_tools": hasattr(template.format_tools, "tool_utils"),
        "observation": observation_style(template),
        "single_call": verdict(template, single, [CALL]),
        "parallel_calls": verdict(template, dumps([CALL, OTHER]), [CALL, OTHER]),
        "text_beside_call": verdict(template, block, [CALL]),
        "thought_beside_call": verdict(template, thought + single, [CALL]),
        "dotted_names": verdict(template, dumps(dotted), [dotted]),
        "text_figures": verdict(template, dumps(figures), [figures]),
        "reasoning": isinstance(template, ReasoningTemplate),
        "thought_words": list(template.thought_words),
        "tool_call_words": list(template.tool_call_words),
        "media": [kind for kind in ("image", "video", "audio") if getattr(plugin, f"{kind}_token", None)],
        "special_tokens": special_tokens(template),
    }


def main() -> None:
    """Print the table, one template a line."""
    rows = (f"  {json.dumps(name)}: {json.dumps(describe(template))}" for name, template in sorted(TEMPLATES.items()))
    engine, templates = json.dumps(version("llamafactory")), ",\n".join(rows)
    sys.stdout.write(f'{{\n "engine": {engine},\n "templates": {{\n{templates}\n }}\n}}\n')
