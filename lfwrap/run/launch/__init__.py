"""The command that starts the engine, by each launcher, and its environment."""
