"""A field that says what is to be trained, added to any record of any layout: no plain row comes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from second_reader.said import Told
from test_extra_fields import JSON_TEXTS, places, row_and_fields
from test_generated import LAYOUTS, Layout, few

OF_THE_ROW = [
    ("label", False), ("label", 0), ("kto_tag", False), ("kto_tag", "false"), ("is_good", False),
    ("chosen", "A better one."), ("rejected", "A worse one."), ("rejected", [{"role": "assistant", "content": "x"}]),
    ("images", ["a.png"]), ("image", "a.png"), ("videos", ["a.mp4"]), ("audios", [{"path": "a.wav"}]),
    ("weight", 0), ("sample_weight", 0.0), ("loss_weight", 0.5),
]  # fmt: skip
OF_A_TURN = [
    ("weight", 0), ("weight", 0.0), ("weight", "0"), ("loss_weight", 0.0), ("loss_weight", 0.5), ("loss", False),
    ("train", False), ("trainable", False), ("masked", True),
]  # fmt: skip
HARMLESS = [("label", True), ("kto_tag", True), ("images", []), ("videos", None), ("weight", 1), ("chosen", None)]
_ASSISTANTS = {"assistant", "gpt", "function_call", "tool_call"}


@pytest.mark.parametrize("known", LAYOUTS, ids=lambda known: known.name)
def test_a_field_of_the_row(known: Layout) -> None:
    @few(8)
    @given(st.data(), known.talks, st.sampled_from(OF_THE_ROW))
    def judge(data: Any, told: Told, field: tuple[str, Any]) -> None:
        record = known.write(data.draw, told)
        assert row_and_fields({**record, field[0]: field[1]})[0] == []

    judge()


@pytest.mark.parametrize("known", LAYOUTS, ids=lambda known: known.name)
def test_a_field_of_the_row_that_changes_nothing(known: Layout) -> None:
    @few(4)
    @given(st.data(), known.talks, st.sampled_from(HARMLESS))
    def judge(data: Any, told: Told, field: tuple[str, Any]) -> None:
        record = known.write(data.draw, told)
        assert row_and_fields({**record, field[0]: field[1]})[0] == row_and_fields(record)[0]

    judge()


WITH_TURNS = [
    known for known in LAYOUTS if known.name not in {"xlam", "expected-calls", "bfcl", "mcpflow-simple", "glaive"}
]


@pytest.mark.parametrize("known", WITH_TURNS, ids=lambda known: known.name)
def test_a_field_of_a_turn(known: Layout) -> None:
    @few(8)
    @given(st.data(), known.talks, st.sampled_from(OF_A_TURN))
    def judge(data: Any, told: Told, field: tuple[str, Any]) -> None:
        record = known.write(data.draw, told)
        texts = [key for key in JSON_TEXTS if isinstance(record.get(key), str)]
        record |= {key: json.loads(record[key]) for key in texts}
        turns = [place for _, place in places(record) if place.get("role", place.get("from")) in _ASSISTANTS]
        assume(turns)
        data.draw(st.sampled_from(turns))[field[0]] = field[1]
        record |= {key: json.dumps(record[key], ensure_ascii=False) for key in texts}
        assert row_and_fields(record)[0] == []

    judge()
