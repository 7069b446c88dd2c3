"""The ways to start the engine."""
