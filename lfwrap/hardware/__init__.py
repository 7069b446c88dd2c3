"""Machines: this one as it is probed, those of the catalogue, and those that a profile file describes.

Other packages may import:

- `profile`: a machine as plans see it; `load`: one by its name, or this one; `probe`: this one as it is now.
- `host_facts`, `usage`: what host and GPUs are busy with; what the host has run out of.
"""
