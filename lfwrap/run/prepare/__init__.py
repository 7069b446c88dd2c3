"""Everything that a run starts from, put together and written down before it starts."""
