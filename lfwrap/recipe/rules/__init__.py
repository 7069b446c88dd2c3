"""Rules about several keys: what the engine refuses only after it has started, or accepts and then ignores."""
