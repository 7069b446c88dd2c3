"""Strategies, measured: trials on this machine, and plans corrected by runs.

Other packages may import:

- `tune`, `trial_values`: trials of strategies, and the recipe's values in them.
- `calibrate`: plans corrected by what runs measured.
"""
