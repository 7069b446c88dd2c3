"""MCP on the wire: JSON-RPC sessions and clients' logs of every published version → tools, calls and their results.

Versions 2024-11-05, 2025-03-26 (batches), 2025-06-18 (structured content), 2025-11-25 and 2026-07-28 (no
``initialize``, ``resultType``) are read by what is in the messages, not by the version they announce.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from lfwrap.data.formats.mcp_wire.wire_calls import WireLog, needs_input
from lfwrap.errors import DataError

_LOG_SUFFIXES = frozenset({".log", ".txt", ".json", ".jsonl", ".ndjson"})
_HEAD_CHARACTERS = 1 << 16
_SERVER_FILE = re.compile(r"mcp-server-(.+?)(?:\.(?:old|\d+))?\.log(?:\.\d+)?")


def sniff_wire(head: str) -> str | None:
    """Why the beginning of a file looks like an MCP log, or None.

    >>> sniff_wire('{"jsonrpc": "2.0", "id": 1, "method": "ping"}'), sniff_wire("hello")
    ('JSON-RPC messages, one a line', None)
    """
    if "jsonrpc" not in head:
        return None
    from lfwrap.data.formats.mcp_wire.wire_sniff import evidence_in

    return evidence_in(head)


def read_wire(lines: Iterable[str], hint: str = "") -> WireLog:
    """Read a log, line by line.

    Args:
        lines: JSON-RPC messages (or batches of them), bare, wrapped in a record or behind the prefix of a client's log.
        hint: the server's name as the file's says it, or empty.

    Raises:
        DataError: the lines don't let servers and levels be told apart.

    >>> request = '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add"}}'
    >>> [(call.name, call.ids, call.line) for call in read_wire([request]).calls]
    [('add', ('1',), 1)]
    """
    from lfwrap.data.formats.mcp_wire.wire_messages import wire_messages
    from lfwrap.data.formats.mcp_wire.wire_pairs import Pairing

    log = WireLog()
    pairing = Pairing(log)
    for message in wire_messages(lines, log.skipped, hint):
        pairing.take(message)
    log.calls = [call for call in log.calls if call.result is None or not needs_input(call.result)]
    return log


def read_wire_file(path: Path) -> WireLog:
    """Read a log file; ``mcp-server-NAME.log`` says whose it is. Raises as `read_wire` does."""
    found = _SERVER_FILE.fullmatch(path.name)
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as lines:
            log = read_wire(lines, found.group(1) if found else "")
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint=error.hint) from error
    log.name = str(path)
    return log


def read_logs(path: Path, sources: Sequence[str]) -> tuple[list[WireLog], int]:
    """All logs among the sources, and which of them a path is. Raises as `read_wire` does.

    A source that can't be read as text, or is no log, is passed over: whoever converts it says so.
    """
    paths = [Path(source) for source in sources]
    if path not in paths:  # a copy in UTF-8 of one of them
        paths.append(path)
    logs: list[WireLog] = []
    number = 0
    for other in paths:
        if other == path:
            number = len(logs)
            logs.append(read_wire_file(path) if len(paths) == 1 else _kept_log(path, path.stat().st_mtime_ns))
        elif _is_log(other):
            with contextlib.suppress(UnicodeDecodeError):
                logs.append(_kept_log(other, other.stat().st_mtime_ns))
    return logs, number


def _is_log(path: Path) -> bool:
    if path.suffix.lower() not in _LOG_SUFFIXES:
        return False
    try:
        with path.open(encoding="utf-8-sig") as source:
            return sniff_wire(source.read(_HEAD_CHARACTERS)) is not None
    except (OSError, UnicodeDecodeError):
        return False


@functools.lru_cache(maxsize=64)
def _kept_log(path: Path, _changed_ns: int) -> WireLog:
    return read_wire_file(path)
