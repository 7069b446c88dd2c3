"""Pure arithmetic: what fits and how fast."""
