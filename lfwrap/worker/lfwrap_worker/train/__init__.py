"""Training itself, in every process of it, and the trials of it."""
