"""MCP as it was logged on the wire: sessions and desktop logs as an input format.

`wire_log` reads a log, `wire_turns` joins it with instructions, `wire_format` makes conversations of both. The log is
also read by `lfwrap.data.tools.tool_lists`; nothing outside `lfwrap.data` imports them.
"""
