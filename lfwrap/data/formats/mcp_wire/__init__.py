"""MCP as it was logged on the wire: sessions and clients' logs as an input format.

From the ground up: `wire_prefix` tells what stands before a message, `wire_lines` finds the messages in a log's lines,
`wire_cuts` what a client cut of them; `wire_messages` gives each its server and its sender; `wire_pairs` brings
requests and replies together, as `wire_calls`; `wire_log` reads a whole log so, and `wire_sniff` recognises one.
`instructions` reads what the user asked, `wire_turns` joins the two, and `wire_format` makes conversations of both.

The log is also read by `lfwrap.data.tools.tool_lists`; nothing outside `lfwrap.data` imports them.
"""
