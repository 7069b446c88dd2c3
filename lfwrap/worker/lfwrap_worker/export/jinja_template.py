"""A template of the engine's as a Jinja chat template; used by workers.

Other runtimes (transformers, vLLM, llama.cpp) prompt a model through the Jinja text that lies beside it. The engine
writes one too, but only where the base has none, without tools, and for few templates. This one is put together from
the template's slots and from what `tool_shapes` learns about its tools. Whether it says what the engine says is not
taken for granted: `chat_template` renders conversations through both.
"""

from __future__ import annotations

import re
from typing import Any

from llamafactory.data.template import Llama2Template, ReasoningTemplate

from lfwrap_worker.export.tool_shapes import (
    ALL_NAMES,
    ARGUMENTS,
    DATE,
    DATE_FORMAT,
    NAME,
    CallsShape,
    ToolsShape,
    learn_calls,
    learn_tools,
)

_PLACE = re.compile(r"(\{\{(?:content|idx)\}\})")
_RESULTS_JOINT = "\n</tool_response>\n<tool_response>\n"
_IS_AFTER_RESULT = "loop.previtem is defined and loop.previtem['role'] == 'tool'"
_FUNCTION = "(tool['function'] if tool['type'] == 'function' else tool)"
_WRAPPED = "(tool if tool['type'] == 'function' else {'type': 'function', 'function': tool})"

_SPLIT_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] %}"
    "{% set loop_messages = messages[1:] %}{% else %}{% set system_message = '' %}"
    "{% set loop_messages = messages %}{% endif %}"
)


def quote(text: str) -> str:
    """A Jinja string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def say(text: str) -> str:
    """A statement that writes fixed text; nothing for no text."""
    return f"{{{{ {quote(text)} }}}}" if text else ""


def emit(slots: list[Any], tokenizer: Any, content: str) -> str:
    """Statements that write a slot list; ``content`` is the statements that stand for its content."""
    written = []
    for slot in slots:
        if isinstance(slot, dict):
            written.append(say(slot["token"]))
        elif isinstance(slot, set):
            token = tokenizer.bos_token if "bos_token" in slot else tokenizer.eos_token
            written.append(say(token or ""))
        else:
            for piece in _PLACE.split(slot):
                index = "{{ (loop.index0 // 2) }}"
                written.append({"{{content}}": content, "{{idx}}": index}.get(piece) or say(piece))
    return "".join(written)


def _fill(text: str, values: dict[str, str]) -> str:
    """Statements that write a learnt text, expressions in the place of its marks."""
    pieces = re.split("(" + "|".join(map(re.escape, values)) + ")", text)
    return "".join(f"{{{{ {values[piece]} }}}}" if piece in values else say(piece) for piece in pieces)


def tools_statements(shape: ToolsShape) -> str:
    """Statements that write the tools' part of the system prompt."""
    if shape.listed:
        return _listed_statements(shape)
    values = {NAME: f"{_FUNCTION}['name']", DATE: f"strftime_now({quote(DATE_FORMAT)})"}
    indent = f"(indent={shape.indent})" if shape.indent else ""
    one = f"{{{{ {_WRAPPED if shape.wrapped else _FUNCTION} | tojson{indent} }}}}"
    first, other = _fill(shape.before, values), _fill(shape.between, values)
    return (
        f"{{% for tool in tools %}}{{% if loop.first %}}{first}{{% else %}}{other}{{% endif %}}{one}{{% endfor %}}"
        + _fill(shape.after, values)
    )


def _listed_statements(shape: ToolsShape) -> str:
    names = (
        "{% for tool in tools %}{{ " + _FUNCTION + "['name'] }}{% if not loop.last %}{{ ', ' }}{% endif %}{% endfor %}"
    )
    before, after = shape.after.split(ALL_NAMES)
    return (
        say(shape.before)
        + "{% for tool in tools %}{% set function = "
        + _FUNCTION
        + " %}{{ '> Tool Name: ' + function['name'] + '\\nTool Description: ' }}"
        "{% if function['description'] %}{{ function['description'] }}{% endif %}{{ '\\nTool Args:\\n' }}"
        "{% for name, param in function['parameters']['properties'].items() %}"
        "{{ '  - ' + name + ' (' }}{% if param['type'] %}{{ param['type'] }}{% endif %}"
        "{% if name in (function['parameters']['required'] or []) %}{{ ', required' }}{% endif %}{{ '): ' }}"
        "{% if param['description'] %}{{ param['description'] }}{% endif %}"
        "{% if param['enum'] %}{{ ', should be one of [' + (param['enum'] | join(', ')) + ']' }}{% endif %}"
        "{% if 'items' in param %}{{ ', where each item should be ' }}"
        "{% if param['items']['type'] %}{{ param['items']['type'] }}{% endif %}{% endif %}{{ '\\n' }}{% endfor %}"
        "{{ '\\n' }}{% endfor %}" + say(before) + names + say(after)
    )


def calls_statements(shape: CallsShape) -> str:
    """Statements that write the calls of ``message['tool_calls']``."""
    arguments = "(call['arguments'] if call['arguments'] is string else (call['arguments'] | tojson))"
    values = {NAME: "call['name']", ARGUMENTS: arguments}
    loop = (
        "{% for item in message['tool_calls'] %}"
        "{% set call = item['function'] if item['function'] is defined else item %}"
    )
    one = f"{loop}{_fill(shape.one, values)}{{% endfor %}}"
    if shape.first is None or shape.other is None or shape.last is None:
        return one
    first, other = _fill(shape.first, values), _fill(shape.other, values)
    several = (
        f"{loop}{{% if loop.first %}}{first}{{% else %}}{other}{{% endif %}}{{% endfor %}}{_fill(shape.last, values)}"
    )
    return f"{{% if message['tool_calls'] | length == 1 %}}{one}{{% else %}}{several}{{% endif %}}"


def build(template: Any, tokenizer: Any, between: str = "") -> str:
    """The chat template: prefix, system prompt with tools, then the turns.

    Args:
        template: the engine's.
        tokenizer: the model's.
        between: what stands between a result and a user's words right after it; empty where that is not known.
    """
    tools, calls = learn_tools(template.format_tools), learn_calls(template.format_function)
    system_content = "{{ system_message }}"
    if tools:
        system_content += "{% if tools %}" + tools_statements(tools) + "{% endif %}"
    opened = "system_message or tools" if tools else "system_message"
    system = f"{{% if {opened} %}}{emit(template.format_system.slots, tokenizer, system_content)}{{% endif %}}"
    fused = isinstance(template, Llama2Template)
    content = "{{ content }}"
    user_content = f"{{% if loop.first %}}{system}{{% endif %}}{content}" if fused else content
    return "".join(
        (
            emit(template.format_prefix.slots, tokenizer, ""),
            _SPLIT_SYSTEM,
            f"{{% set system_message = system_message or {quote(template.default_system or '')} %}}",
            "" if fused else system,
            "{% for message in loop_messages %}{% set content = message['content'] or '' %}",
            "{% if message['role'] == 'user' %}",
            _user(template, tokenizer, user_content, between),
            "{% elif message['role'] == 'assistant' %}",
            _assistant(template, tokenizer, calls),
            "{% elif message['role'] == 'tool' %}",
            _observation(template, tokenizer, between),
            "{% endif %}{% endfor %}",
            _opening_thought(template),
        )
    )


def _assistant(template: Any, tokenizer: Any, calls: CallsShape | None) -> str:
    plain = _without_thought(template) + emit(template.format_assistant.slots, tokenizer, "{{ content }}")
    if calls is None:
        return plain
    spoken = emit(template.format_function.slots, tokenizer, "{{ content }}" + calls_statements(calls))
    return f"{{% if message['tool_calls'] %}}{spoken}{{% else %}}{plain}{{% endif %}}"


def _user(template: Any, tokenizer: Any, content: str, between: str) -> str:
    """A user's turn; right after a result, it goes on in the turn of that."""
    slots = template.format_user.slots
    if not between:
        return emit(slots, tokenizer, content)
    before, after = (emit(part, tokenizer, "") for part in _around(slots))
    return f"{{% if not ({_IS_AFTER_RESULT}) %}}{before}{{% endif %}}{content}{after}"


def _observation(template: Any, tokenizer: Any, between: str) -> str:
    """Results in a row make one turn: joined where the template marks each of them, else one after the other."""
    slots = template.format_observation.slots
    before, after = _around(slots)
    opening, closing = emit(before, tokenizer, ""), emit(after, tokenizer, "")
    if between:
        words_follow = "loop.nextitem is defined and loop.nextitem['role'] == 'user'"
        closing = f"{{% if {words_follow} %}}{say(between)}{{% else %}}{closing}{{% endif %}}"
    if not any(isinstance(slot, str) and "</tool_response>" in slot for slot in slots):
        return f"{opening}{{{{ content }}}}{closing}"
    goes_on = "loop.nextitem is defined and loop.nextitem['role'] == 'tool'"
    return (
        f"{{% if {_IS_AFTER_RESULT} %}}{say(_RESULTS_JOINT)}{{% else %}}{opening}{{% endif %}}"
        f"{{{{ content }}}}{{% if not ({goes_on}) %}}{closing}{{% endif %}}"
    )


def _around(slots: list[Any]) -> tuple[list[Any], list[Any]]:
    """The slots before and after the content."""
    for number, slot in enumerate(slots):
        if isinstance(slot, str) and "{{content}}" in slot:
            head, tail = slot.split("{{content}}", 1)
            return [*slots[:number], head], [tail, *slots[number + 1 :]]
    return list(slots), []


def _without_thought(template: Any) -> str:
    """A thought of an earlier turn is left out, unless the template keeps it."""
    if not isinstance(template, ReasoningTemplate) or template.preserve_thinking:
        return ""
    opening, closing = (quote(word) for word in template.thought_words)
    return (
        f"{{% if {opening} in content and {closing} in content %}}"
        f"{{% set content = (content.split({opening})[0] + content.split({closing})[-1]).lstrip('\\n') %}}{{% endif %}}"
    )


def _opening_thought(template: Any) -> str:
    """An answer of a template that was told not to think begins with an empty thought."""
    if not isinstance(template, ReasoningTemplate) or template.enable_thinking:
        return ""
    return "{% if add_generation_prompt %}" + say(template.add_thought()) + "{% endif %}"
