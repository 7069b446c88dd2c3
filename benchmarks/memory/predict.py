"""Write down what the planner says of the third round before it is measured: memory, and seconds of a micro-step.

    python benchmarks/memory/predict.py        writes predicted.jsonl

The file is committed before the round is run, and not written again after it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))
import check

from lfwrap.plan.memory.peak import estimate_memory

OUT = Path(__file__).with_name("predicted.jsonl")
_GPU = "NVIDIA H200"
# What measure.py's rows are, in tokens: a packed one with its template, and the template alone.
_PACKED_ROW, _TEMPLATE = 355, 105


def expected_record(case: dict[str, Any]) -> dict[str, Any]:
    """A record as it would be measured: the shapes of two micro-batches."""
    length, rows = case["length"], case["micro_batch"]
    short = min(length, length // 2 + _TEMPLATE)
    if not case.get("extended"):
        lengths = [length, short] if case["data"] == "padded" and rows == 1 else [length]
        micro: list[dict[str, Any]] = [{"shape": [rows, each]} for each in lengths]
    else:
        each = {"full": [length], "padded": [length, short], "packed": [_PACKED_ROW] * (length // _PACKED_ROW)}
        row = each[case["data"]] * (1 if case["data"] == "packed" else rows)
        bounds = [0]
        for size in row * rows if case["data"] == "packed" else row[:rows]:
            bounds.append(bounds[-1] + size)
        micro = [{"shape": [1, bounds[-1]], "row_bounds": bounds}]
    warm_up = case["warm_up"] * case["accumulation"] * [{"shape": [rows, length]}]
    return {"case": case, "device": _GPU, "step_s": 0.0, "micro": [*warm_up, *micro]}


def main() -> None:
    """Write one line a case."""
    spec = yaml.safe_load(Path(check.__file__).with_name("cases.yaml").read_text(encoding="utf-8"))
    cases = [spec["defaults"] | case for case in spec["cases"] if case["split"] == "blind"]
    lines = []
    for case in cases:
        memory = estimate_memory(check.case_model(case), check.case_settings(case))
        step_s = check.predicted_s(*check.timed_case(expected_record(case))[:4])
        figures = {"peak_allocated": memory.peak_allocated_bytes, "device": memory.device_bytes, "step_s": step_s}
        lines.append(json.dumps({"id": case["id"], **figures}))
        print(f"{case['id']:60} {figures['peak_allocated'] / check.GB:7.2f} GB {step_s:6.3f} s")
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
