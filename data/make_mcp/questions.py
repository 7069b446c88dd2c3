"""What users ask: phrasings in frames, each skeleton once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from draws import Draws
from phrases import Said, Values, fill, joined
from tables import LANGUAGES, Server, Tool, lines, load_yaml

_WITH_CONTEXT = 0.3
_TRIES = 400
_SLOT = re.compile(r"\{\w+\}")
_NOT_COMPARED = re.compile(r"[\W\d_]+")
_GREETING = ("Hi", "Hey", "Hello", "Good ", "Excuse", "你好", "打扰")  # come first, or not at all
_SINGULAR = re.compile(r" (?:is|has|was|plays|takes|an?) ")


class ExhaustedError(ValueError):
    """There is no further way to say it."""


def normal_form(skeleton: str) -> str:
    """A skeleton without values, case, numbers, punctuation and space: two questions of one form are alike.

    >>> normal_form("Show {city}, please: 3 days!")
    'showpleasedays'
    """
    return _NOT_COMPARED.sub("", _SLOT.sub("", skeleton.lower()))


class Questions:
    """Makes questions and remembers which skeletons and phrasings it has used."""

    def __init__(self, servers: list[Server], draws: Draws) -> None:
        self.values = Values(draws)
        self._draws = draws
        self._contexts = {server.name: server.contexts for server in servers}
        self._used: set[str] = set()
        self._said: Counter[str] = Counter()
        table = load_yaml("frames.yaml")
        self.frames = {name: {key: lines(text) for key, text in table[name].items()} for name in LANGUAGES}
        self.failures, self.moved = lines(table["failures"]), lines(table["moved"])
        self.near: list[list[str]] = table["near"]

    def frame(self, name: str, language: str) -> str:
        """One of the frames of a name."""
        return self._draws.pick(self.frames[language][name])

    def single(self, tool: Tool, language: str) -> Said:
        """A question that one call answers."""
        return self._new(tool, language, lambda: self._fill(tool, tool.phrases[language], language))

    def lacking(self, tool: Tool, language: str) -> Said:
        """A question that leaves out a required argument."""
        return self._new(tool, language, lambda: self._fill(tool, tool.lacks["phrases"][language], language))

    def twice(self, tool: Tool, language: str) -> tuple[Said, list[Mapping[str, Any]]]:
        """A question that one tool answers by several calls, and their arguments."""
        slot = f"{{{tool.key}}}"
        fitting = [line for line in _orders(tool, language) if _stands_free(line, slot)]
        if not fitting:
            raise ExhaustedError(tool.name)
        found: list[Any] = []

        def attempt() -> Said:
            found[:] = self._several(tool, language)
            first, second, *more = found
            listed = joined(found, language) if more else self.frame("both", language).format(a=first, b=second)
            said = self._fill(tool, fitting, language, {tool.key: listed})
            return replace(said, skeleton=f"{said.skeleton}+{len(found)}")

        said = self._new(tool, language, attempt)
        return said, [{**said.arguments, tool.key: value} for value in found]

    def joint(self, first: Tool, second: Tool, language: str) -> tuple[Said, tuple[Said, Said]]:
        """A question that two tools answer at once, and each one's part."""
        parts: list[Said] = []

        def attempt() -> Said:
            parts[:] = [self._fill(tool, _orders(tool, language), language) for tool in (first, second)]
            frame = self.frame("pair", language)
            texts = [
                frame.format(first=a, second=b) for a, b in zip(*[(p.text, p.skeleton) for p in parts], strict=True)
            ]
            return Said(texts[0], texts[1], {})

        said = self._new(first, language, attempt)
        return said, (parts[0], parts[1])

    def plain(self, text: str) -> None:
        """Note a question that comes from no phrasing. Raises ExhaustedError if it was there before."""
        if normal_form(text) in self._used:
            raise ExhaustedError(text)
        self._used.add(normal_form(text))

    def _several(self, tool: Tool, language: str) -> list[Any]:
        count = 3 if self._draws.chance(0.2) else 2
        found: list[Any] = []
        while len(found) < count:
            value = self.values.of_arg(tool.args[tool.key], language)
            if value not in found:
                found.append(value)
        return found

    def _fill(self, tool: Tool, phrases: list[str], language: str, given: Mapping[str, Any] | None = None) -> Said:
        tried = self._draws.some(phrases, 2)
        phrase = min(tried, key=lambda line: self._said[line])  # the one of two that was said less often
        said = fill(phrase, tool, self.values, language, self._draws, given=given or {})
        self._said[phrase] += 1
        return said

    def _new(self, tool: Tool, language: str, attempt: Callable[[], Said]) -> Said:
        """An attempt in a frame, perhaps after a sentence of context, whose skeleton is new."""
        for _ in range(_TRIES):
            try:
                core = attempt()
            except ExhaustedError:
                continue
            frame = self.frame("ask" if core.is_question else "do", language)
            said = core.framed(frame)
            if self._draws.chance(_WITH_CONTEXT) and not frame.startswith(_GREETING):
                context = self._draws.pick(self._contexts[tool.server][language])
                space = "" if language == "zh" else " "
                said = replace(said, text=context + space + said.text, skeleton=context + space + said.skeleton)
            form = normal_form(said.skeleton)
            if form not in self._used:
                self._used.add(form)
                return said
        raise ExhaustedError(tool.name)


def _orders(tool: Tool, language: str) -> list[str]:
    return [line for line in tool.phrases[language] if not line.startswith("?")]


def _stands_free(line: str, slot: str) -> bool:
    """Whether a slot can hold a list: once in the phrasing, without quotes, not optional, no verb or article of one."""
    free = re.sub(r"\[[^\]]*\]", "", line)
    return (
        not _SINGULAR.search(line)
        and line.count(slot) == 1
        and slot in free
        and not re.search(r"[\"“《]" + re.escape(slot), line)
    )
