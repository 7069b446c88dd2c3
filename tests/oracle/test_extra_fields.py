"""Whatever field is added to a record, at any depth, the report names its place, and what is written stays the same."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_talks import TEXT
from oracle_run import run
from second_reader.said import Told
from test_generated import LAYOUTS, Layout, few

# What stands under these keys is the user's own: arguments, schemas, answers that are listed, other servers' notes.
_OWN = {"arguments", "input_schema", "parameters", "ground_truth", "server_info", "tool_response"}
JSON_TEXTS = ("messages", "available_tools", "tools", "answers")
_ANTHROPIC_OWN = {"input"}  # a call's arguments there, the items of a request elsewhere


def places(value: Any, path: str = "", own: frozenset[str] = frozenset()) -> Iterator[tuple[str, dict[str, Any]]]:
    """All objects of a record that its layout defines, with their paths."""
    if isinstance(value, list):
        for item in value:
            yield from places(item, f"{path}[]", own)
    elif isinstance(value, dict):
        yield path, value
        for key, held in value.items():
            if key not in own and not key.startswith(("x_", "uuid", "lang", "difficulty", "made_at")):
                yield from places(held, f"{path}.{key}" if path else key, own)


@pytest.mark.parametrize("known", LAYOUTS, ids=lambda known: known.name)
def test_an_extra_field_is_named(known: Layout) -> None:
    own = frozenset(_OWN | (_ANTHROPIC_OWN if known.name == "anthropic" else set()))

    @few(12)
    @given(st.data(), known.talks, TEXT | st.integers(), st.booleans())
    def judge(data: Any, told: Told, value: Any, is_qwen: bool) -> None:
        record = known.write(data.draw, told)
        extended = copy.deepcopy(record)
        texts = [key for key in JSON_TEXTS if isinstance(extended.get(key), str)]
        extended |= {key: json.loads(extended[key]) for key in texts}
        path, place = data.draw(st.sampled_from([*places(extended, own=own)]))
        place["zz_extra"] = value
        extended |= {key: json.dumps(extended[key], ensure_ascii=False) for key in texts}
        options = ["--template", "qwen"] if is_qwen else []
        plain, more = (row_and_fields(one, *options) for one in (record, extended))
        assert plain[0] == more[0]  # the same row, or none
        if more[0]:
            assert f"{path}.zz_extra".removeprefix(".") in more[1]

    judge()


def row_and_fields(record: Any, *options: str) -> tuple[list[Any], list[str]]:
    """What is written of a record, and the fields that were not used."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text(json.dumps(record) + "\n", encoding="utf-8")
        outcome = run([path], Path(folder) / "out", *options)
        return outcome.train, [field["field"] for field in outcome.report.get("unused_fields", [])]
