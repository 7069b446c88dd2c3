"""The lines of MCP clients' logs: what stands before and after a message, and batches and records of messages."""

from __future__ import annotations

import re
from typing import Any

from second_reader.values import parsed

_LEVELS = {"info", "warn", "warning", "error", "debug", "trace"}
_PREFIX = re.compile(
    r"^\d{4}-\d\d-\d\d[T ][\d:.,]+Z?\s+\[([^\]]+)\]\s+\[([^\]]+)\]\s*(?:Message from (client|server): )?"
)


def messages(line: str) -> list[tuple[str, str, Any]]:
    """The messages of a line: (session, sender, message)."""
    text, session, sender = line.strip().lstrip("\ufeff"), "session", ""
    if found := _PREFIX.match(text):
        server = next((name for name in found.groups()[:2] if name.lower() not in _LEVELS), found[2])
        text, session, sender = text[found.end() :], server, found[3] or ""
    text = re.sub(r"\s*\{ metadata: undefined \}$", "", text)
    if not text.startswith(("{", "[")):
        return []
    try:
        value = parsed(text)
    except ValueError:
        return []
    if isinstance(value, dict) and "jsonrpc" not in value:
        session = str(
            next((value[key] for key in ("session", "sessionId", "session_id", "server") if key in value), session)
        )
        value = next((value[key] for key in ("message", "payload", "data") if key in value), None)
        value = parsed(value) if isinstance(value, str) else value
    bodies = value if isinstance(value, list) else [value]
    return [(session, sender, body) for body in bodies if isinstance(body, dict) and body.get("jsonrpc") == "2.0"]


def is_broken(line: str) -> bool:
    """Whether a line is a message that was cut in the middle."""
    found = _PREFIX.match(line)
    if found is None or not found[3] or not line[found.end() :].startswith("{"):
        return False
    return not messages(line)
