"""Starts one of the engine's workers: ``PYTHON lfwrap/worker NAME [ARGUMENT]…``.

Python puts a folder that it is given in place of a script onto its path: this one holds `lfwrap_worker` and nothing
else that could stand in for a module of the engine's.
"""

import sys

from lfwrap_worker.start import main

if __name__ == "__main__":
    sys.exit(main())
