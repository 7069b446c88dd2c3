"""Rows as the engine's own loader and template see them."""
