"""Pure arithmetic: what fits a machine's memory, and how fast it trains.

Everything follows from the arguments: nothing here reads a file, the clock, the environment or the machine, as a test
ensures; only `sample` looks up the catalogues, for the examples. Each module uses only those before it: ``inputs``,
``memory``, ``speed``, ``request``, ``schedule``, ``data_size``, ``packing``, ``candidate``, ``compiling``, ``search``,
``explain``, ``plan``.

Other packages may import:

- `plan`: plans as `make_plan` and `predict_plan` make them.
- `request`: what is to be planned, and the engine's keys that a plan may set.
- `schedule`, `data_size`: its updates and learning rates, and what suits a number of rows.
- `inputs.batch`, `inputs.row_lengths`, `inputs.train_settings`: the effective batch, the lengths of rows, the settings
  of a training.
- `candidate`: one way to run a training, with its memory and speed.
- `search`: the recipe as it stands as a candidate, with its memory and speed.
- `explain`: a plan's changes in words, and what would fit where nothing does.
- `compiling`: whether layers are compiled one by one.
- `speed.calibration`: what runs measured, as plans are corrected by it.
"""
