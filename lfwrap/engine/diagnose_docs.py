"""The reference page of the diagnoses, from the table that the program uses."""

from __future__ import annotations

from lfwrap.engine.faults import FAULTS, OTHERS

_HEAD = """\
# Diagnoses

Written by `just docs` from `lfwrap/engine/faults.py`.

When the engine fails, lfwrap reads the errors that the training processes left
(`attempts/N/ranks/R/error.json`, the earliest first) and the ends of all logs, looks for the lines of this
table from the top down, and prints what it found with its remedy. The same stands in `attempts/N/exit.json`
under `diagnosis`: `rule`, `message`, `remedy` and `evidence`, the line of the log. The exit code is 7.

| rule | what happened | what to do |
|---|---|---|
"""
_FOOT = """
The order matters: a cause stands before what it brings about. A rank that ran out of memory makes the others
time out in NCCL; the diagnosis is then out of memory. `lost-rank`, `collective-timeout` and `nccl` are named
only where no rank tells of another error.

lfwrap looks at the host as well: a full disk ends the logs before they can say so, and the kernel counts the
processes that it killed for want of memory.

After `gpu-out-of-memory` (on a CPU `cpu-out-of-memory`) during training lfwrap goes on by itself with a smaller
micro-batch and the same effective batch: see [Train](../how-to/train.md).
"""


def render_diagnoses() -> str:
    """The page's text."""
    rows = [(fault.rule, fault.message, fault.remedy) for fault in FAULTS]
    rows += [(rule, message, remedy) for rule, (message, remedy) in OTHERS.items()]
    lines = (f"| `{rule}` | {_cell(message)} | {_cell(remedy)} |" for rule, message, remedy in rows)
    return _HEAD + "\n".join(lines) + "\n" + _FOOT


def _cell(text: str) -> str:
    """As a table's cell takes it: a bar in it ends no cell."""
    return text.replace("|", "\\|")
