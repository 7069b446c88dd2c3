"""Whether a file is an MCP log, told from its beginning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lfwrap.data.formats.mcp_wire.wire_lines import Piece, log_pieces
from lfwrap.data.formats.mcp_wire.wire_messages import is_rpc, unwrap
from lfwrap.data.formats.mcp_wire.wire_prefix import is_stamped, sender_of, tags_of

_LOG_KEYS = frozenset({"ts", "time", "timestamp", "@timestamp", "level", "severity", "logger", "lvl", "jsonrpc"})
_MESSAGE_CUT = re.compile(r'\[?\s*\{\s*"jsonrpc"\s*:\s*"2\.0"')


def evidence_in(head: str) -> str | None:
    r"""Why a text looks like the beginning of an MCP log, or None.

    >>> evidence_in('npm warn\n[notes] {"jsonrpc": "2.0", "id": 1}')
    'JSON-RPC messages behind the marks of a log'
    """
    for piece in log_pieces(head.split("\n")):
        if piece.value is None:
            if piece.problem is not None and _is_cut_message(piece):
                return _evidence(piece)
            continue
        bodies, _ = unwrap(piece.value)
        if any(is_rpc(body) for body in bodies):
            return _evidence(piece)
        if not piece.prefix.strip() and not _is_log_record(piece.value):
            return None  # a row of data that may speak of such messages
    return None


def _is_cut_message(piece: Piece) -> bool:
    """A message that is not JSON or reaches beyond the text."""
    if piece.prefix.strip():
        return bool(sender_of(piece.prefix) or is_stamped(piece.prefix))
    return _MESSAGE_CUT.match(piece.text) is not None


def _is_log_record(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(_LOG_KEYS & value.keys()) and "messages" not in value


def _evidence(piece: Piece) -> str:
    prefix = piece.prefix
    if is_stamped(prefix) and tags_of(prefix):
        return "lines with time, level and [server], as MCP clients log"
    if prefix.strip():
        return "JSON-RPC messages behind the marks of a log"
    return "JSON-RPC messages, one a line"
