"""Seconds of a step, and what measurements change in them."""
