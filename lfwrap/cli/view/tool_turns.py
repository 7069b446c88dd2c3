"""Tool calls in a conversation: shown, and run through an MCP server after a yes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.view import output
from lfwrap.cli.view.plain_text import one_line, printable

if TYPE_CHECKING:
    from lfwrap.data.tools.mcp_session import McpSession, ToolResult

_SHOWN_CHARACTERS = 400
_YES, _ALWAYS = {"y", "yes"}, {"a", "always"}
Turn = dict[str, str]


class ToolDesk:
    """Shows the calls of an answer, has them run, and writes both as the turns that the template knows."""

    def __init__(
        self, template: str, session: McpSession | None, ask: Callable[[str], str], *, allow_all: bool = False
    ) -> None:
        """Calls are run through ``session``; ``ask`` puts a question to the person; ``allow_all`` leaves it out."""
        self._template = template
        self._session = session
        self._ask = ask
        self._allow_all = allow_all
        self._allowed: set[str] = set()

    def turns(self, calls: Sequence[Mapping[str, Any]]) -> list[Turn] | None:
        """The calls and their results as two turns; None where nothing was run."""
        self.show(calls)
        if self._session is None:
            output.say("  not run: there is no --mcp-server. /result TEXT says what it returned.")
            return None
        results = [self._run(call) for call in calls]
        return None if any(result is None for result in results) else self.write(calls, [r for r in results if r])

    @staticmethod
    def show(calls: Sequence[Mapping[str, Any]]) -> None:
        """One line for each call, on stderr."""
        for call in calls:
            arguments = json.dumps(call["arguments"], ensure_ascii=False)
            output.say(click.style("  call ", fg="cyan") + printable(f"{call['name']} {arguments}"))

    def write(self, calls: Sequence[Mapping[str, Any]], results: Sequence[ToolResult]) -> list[Turn]:
        """The calls and their results in the template's way, as in the training data."""
        from lfwrap.data.convert.writer_tools import calls_text, observation_text
        from lfwrap.data.schema.conversation import Message, Role, ToolCall
        from lfwrap.engine.chat_templates import chat_template

        made = [ToolCall(call["name"], call["arguments"]) for call in calls]
        given = [
            Message(Role.TOOL, result.text, name=call.name, is_error=result.is_error)
            for call, result in zip(made, results, strict=True)
        ]
        return [
            {"role": "function", "content": calls_text(made)},
            {"role": "observation", "content": observation_text(given, made, chat_template(self._template))},
        ]

    def _run(self, call: Mapping[str, Any]) -> ToolResult | None:
        from lfwrap.data.tools.mcp_session import ToolResult

        assert self._session is not None  # noqa: S101 - asked for by `turns`
        name, arguments = call["name"], call["arguments"]
        if name not in {tool.name for tool in self._session.tools}:
            result = ToolResult(f"Error: there is no tool {name}", is_error=True)
        elif not isinstance(arguments, Mapping):
            result = ToolResult("Error: the arguments are not a JSON object", is_error=True)
        elif not self._may_run(name):
            return None
        else:
            result = self._session.call(name, arguments)
        output.say(click.style("  gave ", fg="cyan") + one_line(result.text, _SHOWN_CHARACTERS))
        return result

    def _may_run(self, name: str) -> bool:
        """Whether the person allows this call; nothing is run without a yes."""
        if self._allow_all or name in self._allowed:
            return True
        reply = self._ask(f"  run {printable(name)}? [y]es, [a]lways this tool, [N]o ").strip().lower()
        if reply in _ALWAYS:
            self._allowed.add(name)
        return reply in _YES | _ALWAYS
