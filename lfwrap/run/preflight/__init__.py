"""Everything that can be known to go wrong before the engine starts, found at once, each with its place and remedy."""
