"""Rules across keys: what the engine refuses after seconds, or takes silently and then does something else."""
