"""Names of lists, files and parts that are not for training: validation and test."""

from __future__ import annotations

import re

_HELD_OUT = frozenset({
    "val", "valid", "validation", "eval", "evaluation", "dev", "devel", "development", "test", "testing", "heldout",
    "holdout", "验证", "验证集", "测试", "测试集",
})  # fmt: skip
_SHARD = re.compile(r"(?:[-_.]?\d+(?:[-_.]of[-_.]\d+)?)$")
_WORDS = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")


def is_held_out(name: str) -> bool:
    """Whether a list's name says that it is not for training.

    >>> is_held_out("validation"), is_held_out("data.test_set"), is_held_out("latest")
    (True, True, False)
    """
    return any(word.lower() in _HELD_OUT for word in _WORDS.split(name)) or "held_out" in name.lower()


def is_held_out_file(path: str) -> bool:
    """Whether a file's name, or its folder's, says that it is not for training: the last word decides.

    >>> is_held_out_file("law_val.jsonl"), is_held_out_file("test-00000-of-00001.parquet")
    (True, True)
    >>> is_held_out_file("test_drives_in_winter.csv"), is_held_out_file("train.jsonl")
    (False, False)
    """
    *folders, name = re.split(r"[/\\!]", path)
    stem = _SHARD.sub("", name.partition(".")[0])
    words = _WORDS.split(stem)
    return words[-1].lower() in _HELD_OUT or (bool(folders) and folders[-1].lower() in _HELD_OUT)
