"""A real MCP server over stdio whose tools can be called: one adds, one fails, one says nothing of use."""

from __future__ import annotations

import asyncio
from typing import Any

from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp_types import CallToolResult, ListToolsResult, TextContent, Tool

NUMBERS = {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "required": ["a", "b"]}
TOOLS = [
    Tool(name="add", description="Adds two numbers.", input_schema=NUMBERS),
    Tool(name="fail", input_schema={"type": "object", "properties": {}}),
    Tool(name="exit", input_schema={"type": "object", "properties": {}}),
]


async def list_tools(_context: Any, _params: Any) -> ListToolsResult:
    return ListToolsResult(tools=TOOLS)


async def call_tool(_context: Any, params: Any) -> CallToolResult:
    if params.name == "exit":
        raise SystemExit(0)
    if params.name == "add":
        total = params.arguments["a"] + params.arguments["b"]
        return CallToolResult(content=[TextContent(type="text", text=str(total))], structured_content={"sum": total})
    return CallToolResult(content=[TextContent(type="text", text="out of paper")], is_error=True)


async def main() -> None:
    server = Server("lfwrap-calling-server", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


asyncio.run(main())
