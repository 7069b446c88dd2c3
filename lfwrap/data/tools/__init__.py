"""The tools that conversations may call: catalogues, files, and live MCP servers.

Others may import `catalogue`, `tool_lists` and `mcp_session`; `mcp_client` stands below all three.
"""
