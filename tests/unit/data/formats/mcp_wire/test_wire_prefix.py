"""Which tag of a line is the level, which the server, and who speaks."""

from __future__ import annotations

import pytest

from lfwrap.data.formats.mcp_wire.wire_prefix import name_sessions, sender_of, tags_of
from lfwrap.errors import DataError


@pytest.mark.parametrize(
    ("prefix", "tags", "sender"),
    [
        ("2025-06-13T14:44:29.945Z [info] [notes] Message from client: ", ("info", "notes"), "client"),
        ("2026-01-02T10:00:00.000Z [notes] [info] Message from server: ", ("notes", "info"), "server"),
        ("2025-05-01 10:12:13.456 [trace] [editor -> server] ", ("trace",), "client"),
        ("2025-05-01 10:12:13.456 [trace] [server -> editor] ", ("trace",), "server"),
        ("2025-05-01 10:12:13.456 [info] [client → server] ", ("info",), "client"),
        ("[2025-05-01T10:00:00.000Z][4711] [Local→Remote] ", (), "client"),
        ("[4711] [Remote→Local] ", (), "server"),
        ("[gateway] SSE → Child: ", ("gateway",), "client"),
        ("[gateway] Child → SSE: ", ("gateway",), "server"),
        (">> ", (), ">"),
        ("<< ", (), "<"),
        ("--> ", (), ">"),
        ("10:00:01 <-- ", (), "<"),
        ("10:00:01 [trace] <= ", ("trace",), "<"),
        ("> ", (), ">"),
        ("< ", (), "<"),
        ("client -> ", (), "client"),
        ("client <- ", (), "server"),
        ("Sending to server: ", (), "client"),
        ("received from the server: ", (), "server"),
        ("SEND ", (), ">"),
        ("Received message: ", (), "<"),
        ("[in] ", ("in",), "<"),
        ("out: ", (), ">"),
        ("weather-1  | ", ("weather-1",), ""),
        ("data: ", (), ""),
        ("", (), ""),
        ("2025-06-13T14:44:29.945Z [ INFO ] [my server] ", ("INFO", "my server"), ""),
    ],
)
def test_what_stands_before_a_message(prefix, tags, sender):
    assert (tags_of(prefix), sender_of(prefix)) == (tags, sender)


INFO, D, E, W, T = "info", "DEBUG", "Error", "warn", "trace"


@pytest.mark.parametrize(
    ("said", "seen", "hint", "names"),
    [
        ([(INFO, "a"), (INFO, "b")], [(E, "a")], "", ["a", "b"]),
        ([("a", INFO), ("b", D)], [("a", E)], "", ["a", "b"]),
        ([("a",), ("b",)], [], "", ["a", "b"]),
        ([(INFO,), (D,), (T,)], [(W,)], "", ["session"] * 3),
        ([(INFO,)], [], "notes", ["notes"]),
        ([()], [(INFO,)], "", ["session"]),
        # A server whose name could be a level's: the others tell which tag is which.
        ([("debug", INFO), ("notes", INFO)], [], "", ["debug", "notes"]),
        ([(INFO, "trace"), (INFO, "notes")], [(E, "trace")], "", ["trace", "notes"]),
        ([("debug", INFO), ("error", INFO)], [("notes", E)], "", ["debug", "error"]),
        # One server only, whatever it is called.
        ([("debug", INFO)], [], "", ["debug"]),
        ([(INFO, "notice")], [(E, "notice")], "", ["notice"]),
        ([("error", INFO), ("error", D)], [], "error", ["error"] * 2),
        # The client was updated within the log: the order changed.
        ([(INFO, "a"), ("a", INFO), (INFO, "b")], [], "", ["a", "a", "b"]),
        # Lines without a server belong to the only one there is.
        ([(INFO, "a"), (INFO,)], [], "", ["a", "a"]),
        ([("a", INFO), ("a",)], [], "", ["a", "a"]),
        # What only says who speaks is no server.
        ([("client", "a"), ("server", "a")], [], "", ["a", "a"]),
        ([("in",), ("out",)], [], "", ["session"] * 2),
        ([("mcp", INFO, "a"), ("mcp", INFO, "b")], [], "", ["mcp/a", "mcp/b"]),
    ],
)
def test_servers_are_told_from_levels(said, seen, hint, names):
    found = name_sessions(said, seen, hint)
    assert [found[tags] for tags in said] == names


@pytest.mark.parametrize(
    "said",
    [
        [("debug", INFO), ("trace", D)],
        [(INFO, "debug"), (E, "debug")],
        [("a", INFO), (INFO, "a"), (INFO, "debug"), ("debug", E)],
    ],
)
def test_what_could_be_either_is_refused(said):
    with pytest.raises(DataError, match=r"could all be levels"):
        name_sessions(said, [])
