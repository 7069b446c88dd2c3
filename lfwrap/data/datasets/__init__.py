"""Data sets as they stand on disk: read, counted, rendered and checked by the engine."""
