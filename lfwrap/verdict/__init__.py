"""Whether a training has taught its model anything: the verdict of a run, with its evidence.

Other packages may import:

- `make`: makes a verdict and keeps it in the run's folder.
- `weights`: whether an adapter holds any change at all.
"""
