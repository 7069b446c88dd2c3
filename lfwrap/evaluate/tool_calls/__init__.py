"""Tool calls: read from answers, and held to what was expected."""
