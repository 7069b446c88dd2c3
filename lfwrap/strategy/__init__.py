"""How a recipe is run on this machine: planned, measured, or locked.

Other packages may import:

- `strategy`: the strategy of a recipe, and where it comes from.
- `foretell`: the updates that a run will make.
- `planning`, `candidates`, `lock`: what is planned, worth a trial, and measured before.
- `render`: what the engine is given for it.
"""
