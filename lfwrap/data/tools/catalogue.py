"""The tool catalogue: tools from files, folders, wire logs and live servers, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lfwrap.data.schema.conversation import Tool
from lfwrap.data.tools.tool_lists import ToolList, collect_tool_lists
from lfwrap.errors import Finding, Severity


@dataclass(frozen=True, slots=True)
class ToolCatalogue:
    """All known tools by name, without those whose name is ambiguous.

    Attributes:
        tools: the tools, in the order in which they were found.
        collisions: names that different tools share (MCP names are unique per server only): none of them is offered.
        findings: warnings about what was left out.
    """

    tools: Mapping[str, Tool] = field(default_factory=dict)
    collisions: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()


def load_catalogue(paths: Sequence[Path], servers: Sequence[str] = ()) -> ToolCatalogue:
    """Tools from files, folders and live servers. Takes and raises what `collect_tool_lists` does."""
    findings: list[Finding] = []
    return build_catalogue(collect_tool_lists(paths, servers, findings), findings)


def build_catalogue(lists: Iterable[ToolList], findings: Iterable[Finding] = ()) -> ToolCatalogue:
    """A catalogue of lists of tools; names that mean different tools are left out, with a warning for each."""
    tools: dict[str, Tool] = {}
    places: dict[str, str] = {}
    collisions: dict[str, str] = {}
    for found in lists:
        for tool in found.tools:
            places.setdefault(tool.name, found.place)
            if tools.setdefault(tool.name, tool) != tool:
                collisions.setdefault(tool.name, found.place)
    warnings = [
        Finding(
            "tool-collision",
            f"{name!r} is another tool in {places[name]}: neither is offered.",
            severity=Severity.WARNING,
            file=place,
            hint="Rename one, or give only the files that belong to the rows.",
        )
        for name, place in collisions.items()
    ]
    kept = {name: tool for name, tool in tools.items() if name not in collisions}
    return ToolCatalogue(kept, frozenset(collisions), (*findings, *warnings))
