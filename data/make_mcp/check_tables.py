"""What is wrong with the tables, said with server, tool and line before any row is made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from phrases import Values
from tables import LANGUAGES, Arg, Server, Tool

_SLOT = re.compile(r"\{(\w+)\}")
_CONSTANT = re.compile(r"\|(\w+)=")


def check_tables(servers: Sequence[Server], values: Values) -> None:
    """Hold every table against the others. Raises ValueError, which lists all faults."""
    faults = [fault for server in servers for fault in _faults_of_server(server, values)]
    names = [tool.name for server in servers for tool in server.tools]
    faults += [f"two tools are called {name}" for name in sorted({name for name in names if names.count(name) > 1})]
    if faults:
        raise ValueError("\n".join(faults))


def _faults_of_server(server: Server, values: Values) -> Iterator[str]:
    tools = {tool.name: tool for tool in server.tools}
    for tool in server.tools:
        yield from (f"{server.name}: {tool.name}: {fault}" for fault in _faults_of_tool(tool, values))
    for chain in server.chains:
        if not {chain.first, chain.then} <= set(tools):
            yield f"{server.name}: chain {chain.first} to {chain.then}: no such tool"
            continue
        first, then = tools[chain.first], tools[chain.then]
        place = f"{server.name}: chain {chain.first} to {chain.then}"
        if chain.field not in first.result:
            yield f"{place}: {first.name} returns no {chain.field}"
        for line in (line for language in LANGUAGES for line in chain.phrases[language]):
            unsaid = {name for name, arg in then.args.items() if arg.required} - {chain.that, chain.keep}
            yield from (f"{place}: {line}: {fault}" for fault in _faults_of_line(line, then, unsaid))


def _faults_of_tool(tool: Tool, values: Values) -> Iterator[str]:
    for arg in tool.args.values():
        yield from _faults_of_arg(arg, values)
    required = {name for name, arg in tool.args.items() if arg.required}
    if tool.key and tool.key not in required:
        yield f"its key {tool.key} is not a required argument"
    for language in LANGUAGES:
        for line in tool.phrases[language]:
            yield from (f"{line}: {fault}" for fault in _faults_of_line(line, tool, required))
        for line in tool.lacks["phrases"][language] if tool.lacks else []:
            yield from (f"{line}: {fault}" for fault in _faults_of_line(line, tool, required - {tool.lacks["arg"]}))
            if f"{{{tool.lacks['arg']}}}" in line:
                yield f"{line}: says {tool.lacks['arg']}, which it should lack"
        for line in tool.say[language]:
            unknown = set(_SLOT.findall(line)) - set(tool.args) - set(tool.result)
            yield from (f"{line}: neither an argument nor a field of the result: {name}" for name in sorted(unknown))


def _faults_of_line(line: str, tool: Tool, required: set[str]) -> Iterator[str]:
    unknown = {*_SLOT.findall(line), *_CONSTANT.findall(line)} - set(tool.args)
    yield from (f"no argument {name}" for name in sorted(unknown))
    always = re.sub(r"\[[^\]]*\]", "", line)
    yield from (f"lacks the required {name}" for name in sorted(required - set(_SLOT.findall(always))))


def _faults_of_arg(arg: Arg, values: Values) -> Iterator[str]:
    if arg.options:
        unsaid = [option for option in arg.options if not values.has_word(option)]
        yield from (f"{arg.name}: zh_words has no word for {option}" for option in unsaid)
    elif arg.type != "boolean" and not values.knows(arg.kind):
        yield f"{arg.name}: values.yaml has no {arg.kind or 'values for it'}"
