"""The engine's own eval_loss: reads a list of its arguments from stdin, writes the losses as one JSON line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from llamafactory.train.tuner import run_exp


def main() -> None:
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    losses = []
    for arguments in json.load(sys.stdin):
        run_exp(arguments)
        losses.append(json.loads((Path(arguments["output_dir"]) / "eval_results.json").read_text())["eval_loss"])
    answer.write(json.dumps(losses) + "\n")
    answer.flush()


if __name__ == "__main__":
    main()
