"""The rows of a training as token ids, made by the engine's own processor."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.recipe.recipe import split_names

_SCRIPT = Path(__file__).resolve().parent / "inside" / "encode_rows.py"
_KEYS = (
    "template",
    "cutoff_len",
    "train_on_prompt",
    "mask_history",
    "default_system",
    "enable_thinking",
    "tool_format",
)


@dataclass(frozen=True, slots=True)
class Rows:
    """A folder with ``train.jsonl``, whose rows have ``input_ids`` and ``completion_mask`` (1: to be learned).

    Attributes:
        folder: nothing else is in it.
        lengths: tokens of each row of an epoch, after cutting.
    """

    folder: Path
    lengths: tuple[int, ...]

    def packs(self, pack_tokens: int) -> int:
        """How many packs whole rows fill one after another, none of them split, in the file's order."""
        count, filled = 1, 0
        for length in self.lengths:
            if filled + length > pack_tokens:
                count, filled = count + 1, 0
            filled += length
        return count


def encode_rows(values: Mapping[str, Any], folder: Path, python: str) -> Rows:
    """Write the data set of a training into a new folder.

    Args:
        values: the engine's.
        folder: where to.
        python: the engine's.

    Raises:
        ValueError: the engine can't; with the end of what it said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job = {
        "dataset_dir": str(Path(str(values["dataset_dir"])).absolute()),
        "names": split_names(str(values["dataset"])),
        "model": str(values["model_name_or_path"]),
        "max_samples": values.get("max_samples"),
        "arguments": {key: values[key] for key in _KEYS if values.get(key) is not None},
        "out": str(folder / "train.jsonl"),
    }
    done = subprocess.run(
        [python, str(_SCRIPT)],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONUTF8": "1"},
        check=False,
    )
    if done.returncode:
        raise ValueError("the engine can't encode the rows: " + "\n".join(done.stderr.splitlines()[-5:]))
    return Rows(folder, tuple(json.loads(done.stdout.splitlines()[-1])))
