"""The rows that the engine splits off for validation (``val_size``): a worker.

Reads one JSON object, a line of stdin: ``arguments`` (the keys of the engine's `DataArguments` that a training was
given) and ``seed``. Writes one JSON line: ``rows``, each with ``messages`` (role and content), ``system`` and
``tools``, in the engine's order.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from lfwrap_worker.channel import take_stdout, write_event
from lfwrap_worker.contract import EVENT_DONE, SplitJob


def validation_rows(arguments: Mapping[str, Any], seed: int, cache: str) -> list[dict[str, Any]]:
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
    channel = take_stdout()
    job: SplitJob = json.loads(sys.stdin.readline())
    with tempfile.TemporaryDirectory() as cache:
        rows = validation_rows(job["arguments"], job["seed"], cache)
    write_event(channel, {"event": EVENT_DONE, "rows": rows})
