"""Rows as the engine's template renders them, with what is trained; and their tokens, the template's included."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from lfwrap.data.datasets.engine_check import EngineCheck, run_encoder
from lfwrap.data.datasets.stats import Lengths
from lfwrap.data.output.registry import FILE_NAME, dataset_entry
from lfwrap.data.schema.redaction import redact
from lfwrap.engine.locate import Engine
from lfwrap.errors import DataError

Piece = tuple[str, bool]
_NAME = "rows"


def render_rows(rows: Iterable[dict[str, Any]], engine: Engine, template: str, model: str) -> list[list[Piece]]:
    """For each row its pieces in order: text, and whether it is trained.

    Args:
        rows: the engine's ShareGPT rows.
        engine: the engine.
        template: its chat template.
        model: folder or hub id of the model whose tokenizer is used.

    Raises:
        DataError: the engine drops a row, so that the pieces would not belong to the rows; its template fails on one.
        EngineError: the engine can't load the rows or the tokenizer.
    """
    found = _encode(rows, engine, template, model, render=True)
    return [[(text, trained) for text, trained in pieces] for pieces in found["rendered"]]


def rendered_lengths(rows: Iterable[dict[str, Any]], engine: Engine, template: str, model: str) -> Lengths:
    """The rows' lengths in tokens, with all that the template adds. Takes and raises what `render_rows` does."""
    counts = _encode(rows, engine, template, model, render=False)["counts"]
    return Lengths([count["tokens"] for count in counts], [count["supervised"] for count in counts])


def _encode(
    rows: Iterable[dict[str, Any]], engine: Engine, template: str, model: str, *, render: bool
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        count = 0
        with (place / f"{_NAME}.jsonl").open("wb") as sink:
            for row in rows:
                sink.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
                count += 1
        (place / FILE_NAME).write_text(json.dumps({_NAME: dataset_entry(f"{_NAME}.jsonl")}))
        [found] = run_encoder(EngineCheck(engine, template, model), place, [_NAME], render=count if render else 0)
    if found["dropped"]:
        shown = ", ".join(map(str, found["dropped"][:10]))
        raise DataError(
            f"the engine drops {len(found['dropped']):,} of {count:,} rows, such as {shown}",
            hint="`lfwrap prepare-data` names every bad row and writes a file without them.",
        )
    if found["refused"] or found["own_faults"]:
        number, error = [*found["refused"], *found["own_faults"]][0]
        whose = f"the template {template} of the engine" if found["refused"] else "lfwrap's own code"
        raise DataError(
            f"{whose} fails on row {number}: {redact(error)}",
            hint="`lfwrap prepare-data` writes rows that the template can say."
            if found["refused"]
            else "This is a bug of lfwrap: please report it.",
        )
    return found
