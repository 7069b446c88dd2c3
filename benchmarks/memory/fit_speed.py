"""Fit the constants of the time model on the calibration half, and print them as lfwrap/plan/constants.py has them.

    python benchmarks/memory/fit_speed.py        (needs scipy)

Least squares over the logarithms of predicted by measured time of a micro-step, softened for outliers, with a weak
pull towards what a profile of single updates and the kernels' sources suggest (PRIOR): 36 cases do not tell apart what
hardly occurs in them. The held-out half is not read. Of the third round the calibration half counts, too: it was halved
after its blind check.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

sys.path.insert(0, str(Path(__file__).parent))
import check

from lfwrap.hardware.profile import Gpu
from lfwrap.model.facts import ModelFacts
from lfwrap.plan.choices import Choices
from lfwrap.plan.constants import SpeedConstants

# Before anything was fitted: factors over peak rates as profiled for 7B LoRA on one H100, launches as profiled there.
PRIOR = SpeedConstants(
    matrices=1.35, attention=2.2, masked_attention=5.0, traffic=1.3, logits=1.4, restoring=2.0,
    layer_forward_s=2.0e-3, layer_backward_s=2.0e-3, operation_s=15e-6, liger_launch_s=0.2e-3,
    adapter_forward_s=0.25e-3, adapter_backward_s=0.35e-3,
    nf4_launch_s=0.05e-3, int8_launch_s=0.1e-3, cast_launch_s=0.05e-3, micro_step_launch_s=10e-3,
    pack_s=30e-3, mask_entry_s=2.5e-9, gather_s=0.5e-3,
)  # fmt: skip
_SPREAD, _PULL = 0.1, 1.0  # 10% of a time weigh as much as a factor of e between a constant and its prior
_NAMES = [field.name for field in dataclasses.fields(SpeedConstants)]

Case = tuple[ModelFacts, Choices, Gpu, Counter[int], float]


def load_cases(half: str) -> list[Case]:
    """Model, choices, GPU, how many micro-steps had which length, and measured seconds."""
    return [check.timed_case(record) for record in check.load_records(half) + check.load_records(f"third {half}")]


def errors(values: np.ndarray[Any, Any], cases: list[Case]) -> np.ndarray[Any, Any]:
    """What is to be made small: errors of time, and distances from the prior."""
    constants = SpeedConstants(**dict(zip(_NAMES, np.exp(values).tolist(), strict=True)))
    found = [math.log(check.predicted_s(*case[:4], constants) / case[4]) / _SPREAD for case in cases]
    return np.concatenate([found, _PULL * (values - _start())])


def _start() -> np.ndarray[Any, Any]:
    return np.log([getattr(PRIOR, name) for name in _NAMES])


def main() -> None:
    """Fit and print."""
    cases = load_cases("calibration")
    found = least_squares(errors, _start(), args=(cases,), loss="soft_l1")
    for name, value in zip(_NAMES, np.exp(found.x), strict=True):
        is_milliseconds = name.endswith("_s") and value > 1e-6
        shown = f"{value * 1e3:.3g}e-3" if is_milliseconds else f"{value:.3g}"
        print(f"    {name}: float = {shown}")


if __name__ == "__main__":
    main()
