"""The tools that conversations may call: catalogues, files, and live MCP servers."""
