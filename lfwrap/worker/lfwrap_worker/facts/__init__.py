"""What the engine and torch say about themselves."""
