"""The rows: one function for each kind of conversation."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from draws import Draws
from phrases import Said, fill, substitute
from questions import ExhaustedError, Questions
from tables import Chain, Server, Tool

Turn = dict[str, str]
_FROM_SAME_SERVER = 0.5
_OFFERED = ((2, 0.35), (3, 0.4), (4, 0.2), (5, 0.05))
# Kinds whose values can be listed in one breath: "in Oslo and Lima", "T-1234 and T-5678".
_LISTED_KINDS = {"city", "person", "path", "device", "area", "doctor", "door", "vehicle", "repo", "airport2", "artist"}


@dataclass(frozen=True)
class Row:
    """One conversation.

    Attributes:
        kind: which function made it.
        language: en or zh.
        turns: what is said, as the engine's ``conversations``.
        tools: the tools on offer.
    """

    kind: str
    language: str
    turns: Sequence[Turn]
    tools: Sequence[Tool]

    def line(self) -> str:
        """The row as a line of the file, as `lfwrap prepare-data` writes it."""
        tools = "[" + ", ".join(tool.text() for tool in self.tools) + "]"
        row = {"conversations": list(self.turns), "system": "", "tools": tools}
        return json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"


class Rows:
    """Makes rows about the tools of some servers."""

    def __init__(self, about: Sequence[Server], offered: Sequence[Server], questions: Questions, draws: Draws) -> None:
        """Remember what rows are about.

        Args:
            about: the servers whose tools are asked for.
            offered: the servers whose tools may stand beside them.
            questions: makes what users ask.
            draws: the chance that everything hangs on.
        """
        self.tools = [tool for server in about for tool in server.tools]
        self._by_name = {tool.name: tool for tool in self.tools}
        self.chains = [chain for server in about for chain in server.chains]
        self._offered = [tool for server in offered for tool in server.tools]
        self._questions = questions
        self._values = questions.values
        self._draws = draws
        self.kinds: Mapping[str, Callable[[Tool, str], Row]] = {
            "call": self.call,
            "answered": self.answered,
            "joint": self.joint,
            "twice": self.twice,
            "again": self.again,
            "asked_back": self.asked_back,
            "asked_back_then_called": self.asked_back_then_called,
            "refused": self.refused,
            "retried": self.retried,
            "not_found": self.not_found,
            "moved": self.moved,
        }

    def call(self, tool: Tool, language: str) -> Row:
        """A question and its call."""
        said = self._questions.single(tool, language)
        return self._row("call", language, [human(said.text), calls([(tool, said.arguments)])], [tool])

    def answered(self, tool: Tool, language: str) -> Row:
        """A call, its result, and what the assistant makes of it."""
        said = self._questions.single(tool, language)
        turns = [human(said.text), *self._round(tool, said.arguments, language)]
        return self._row("answered", language, turns, [tool])

    def joint(self, tool: Tool, language: str) -> Row:
        """Two tools at once."""
        second = self._draws.pick([each for each in self.tools if each.name != tool.name])
        said, parts = self._questions.joint(tool, second, language)
        made = calls([(tool, parts[0].arguments), (second, parts[1].arguments)])
        return self._row("joint", language, [human(said.text), made], [tool, second])

    def twice(self, tool: Tool, language: str) -> Row:
        """One tool for two or three things at once."""
        if not _is_listed(tool):
            raise ExhaustedError(tool.name)
        said, found = self._questions.twice(tool, language)
        made = calls([(tool, arguments) for arguments in found])
        return self._row("twice", language, [human(said.text), made], [tool])

    def again(self, tool: Tool, language: str) -> Row:
        """A second question: the same for another thing."""
        if not _is_listed(tool):
            raise ExhaustedError(tool.name)
        said = self._questions.single(tool, language)
        other = self._other(tool, said.arguments[tool.key], language)
        follow = self._questions.frame("again", language).format(x=other)
        second = calls([(tool, {**said.arguments, tool.key: other})])
        turns = [human(said.text), *self._round(tool, said.arguments, language), human(follow), second]
        return self._row("again", language, turns, [tool])

    def chain(self, chain: Chain, language: str) -> Row:
        """A second question about what the first call returned."""
        first, second = self._by_name[chain.first], self._by_name[chain.then]
        said = self._questions.single(first, language)
        result = self._result(first, said.arguments, language)
        given = {chain.that: result[chain.field]}
        if chain.keep:
            given[chain.keep] = said.arguments[chain.keep]
        follow = fill(
            self._draws.pick(chain.phrases[language]), second, self._values, language, self._draws, given=given
        )
        arguments = {**given, **follow.arguments}
        turns = [
            human(said.text),
            calls([(first, said.arguments)]),
            *self._told(first, said.arguments, result, language),
            human(follow.text),
            calls([(second, arguments)]),
        ]
        return self._row("chain", language, turns, [first, second])

    def asked_back(self, tool: Tool, language: str) -> Row:
        """A required value is missing, so the assistant asks for it."""
        _, turns = self._asked(tool, language)
        return self._row("asked_back", language, turns, [tool])

    def asked_back_then_called(self, tool: Tool, language: str) -> Row:
        """The user then gives it, and the call is made."""
        said, turns = self._asked(tool, language)
        missing = tool.args[tool.lacks["arg"]]
        value = self._values.of_arg(missing, language)
        spoken = self._values.spoken(missing, value, language)
        reply = self._questions.frame("reply", language).format(x=spoken)
        turns += [human(reply), calls([(tool, {**said.arguments, missing.name: value})])]
        return self._row("asked_back_then_called", language, turns, [tool])

    def refused(self, tool: Tool, language: str) -> Row:
        """No tool on offer does what is asked."""
        said = self._questions.single(tool, language)
        refusal = self._questions.frame("refuse", language).format(can=tool.can[language])
        near = {name for group in self._questions.near if tool.server in group for name in group} | {tool.server}
        others = [each for each in self._offered if each.server not in near]
        offered = self._draws.some(others, self._draws.weighted(_OFFERED))
        return Row("refused", language, [human(said.text), gpt(refusal)], offered)

    def retried(self, tool: Tool, language: str) -> Row:
        """The tool fails for a moment; the same call again succeeds."""
        said = self._questions.single(tool, language)
        failure = observation({"error": self._draws.pick(self._questions.failures)})
        turns = [human(said.text), calls([(tool, said.arguments)]), failure]
        return self._row("retried", language, turns + self._round(tool, said.arguments, language), [tool])

    def not_found(self, tool: Tool, language: str) -> Row:
        """The tool does not know the thing; the assistant says so and invents nothing."""
        if not _is_listed(tool):
            raise ExhaustedError(tool.name)
        said = self._questions.single(tool, language)
        value = said.arguments[tool.key]
        told = self._questions.frame("unknown", language).format(x=value)
        failure = observation({"error": f"not found: {value}"})
        turns = [human(said.text), calls([(tool, said.arguments)]), failure, gpt(told)]
        return self._row("not_found", language, turns, [tool])

    def moved(self, tool: Tool, language: str) -> Row:
        """The number has been replaced; the assistant calls again with the new one."""
        if not tool.key or not ("-#" in tool.args[tool.key].kind or tool.args[tool.key].kind == "vehicle"):
            raise ExhaustedError(tool.name)
        said = self._questions.single(tool, language)
        old = said.arguments[tool.key]
        new = self._other(tool, old, language)
        failure = observation({"error": self._draws.pick(self._questions.moved).format(old=old, new=new)})
        turns = [human(said.text), calls([(tool, said.arguments)]), failure]
        turns += self._round(tool, {**said.arguments, tool.key: new}, language)
        return self._row("moved", language, turns, [tool])

    def chat(self, question: str, answer: str, language: str) -> Row:
        """Small talk, with tools that nobody needs."""
        self._questions.plain(question)
        offered = self._draws.some(self._offered, self._draws.weighted(_OFFERED))
        return Row("chat", language, [human(question), gpt(answer)], offered)

    def _asked(self, tool: Tool, language: str) -> tuple[Said, list[Turn]]:
        if not tool.lacks:
            raise ExhaustedError(tool.name)
        said = self._questions.lacking(tool, language)
        back = self._questions.frame("ask_back", language).format(back=tool.lacks["back"][language])
        return said, [human(said.text), gpt(back)]

    def _round(self, tool: Tool, arguments: Mapping[str, Any], language: str) -> list[Turn]:
        """A call, its result and the answer."""
        result = self._result(tool, arguments, language)
        return [calls([(tool, arguments)]), *self._told(tool, arguments, result, language)]

    def _told(self, tool: Tool, arguments: Mapping[str, Any], result: Mapping[str, Any], language: str) -> list[Turn]:
        words = {
            name: self._values.spoken(tool.args[name], value, language)
            for name, value in arguments.items()
            if not isinstance(value, bool)
        }
        words |= {name: str(value) for name, value in result.items() if name not in words}
        return [observation(result), gpt(substitute(self._draws.pick(tool.say[language]), words.__getitem__))]

    def _result(self, tool: Tool, arguments: Mapping[str, Any], language: str) -> dict[str, Any]:
        def value_of(source: Any) -> Any:
            if isinstance(source, str) and source.startswith("="):
                return arguments[source[1:]]
            if isinstance(source, str) and source.startswith("@"):
                return self._values.of_kind(source[1:], language)
            return source

        return {name: value_of(source) for name, source in tool.result.items()}

    def _other(self, tool: Tool, value: Any, language: str) -> Any:
        while (other := self._values.of_arg(tool.args[tool.key], language)) == value:
            pass
        return other

    def _row(self, kind: str, language: str, turns: Sequence[Turn], needed: Sequence[Tool]) -> Row:
        """A row that offers the tools that it needs, and others beside them."""
        count = max(self._draws.weighted(_OFFERED), len(needed))
        offered = list(needed)
        while len(offered) < count:
            same = self._draws.chance(_FROM_SAME_SERVER)
            rest = [
                each for each in self._offered if each not in offered and (each.server == needed[0].server or not same)
            ]
            offered.append(self._draws.pick(rest or [each for each in self._offered if each not in offered]))
        return Row(kind, language, turns, self._draws.shuffled(offered))


def human(text: str) -> Turn:
    """What the user says."""
    return {"from": "human", "value": text}


def gpt(text: str) -> Turn:
    """What the assistant says."""
    return {"from": "gpt", "value": text}


def observation(result: Mapping[str, Any]) -> Turn:
    """What a tool returns: always an object, which all templates write in the same way."""
    return {"from": "observation", "value": json.dumps(result, ensure_ascii=False)}


def calls(made: Sequence[tuple[Tool, Mapping[str, Any]]]) -> Turn:
    """One or several calls, the arguments in the order of the schema."""
    values = [
        {"name": tool.name, "arguments": {name: arguments[name] for name in tool.args if name in arguments}}
        for tool, arguments in made
    ]
    return {"from": "function_call", "value": json.dumps(values if len(values) > 1 else values[0], ensure_ascii=False)}


def _is_listed(tool: Tool) -> bool:
    """Whether the thing that a tool is about is a name or number that can stand in a list."""
    if not tool.key:
        return False
    kind = tool.args[tool.key].kind
    return kind in _LISTED_KINDS or "#" in kind
