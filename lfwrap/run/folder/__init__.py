"""The run folder: its paths, its record, its checkpoints, and how far it has come."""
