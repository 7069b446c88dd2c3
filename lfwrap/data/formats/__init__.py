"""One module for each input format: record → Conversation.

A new format is a module with a ``FORMAT`` and its name in the list below. The order is the order of detection: what
is told apart by more evidence stands first, Alpaca, which fits any table, last.
"""

from __future__ import annotations

import importlib

from lfwrap.data.formats.base import Format

_MODULES = (
    "mcp_wire_format",
    "toucan",
    "mcpflow_trajectories",
    "mcpflow_simple",
    "mcpflow",
    "bfcl",
    "openai_responses",
    "anthropic",
    "openai_chat",
    "toolace",
    "sharegpt",
    "glaive",
    "xlam",
    "alpaca",
)  # fmt: skip

FORMATS: dict[str, Format] = {
    known.name: known for known in (importlib.import_module(f"{__name__}.{module}").FORMAT for module in _MODULES)
}
