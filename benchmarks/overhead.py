"""What lfwrap itself costs: overhead.py [RECIPE] [--rounds N].

Prints the median of ten `lfwrap --help`, and, given a recipe, the wall time that `lfwrap train` adds to the engine's
own on the same rendered YAML, measured in turns (engine, lfwrap, engine, lfwrap, …) in fresh folders.
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
from pathlib import Path

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


def measure_training(recipe: str, rounds: int) -> tuple[list[float], list[float]]:
    """Wall seconds of the engine alone and of lfwrap, in turns, on the same rendered YAML."""
    engine_s, lfwrap_s = [], []
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        time_command(LFWRAP, "train", recipe, "--runs-dir", runs, "-q")  # fills the file cache and the data set cache
        (first,) = runs.iterdir()
        for _ in range(rounds):
            shutil.rmtree(first / "output")
            engine_s.append(time_command(ENGINE, "train", first / "engine.yaml"))
            lfwrap_s.append(time_command(LFWRAP, "train", recipe, "--runs-dir", runs, "-q"))
    return engine_s, lfwrap_s


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    help_s = measure_help()
    result = {"help_median_s": round(statistics.median(help_s), 3), "help_s": [round(one, 3) for one in help_s]}
    if options.recipe:
        engine_s, lfwrap_s = measure_training(options.recipe, options.rounds)
        added_s = [ours - theirs for ours, theirs in zip(lfwrap_s, engine_s, strict=True)]
        result |= {
            "engine_s": [round(one, 2) for one in engine_s],
            "lfwrap_s": [round(one, 2) for one in lfwrap_s],
            "added_median_s": round(statistics.median(added_s), 2),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
