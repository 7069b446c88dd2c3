"""Machines: this one as it is probed, those of the catalogue, and those that a profile file describes."""
