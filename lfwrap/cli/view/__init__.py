"""How things look on a terminal, and what goes to stdout."""
