"""A template of the engine's as Ollama's Go template; used by workers.

The engine's own has no tools. Ollama reads from the template whether a model has any (``.Tools``) and how it writes
calls (``.ToolCalls``); it writes JSON without spaces, so tool definitions are tokenised a little otherwise than in
training.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from llamafactory.data.template import Llama2Template

from lfwrap_worker.export.tool_shapes import (
    ARGUMENTS,
    DATE,
    NAME,
    CallsShape,
    ToolsShape,
    learn_calls,
    learn_tools,
)


class OllamaTemplate(NamedTuple):
    """The Go template, and whether it can say tools."""

    text: str
    has_tools: bool


def emit(slots: list[Any], tokenizer: Any, content: str) -> str:
    """A slot list as Go template text."""
    written = []
    for slot in slots:
        if isinstance(slot, dict):
            written.append(slot["token"])
        elif isinstance(slot, set):
            written.append((tokenizer.bos_token if "bos_token" in slot else tokenizer.eos_token) or "")
        else:
            written.append(slot.replace("{{content}}", content).replace("{{idx}}", "{{ $index }}"))
    return "".join(written)


def tools_text(shape: ToolsShape) -> str:
    """The tools' part of the system prompt."""
    one = '{"type": "function", "function": {{ .Function }}}' if shape.wrapped else "{{ .Function }}"
    first, other = (text.replace(NAME, "{{ .Function.Name }}") for text in (shape.before, shape.between))
    return f"{{{{ range $number, $tool := $.Tools }}}}{_first_or(first, other)}{one}{{{{ end }}}}{shape.after}"


def _first_or(first: str, other: str) -> str:
    return f"{{{{ if eq $number 0 }}}}{first}{{{{ else }}}}{other}{{{{ end }}}}"


def calls_text(shape: CallsShape) -> str:
    """The calls of a message."""
    values = {NAME: "{{ .Function.Name }}", ARGUMENTS: "{{ .Function.Arguments }}"}

    def fill(text: str) -> str:
        """Put the values in the place of their marks."""
        return re.sub("|".join(map(re.escape, values)), lambda mark: values[mark.group()], text)

    loop = "{{ range $number, $call := .ToolCalls }}"
    one = f"{loop}{fill(shape.one)}{{{{ end }}}}"
    if shape.first is None or shape.other is None or shape.last is None:
        return one
    several = f"{loop}{_first_or(fill(shape.first), fill(shape.other))}{{{{ end }}}}{fill(shape.last)}"
    return f"{{{{ if eq (len .ToolCalls) 1 }}}}{one}{{{{ else }}}}{several}{{{{ end }}}}"


def build(template: Any, tokenizer: Any) -> OllamaTemplate:
    """The Go template of a template of the engine's."""
    tools, calls = learn_tools(template.format_tools), learn_calls(template.format_function)
    has_tools = tools is not None and calls is not None and not tools.listed and DATE not in tools.before
    system_content = "{{ $.System }}"
    if tools is not None and has_tools:
        system_content += f"{{{{ if $.Tools }}}}{tools_text(tools)}{{{{ end }}}}"
    opened = "or $.System $.Tools" if has_tools else "$.System"
    system = f"{{{{ if {opened} }}}}{emit(template.format_system.slots, tokenizer, system_content)}{{{{ end }}}}"
    fused = isinstance(template, Llama2Template)
    content = "{{ .Content }}"
    # Ollama keeps a system message among the others: the first user's turn need not be the first message.
    user_content = f"{{{{ if not $said }}}}{{{{ $said = true }}}}{system}{{{{ end }}}}{content}" if fused else content
    assistant = emit(template.format_assistant.slots, tokenizer, content)
    if calls is not None and has_tools:
        spoken = emit(template.format_function.slots, tokenizer, content + calls_text(calls))
        assistant = f"{{{{ if .ToolCalls }}}}{spoken}{{{{ else }}}}{assistant}{{{{ end }}}}"
    text = "".join(
        (
            emit(template.format_prefix.slots, tokenizer, ""),
            "{{ $said := false }}" if fused else system,
            '{{ range $index, $message := .Messages }}{{ if eq .Role "user" }}',
            emit(template.format_user.slots, tokenizer, user_content),
            '{{ else if eq .Role "assistant" }}',
            assistant,
            '{{ else if eq .Role "tool" }}',
            emit(template.format_observation.slots, tokenizer, content),
            "{{ end }}{{ end }}",
        )
    )
    return OllamaTemplate(text, has_tools)
