"""The tables of this folder, read: servers with their tools and phrasings, values, frames and small talk.

A tool's argument is a line such as ``integer! 1..10 - Number of days``: its type (``a|b|c`` for options, ``string[]``
for a list), ``!`` where it is required, what its values are drawn from (``@city``, ``@INV-####``, ``1..10``), and its
description.

A phrasing is a line with slots, ``check the weather in {city}[ in {units} units]``: what stands in brackets is said
in two of five; ``[ at once|urgent=true]`` sets an argument without a slot. A line that begins with ``?`` is a
question of its own, all others are orders that go into a frame.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
LANGUAGES = ("en", "zh")
_ARG = re.compile(
    r"(?P<type>[a-z|\[\]]+)(?P<required>!?)(?: (?:@(?P<kind>\S+)|(?P<low>\d+)\.\.(?P<high>\d+)))? - (?P<about>.+)"
)


@dataclass(frozen=True)
class Arg:
    """One argument of a tool.

    Attributes:
        name: its name.
        type: string, integer, number, boolean, string[], or the options with ``|`` between them.
        required: whether a call must have it.
        kind: what its values are drawn from; empty for options and truth values.
        about: its description.
    """

    name: str
    type: str
    required: bool
    kind: str
    about: str

    @property
    def options(self) -> list[str]:
        """The options of an enum."""
        return self.type.split("|") if "|" in self.type else []

    def schema(self) -> dict[str, Any]:
        """The argument as JSON Schema."""
        if self.options:
            return {"type": "string", "enum": self.options, "description": self.about}
        if self.type == "string[]":
            return {"type": "array", "items": {"type": "string"}, "description": self.about}
        bounds: dict[str, Any] = {}
        if ".." in self.kind:
            low, high = self.kind.split("..")
            bounds = {"minimum": int(low), "maximum": int(high)}
        return {"type": self.type, **bounds, "description": self.about}


@dataclass(frozen=True)
class Tool:
    """One tool.

    Attributes:
        server: the server that offers it.
        name: its name.
        about: its description.
        args: its arguments, by name.
        key: the argument that names the thing it is about; empty if none does.
        can: what it does, by language, as a verb and its object.
        phrases: its phrasings by language, as they stand in the table.
        lacks: ``arg``, ``back`` and phrasings by language that leave out that argument; empty where none is written.
        result: field → what it is drawn from, or ``=ARG``, or a constant.
        say: what the assistant says about a result, by language.
    """

    server: str
    name: str
    about: str
    args: Mapping[str, Arg]
    key: str
    can: Mapping[str, str]
    phrases: Mapping[str, list[str]]
    lacks: Mapping[str, Any]
    result: Mapping[str, Any]
    say: Mapping[str, list[str]]

    def schema(self) -> dict[str, Any]:
        """The schema of its arguments."""
        properties = {name: arg.schema() for name, arg in self.args.items()}
        required = [name for name, arg in self.args.items() if arg.required]
        return {"type": "object", "properties": properties, "required": required}

    def text(self) -> str:
        """The tool as it stands in a row."""
        function = {"name": self.name, "description": self.about, "parameters": self.schema()}
        return json.dumps({"type": "function", "function": function}, ensure_ascii=False)


@dataclass(frozen=True)
class Chain:
    """Two tools of which the second works on what the first returned.

    Attributes:
        first: the name of the first.
        then: the name of the second.
        that: the argument of the second that comes from the first's result.
        field: the field of the result.
        keep: an argument that both calls share, or empty.
        phrases: how the user asks for the second call, by language.
    """

    first: str
    then: str
    that: str
    field: str
    keep: str
    phrases: Mapping[str, list[str]]


@dataclass(frozen=True)
class Server:
    """One server: its name, tools, chains, and what people say before they ask, by language."""

    name: str
    tools: tuple[Tool, ...]
    chains: tuple[Chain, ...]
    contexts: Mapping[str, list[str]]


def lines(text: str) -> list[str]:
    """The lines of a block, without those that are empty."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def load_yaml(name: str) -> Any:
    """A table of this folder."""
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def load_servers(folder: str) -> list[Server]:
    """All servers of a folder, by name."""
    return [_server(load_yaml(f"{folder}/{path.name}")) for path in sorted((FOLDER / folder).glob("*.yaml"))]


def load_chat() -> dict[str, list[tuple[str, str]]]:
    """Language → questions without a tool, with their answers."""
    table = load_yaml("chat.yaml")
    pairs = {language: [line.split(" = ") for line in lines(table[language])] for language in LANGUAGES}
    return {language: [(question, answer) for question, answer in rows] for language, rows in pairs.items()}


def _server(table: Mapping[str, Any]) -> Server:
    tools = tuple(_tool(table["server"], each) for each in table["tools"])
    chains = tuple(
        Chain(
            each["first"], each["then"], each["that"], each.get("from", each["that"]), each.get("keep", ""), _said(each)
        )
        for each in table["chains"]
    )
    return Server(table["server"], tools, chains, _said(table["contexts"]))


def _said(table: Mapping[str, str]) -> dict[str, list[str]]:
    return {language: lines(table[language]) for language in LANGUAGES}


def _tool(server: str, table: Mapping[str, Any]) -> Tool:
    lacks = table.get("lacks", {})
    if lacks:
        back = dict(zip(LANGUAGES, lacks["back"], strict=True))
        lacks = {"arg": lacks["arg"], "back": back, "phrases": _said(lacks)}
    return Tool(
        server=server,
        name=table["name"],
        about=table["about"],
        args={name: _arg(table["name"], name, text) for name, text in table["args"].items()},
        key=table.get("key", ""),
        can=dict(zip(LANGUAGES, table["can"], strict=True)),
        phrases=_said(table),
        lacks=lacks,
        result=table["result"],
        say=_said(table["say"]),
    )


def _arg(tool: str, name: str, text: str) -> Arg:
    match = _ARG.fullmatch(text)
    if match is None:
        raise ValueError(f"{tool}: {name}: not an argument: {text}")
    kind = match["kind"] or (f"{match['low']}..{match['high']}" if match["low"] else "")
    return Arg(name, match["type"], bool(match["required"]), kind, match["about"])
