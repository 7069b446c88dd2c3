"""How a recipe is run on this machine: planned, measured, or locked."""
