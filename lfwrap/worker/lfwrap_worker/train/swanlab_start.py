"""Let transformers' own SwanLab callback start its run; used by `train_engine` for ``report_to: swanlab``.

The callback asks `swanlab.get_run` whether there is a run already and expects None where there is none; since 0.8
SwanLab raises RuntimeError there, and the training ends before its first update.
"""

from typing import Any


def allow_no_run(swanlab: Any) -> None:
    """Have ``swanlab.get_run`` answer None where there is no run; does nothing for versions that do so."""
    plain = swanlab.get_run

    def get_run() -> Any:
        """The run that goes on, or None where there is none."""
        try:
            return plain()
        except RuntimeError:
            return None

    swanlab.get_run = get_run
