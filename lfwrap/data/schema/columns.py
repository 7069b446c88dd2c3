"""Column names as people write them, in English and Chinese, and the fields they mean."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from lfwrap.errors import DataError, UsageError

FIELDS = ("instruction", "input", "output", "system", "history")

ALIASES: dict[str, tuple[str, ...]] = {
    "instruction": (
        "instruction", "prompt", "question", "query", "ask", "user_prompt", "指令", "问题", "提问",
    ),
    "input": ("input", "context", "输入", "上下文"),
    "output": (
        "output", "response", "answer", "completion", "reply", "ai_prompt", "输出", "答案", "回答", "回复",
    ),
    "system": ("system", "system_prompt", "系统提示"),
    "history": ("history", "历史"),
}  # fmt: skip

_NO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff"
_FIELD_OF = {alias: target for target, aliases in ALIASES.items() for alias in aliases}


def normalise_name(name: str) -> str:
    """A column name without what does not tell names apart: full-width forms, what is not seen around it, case.

    >>> normalise_name(" Ｏｕｔｐｕｔ ")
    'output'
    """
    return unicodedata.normalize("NFKC", name).strip().strip(_NO_WIDTH).strip().lower()


def field_of(name: str) -> str | None:
    """The field of a plain table that a column's name means, or None.

    >>> field_of("Question"), field_of("source")
    ('instruction', None)
    """
    return _FIELD_OF.get(normalise_name(name))


def is_all_known(names: Iterable[str]) -> bool:
    """Whether every column is one of a plain table's, under any of its names.

    >>> is_all_known(["Question", "答案"]), is_all_known(["question", "source"])
    (True, False)
    """
    return all(normalise_name(name) in _FIELD_OF for name in names)


def parse_mapping(pairs: Sequence[str]) -> dict[str, str]:
    """``["output=reply"]`` as ``{"output": "reply"}``.

    Raises:
        UsageError: no ``=``, an unknown field, or a field given twice.

    >>> parse_mapping(["output=reply"])
    {'output': 'reply'}
    """
    mapping: dict[str, str] = {}
    for pair in pairs:
        field, separator, column = pair.partition("=")
        field = normalise_name(field)
        if not separator or not column or field not in FIELDS:
            raise UsageError(
                f"--map {pair}: expected FIELD=COLUMN with a field out of {', '.join(FIELDS)}",
                hint="For example: --map output=reply",
            )
        if field in mapping:
            raise UsageError(f"--map: {field} is given twice", hint="Name one column for each field.")
        mapping[field] = column
    return mapping


def resolve_columns(names: Sequence[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Field → column for the columns that a file or a row has.

    Args:
        names: the columns, as the file or row spells them.
        mapping: field → column as the user wants it; these win over the aliases.

    Raises:
        DataError: two columns mean the same field.
        UsageError: a mapped column isn't there.

    >>> resolve_columns(["问题", "reply"], {"output": "reply"})
    {'output': 'reply', 'instruction': '问题'}
    """
    return dict(_resolve(tuple(names), tuple(mapping.items())))


@functools.lru_cache(maxsize=1024)
def _resolve(names: tuple[str, ...], mapping: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    resolved = {field: _mapped_column(field, column, names) for field, column in mapping}
    taken = set(resolved.values())
    found: dict[str, list[str]] = {}
    for name in names:
        field = _FIELD_OF.get(normalise_name(name))
        if field and field not in resolved and name not in taken:
            found.setdefault(field, []).append(name)
    for field, columns in found.items():
        if len(columns) > 1:
            import shlex

            raise DataError(
                f"columns {', '.join(repr(name) for name in columns)} could all be the {field}",
                hint=f"Say which: --map {shlex.quote(f'{field}={columns[0]}')}",
            )
        resolved[field] = columns[0]
    return tuple(resolved.items())


def _mapped_column(field: str, column: str, names: tuple[str, ...]) -> str:
    if column in names:
        return column
    for name in names:
        if normalise_name(name) == normalise_name(column):
            return name
    raise UsageError(
        f"--map {field}={column}: there is no column '{column}'; the columns are {', '.join(names) or 'none'}",
        hint="Spell the column as the file does.",
    )
