"""A real MCP server over stdio: three tools, two a page."""

from __future__ import annotations

import asyncio
from typing import Any

from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp_types import ListToolsResult, Tool

TOOLS = [
    Tool(
        name="weather.get",
        title="Weather",
        description="查询天气",
        input_schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    ),
    Tool(name="clock-now", input_schema={"type": "object"}),
    Tool(name="third", description="on the second page", input_schema={"type": "object", "properties": {}}),
]


async def list_tools(_context: Any, params: Any) -> ListToolsResult:
    start = int(params.cursor) if params is not None and params.cursor else 0
    following = start + 2
    return ListToolsResult(tools=TOOLS[start:following], next_cursor=str(following) if following < len(TOOLS) else None)


async def main() -> None:
    server = Server("lfwrap-test-server", on_list_tools=list_tools)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


asyncio.run(main())
