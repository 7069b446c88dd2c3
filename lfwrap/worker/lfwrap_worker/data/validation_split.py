"""The rows that the engine splits off for validation (``val_size``); run by the engine's Python, not imported.

Reads one JSON object, a line of stdin: ``arguments`` (the keys of the engine's `DataArguments` that a training was
given) and ``seed``. Writes one JSON line: ``rows``, each with ``messages`` (role and content), ``system`` and
``tools``, in the engine's order.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from types import SimpleNamespace
from typing import IO, Any


def take_stdout() -> IO[str]:
    """Keep the real stdout for the answer; whatever else prints goes to stderr."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answer


def validation_rows(arguments: dict[str, Any], seed: int, cache: str) -> list[dict[str, Any]]:
    """The validation part of the split that a training with these arguments makes."""
    from llamafactory.data.data_utils import split_dataset
    from llamafactory.data.loader import _get_merged_dataset
    from llamafactory.hparams import DataArguments, ModelArguments

    data_arguments = DataArguments(**arguments, overwrite_cache=True)
    model_arguments = ModelArguments(model_name_or_path="none", cache_dir=cache)
    training_arguments = SimpleNamespace(local_process_index=0, seed=seed)
    merged = _get_merged_dataset(data_arguments.dataset, model_arguments, data_arguments, training_arguments, "sft")
    _, validation = split_dataset(merged, None, data_arguments, seed=seed)
    return [
        {"messages": row["_prompt"] + row["_response"], "system": row["_system"], "tools": row["_tools"]}
        for row in validation["validation"]
    ]


def main() -> None:
    """Answer the job on stdin's first line."""
    answer = take_stdout()
    job = json.loads(sys.stdin.readline())
    with tempfile.TemporaryDirectory() as cache:
        rows = validation_rows(job["arguments"], job["seed"], cache)
    answer.write(json.dumps({"rows": rows}, ensure_ascii=False) + "\n")
    answer.flush()


if __name__ == "__main__":
    main()
