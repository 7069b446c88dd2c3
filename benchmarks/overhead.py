"""What lfwrap itself costs: overhead.py [RECIPE] [--rounds N].

Prints the median of ten `lfwrap --help`, and, given a recipe, the wall time that `lfwrap train` adds to the engine's
own on the same rendered YAML, measured in turns (engine, lfwrap, engine, lfwrap, …) in fresh folders; the last folder's
data set cache is warm in both. Wall times on a shared machine vary by several percent; the CPU seconds of lfwrap's own
process (start-up and preflight included, from `exit.json`) do not.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HELP_ROUNDS = 10
LFWRAP = Path(sys.executable).with_name("lfwrap")
ENGINE = Path(sys.executable).with_name("llamafactory-cli")


def time_command(*command: str | Path) -> float:
    """Wall seconds of a command that succeeds."""
    began = time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return time.perf_counter() - began


def measure_help() -> list[float]:
    """Ten times ``lfwrap --help``, after one to warm the file cache."""
    time_command(LFWRAP, "--help")
    return [time_command(LFWRAP, "--help") for _ in range(HELP_ROUNDS)]


@dataclass(frozen=True, slots=True)
class Turns:
    """Seconds of each turn: the engine alone, `lfwrap train`, and the CPU seconds of lfwrap's own process in it."""

    engine_s: list[float]
    lfwrap_s: list[float]
    supervisor_cpu_s: list[float]

    def to_json(self) -> dict[str, Any]:
        """Every turn, and the medians' ratios."""
        added_s = statistics.median(self.lfwrap_s) - statistics.median(self.engine_s)
        return {
            "engine_s": [round(one, 2) for one in self.engine_s],
            "lfwrap_s": [round(one, 2) for one in self.lfwrap_s],
            "added_s": round(added_s, 2),
            "added_percent": round(100 * added_s / statistics.median(self.engine_s), 2),
            "supervisor_cpu_s": self.supervisor_cpu_s,
            "supervisor_cpu_percent": round(
                100 * statistics.median(self.supervisor_cpu_s) / statistics.median(self.lfwrap_s), 2
            ),
        }


def measure_training(recipe: str, rounds: int) -> Turns:
    """Wall seconds of the engine alone and of lfwrap, in turns, on the same rendered YAML."""
    turns = Turns([], [], [])
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        time_command(LFWRAP, "train", recipe, "--runs-dir", runs, "-q")  # fills the file cache and the data set cache
        (first,) = runs.iterdir()
        for _ in range(rounds):
            shutil.rmtree(first / "output")
            turns.engine_s.append(time_command(ENGINE, "train", first / "engine.yaml"))
            turns.lfwrap_s.append(time_command(LFWRAP, "train", recipe, "--runs-dir", runs, "-q"))
            newest = max(runs.iterdir(), key=lambda run: run.stat().st_mtime_ns if run != first else 0)
            ended = json.loads((newest / "attempts" / "0" / "exit.json").read_bytes())
            turns.supervisor_cpu_s.append(ended["supervisor_cpu_s"])
    return turns


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    help_s = measure_help()
    result = {"help_median_s": round(statistics.median(help_s), 3), "help_s": [round(one, 3) for one in help_s]}
    if options.recipe:
        result |= measure_training(options.recipe, options.rounds).to_json()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
