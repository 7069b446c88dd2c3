"""Strategies, measured: trials on this machine, and plans corrected by runs."""
