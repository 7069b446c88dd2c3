"""MCP as it was logged on the wire: sessions and desktop logs as an input format."""
