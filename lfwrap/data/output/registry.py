"""``dataset_info.json``: the engine's list of data sets, to which entries are added and none is lost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lfwrap import files
from lfwrap.errors import DataError, UsageError

FILE_NAME = "dataset_info.json"
LOCK_NAME = ".dataset_info.lock"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_KEPT_FOR_OURSELVES = {"dataset_info"}


def check_name(name: str) -> str:
    """A data set's name, if it is usable: the engine separates names by commas, and file systems must accept it.

    Raises:
        UsageError: it has other characters than letters, digits, ``_``, ``-`` and ``.``.

    >>> check_name("law_qa")
    'law_qa'
    """
    if not _NAME.fullmatch(name) or name in _KEPT_FOR_OURSELVES:
        raise UsageError(
            f"--name {name!r}: not a usable name", hint="Use letters, digits, '_', '-' and '.', like law_qa."
        )
    return name


def dataset_entry(file_name: str) -> dict[str, Any]:
    """The entry of one of our files. All columns and tags are listed: the engine sets what is left out to nothing."""
    return {
        "file_name": file_name,
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "system": "system", "tools": "tools"},
        "tags": {
            "role_tag": "from",
            "content_tag": "value",
            "user_tag": "human",
            "assistant_tag": "gpt",
            "observation_tag": "observation",
            "function_tag": "function_call",
            "system_tag": "system",
        },
    }


def read_registry(folder: Path) -> dict[str, Any]:
    """The entries of a folder's ``dataset_info.json``; none when there is no such file.

    Raises:
        DataError: it is not a JSON object.
    """
    path = folder / FILE_NAME
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}:{error.colno}  not valid JSON: {error.msg}",
            hint="Correct it or move it away: it won't be overwritten.",
        ) from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: can't be read: {error}", hint="Move it away: it won't be overwritten.") from error
    if not isinstance(entries, dict):
        raise DataError(
            f"{path}: expected an object of data sets, found a list or a value, which the engine refuses too",
            hint='Write {"name": {"file_name": …}} or move it away.',
        )
    return entries


def merge_registry(folder: Path, changes: dict[str, dict[str, Any] | None]) -> None:
    """Add or replace entries, or with None take one out; the caller holds the folder's lock.

    The file is ASCII, because the engine opens it in whatever encoding the system has.

    Raises:
        DataError: the file that is there is not a JSON object.
        PreflightError: it can't be written.
    """
    entries = read_registry(folder)
    for name, entry in changes.items():
        if entry is None:
            entries.pop(name, None)
        else:
            entries[name] = entry
    text = json.dumps(entries, indent=2, ensure_ascii=True) + "\n"
    path = folder / FILE_NAME
    if not path.exists() or path.read_bytes() != text.encode():
        files.write_text(path, text)
