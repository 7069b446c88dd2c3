"""Conversion in several processes: how a file is shared out and how its lines come back in order."""
