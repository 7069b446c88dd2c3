"""Files of a layout as rows: what each record says, and why it may or must be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from second_reader import meaning
from second_reader.doubts import doubts_of
from second_reader.files import Record, records
from second_reader.layouts import (
    alpaca,
    anthropic,
    glaive,
    openai_chat,
    openai_responses,
    sharegpt,
    single_calls,
    toolace,
    toucan,
)
from second_reader.said import Row, Told, Unclear
from second_reader.values import flaw

LAYOUTS: dict[str, Callable[..., Told]] = {
    "alpaca": alpaca.told,
    "anthropic": anthropic.told,
    "bfcl": single_calls.bfcl,
    "glaive": glaive.told,
    "mcpflow": single_calls.mcpflow,
    "mcpflow-simple": single_calls.mcpflow_simple,
    "mcpflow-trajectories": lambda record: openai_chat.told(
        record if isinstance(record, dict) else {"messages": record}, from_mcp=True
    ),
    "openai": openai_chat.told,
    "openai-responses": openai_responses.told,
    "sharegpt": sharegpt.told,
    "toolace": toolace.told,
    "toucan": toucan.told,
    "xlam": single_calls.xlam,
}


def rows_of(path: Path, layout: str, encoding: str = "utf-8", **options: Any) -> list[Row]:
    """The rows of a file."""
    delimiter = options.pop("delimiter", ",")
    return [row_of(record, layout, **options) for record in records(path, encoding, delimiter)]


def row_of(record: Record, layout: str, **options: Any) -> Row:
    """What one record says."""
    source = None if layout in {"toucan", "toolace", "glaive"} else record.value  # calls are no JSON there
    row = Row(record.number, record.line, None, banned=meaning.banned(record.value), source=source)
    wrong = record.broken or flaw(record.value) or meaning.forbids(record.value)
    if layout == "alpaca" and wrong == "a number that JSON has not":
        wrong = ""  # NaN is how tables say that there is nothing
    row.doubts = [*meaning.reasons(record.value), *(why for why in (wrong, record.doubt) if why)]
    try:
        told = LAYOUTS[layout](_with_answer(record.value, layout), **options)
    except Unclear as unclear:
        row.doubts.append(str(unclear))
        return row
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        row.doubts.append(f"not of this layout: {error!r}")
        return row
    row.doubts += doubts_of(told)
    row.told, row.forbidden = (None, told) if wrong else (told, None)
    return row


def _with_answer(record: Any, layout: str) -> Any:
    """A conversation that stops before its answer, with the answer that stands beside it."""
    key = next(
        (
            key
            for key in ("messages", "conversations")
            if isinstance(record, dict) and isinstance(record.get(key), list)
        ),
        "",
    )
    if layout not in {"openai", "sharegpt"} or not key or not record[key] or not isinstance(record[key][-1], dict):
        return record
    last, answer = record[key][-1], meaning.chosen(record)
    if str(last.get("role", last.get("from"))).lower() not in {"user", "human"} or answer is None:
        return record
    turn = {"from": "gpt", "value": answer} if "from" in last else {"role": "assistant", "content": answer}
    return {**record, key: [*record[key], turn]}
