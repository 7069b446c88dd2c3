"""One module for each input format: record → Conversation.

A new format is a module with a ``FORMAT`` and a line below: its name and its module. The order is the order of
detection: formats that need more evidence come first, Alpaca, which fits any table, last.

Others may import this package (`FORMATS`), `base`, `bfcl` and what `parts` names; the documentation also imports
`format_docs`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from lfwrap.data.formats.base import Format

_MODULES = {
    "mcp-wire": "mcp_wire.wire_format",
    "toucan": "toucan",
    "mcpflow-trajectories": "mcpflow_trajectories",
    "mcpflow-simple": "mcpflow_simple",
    "mcpflow": "mcpflow",
    "bfcl": "bfcl",
    "openai-responses": "openai_responses",
    "anthropic": "anthropic",
    "openai": "openai_chat",
    "toolace": "toolace",
    "sharegpt": "sharegpt",
    "glaive": "glaive",
    "xlam": "xlam",
    "alpaca": "alpaca",
}
# Formats that span lines, and so read files themselves.
WHOLE_FILE = ("mcp-wire", "mcpflow-trajectories", "bfcl")
# Those of them whose files of JSON objects are read like all others.
READ_AS_JSON = ("mcpflow-trajectories",)


class _Formats(Mapping[str, Format]):
    """Name → format, imported when it is first looked at: most data needs one or two of them."""

    def __getitem__(self, name: str) -> Format:
        """The format of a name."""
        module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
        known: Format = module.FORMAT
        return known

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of detection."""
        return iter(_MODULES)

    def __len__(self) -> int:
        """How many there are."""
        return len(_MODULES)


FORMATS: Mapping[str, Format] = _Formats()
