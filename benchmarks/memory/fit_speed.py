"""Fit the time model's constants on the calibration half; print them as lfwrap/plan/speed/throughput.py has them.

    python benchmarks/memory/fit_speed.py        (needs scipy)

Least squares over the logarithms of predicted by measured time of a micro-step, softened for outliers, with a weak
pull towards what a profile of single updates and the kernels' sources suggest (PRIOR): 36 cases do not tell apart what
hardly occurs in them. The held-out half is not read.

What packs take besides came in with the third round. Those two constants are fitted alone, after the others and with
them as they are, on the packed cases of both calibration halves; the others stay as they were before that round.
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
from lfwrap.model.shapes import ModelFacts
from lfwrap.plan.inputs.train_settings import TrainSettings
from lfwrap.plan.speed.throughput import SpeedConstants

# Before anything was fitted: factors over peak rates as profiled for 7B LoRA on one H100, launches as profiled there.
PRIOR = SpeedConstants(
    matrices=1.35, attention=2.2, masked_attention=5.0, traffic=1.3, logits=1.4, restoring=2.0,
    layer_forward_s=2.0e-3, layer_backward_s=2.0e-3, operation_s=15e-6, liger_launch_s=0.2e-3,
    adapter_forward_s=0.25e-3, adapter_backward_s=0.35e-3,
    nf4_launch_s=0.05e-3, int8_launch_s=0.1e-3, cast_launch_s=0.05e-3, micro_step_launch_s=10e-3,
    pack_s=30e-3, mask_entry_s=2.5e-9, gather_s=0.5e-3,
)  # fmt: skip
_SPREAD, _PULL = 0.1, 1.0  # 10% of a time weigh as much as a factor of e between a constant and its prior
_LATER = ("pack_s", "mask_entry_s")
_FIRST = tuple(field.name for field in dataclasses.fields(SpeedConstants) if field.name not in _LATER)

Case = tuple[ModelFacts, TrainSettings, Gpu, Counter[int], float]


def load_cases(half: str) -> list[Case]:
    """Model, settings, GPU, how many micro-steps had which length, and measured seconds."""
    return [check.timed_case(record) for record in check.load_records(half)]


def fit(constants: SpeedConstants, names: tuple[str, ...], cases: list[Case]) -> SpeedConstants:
    """The constants with those named fitted, starting from the prior."""
    start = np.log([getattr(PRIOR, name) for name in names])

    def put(values: np.ndarray[Any, Any]) -> SpeedConstants:
        return dataclasses.replace(constants, **dict(zip(names, np.exp(values).tolist(), strict=True)))

    def errors(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What is to be made small: errors of time, and distances from the prior."""
        found = [math.log(check.predicted_s(*case[:4], put(values)) / case[4]) / _SPREAD for case in cases]
        return np.concatenate([found, _PULL * (values - start)])

    return put(least_squares(errors, start, loss="soft_l1").x)


def main() -> None:
    """Fit and print."""
    calibration, third = load_cases("calibration"), load_cases("third calibration")
    first = fit(dataclasses.replace(PRIOR, **dict.fromkeys(_LATER, 0.0)), _FIRST, calibration)
    found = fit(first, _LATER, [case for case in calibration + third if case[1].packing])
    for name, value in dataclasses.asdict(found).items():
        is_milliseconds = name.endswith("_s") and value > 1e-6
        print(f"    {name}: float = {value * 1e3:.3g}e-3" if is_milliseconds else f"    {name}: float = {value:.3g}")


if __name__ == "__main__":
    main()
