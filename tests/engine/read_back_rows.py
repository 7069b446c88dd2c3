"""Look at rows as the check of new data sets does: read_back_rows.py IN OUT WORKERS, JSON; runs in the engine's Python.

IN is ``{template: [row, …]}``. OUT holds for every row ``{"changed", "unread", "error"}`` over its calls, or ``fault``:
whose code failed, and how.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def look(reader, row: dict) -> dict:
    from lfwrap_worker.data import read_back

    verdicts = []
    try:
        with read_back.blaming():
            reader.print_tools(row["tools"])
            verdicts += [reader.look(turn["value"]) for turn in row["conversations"] if turn["from"] == "function_call"]
    except (read_back.RefusedError, read_back.OwnFaultError) as error:
        return {"fault": f"{type(error).__name__}: {error}"}
    return {
        "changed": any(verdict.changed for verdict in verdicts),
        "unread": any(verdict.unread for verdict in verdicts),
        "error": next((verdict.error for verdict in verdicts if verdict.error), ""),
    }


def main(source: str, target: str, workers: str) -> None:
    sys.path.insert(0, workers)
    from llamafactory.data.template import TEMPLATES

    from lfwrap_worker.data import read_back

    rows = json.loads(Path(source).read_text(encoding="utf-8"))
    found = {}
    for name, held in rows.items():
        reader = read_back.CallReader(TEMPLATES[name])
        found[name] = [look(reader, row) for row in held]
    Path(target).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
