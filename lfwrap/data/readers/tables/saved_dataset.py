"""A folder that the ``save_to_disk`` of Hugging Face datasets wrote: its Arrow files, in order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lfwrap.errors import DataError

_STATE, _SPLITS = "state.json", "dataset_dict.json"


def saved_dataset_files(folder: Path, source: str) -> list[str] | None:
    """The files of a saved data set in the order in which it names them; None for a folder that is none.

    Args:
        folder: the folder.
        source: the folder as the user named it.

    Raises:
        DataError: several splits, of which the user has to name one; or a file is missing.
    """
    if (splits := _object(folder / _SPLITS).get("splits")) and isinstance(splits, list):
        names = [str(split) for split in splits]
        if len(names) > 1:
            raise DataError(
                f"{source}: a saved data set of {len(names)} splits: {', '.join(names)}",
                hint=f"Name those that are meant: {folder / names[0]}",
            )
        return saved_dataset_files(folder / names[0], source)
    state = _object(folder / _STATE)
    files = state.get("_data_files")
    if not isinstance(files, list) or not files:
        return None
    if state.get("_indices_data_files"):
        raise DataError(
            f"{source}: a saved data set with rows picked by an index, as old versions wrote it",
            hint="Load it with datasets and save it again, or save it with to_parquet.",
        )
    paths = [folder / str(file["filename"]) for file in files if isinstance(file, dict) and "filename" in file]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{source}: {missing[0]} is missing", hint="Copy the whole folder again.")
    return [str(path) for path in paths]


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
