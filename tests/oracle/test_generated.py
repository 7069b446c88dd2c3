"""Conversations that hypothesis makes, written into every layout, through the real command, and judged twice:

by what was made, and by what the second reader reads (so that the two readers can't share a mistake unseen).
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import made_files as write
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from made_talks import asked_calls, talks
from oracle_run import run
from second_reader.files import Record
from second_reader.judge import complaints
from second_reader.reading import row_of
from second_reader.said import Result, Row, Told
from second_reader.values import readable

MANY = int(os.environ.get("LFWRAP_ORACLE_EXAMPLES", "0"))
"""How many examples a test takes, other ones at each run; without it a few, always the same ones."""


def few(examples: int) -> settings:
    """So many examples, or as many as were asked for."""
    return settings(
        phases=(Phase.explicit, Phase.generate),
        max_examples=MANY or examples,
        derandomize=not MANY,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@dataclass(frozen=True)
class Layout:
    """How conversations are made for a layout, and written in it."""

    name: str
    talks: st.SearchStrategy[Told]
    write: Callable[..., Any]
    layout: str = ""
    needs_tools: bool = False


def _stripped(told: Told) -> Told:
    """What a layout of marks can hold: texts without white space around them."""
    turns = [
        replace(
            turn,
            text=turn.text.strip(),
            results=tuple(Result((each.texts[0].strip(),), each.name) for each in turn.results),
        )
        for turn in told.turns
    ]
    system = told.systems[0].strip().replace("{", "(")
    return Told(tuple(turns), ("" if told.tools else system,), told.tools)


def _without_left_out(told: Told) -> bool:
    """BFCL's empty text means that an argument may be left out: such values mean something else there."""
    return all('""' not in call.arguments for turn in told.turns for call in turn.calls)


def _tight(told: Told) -> Told:
    """The text after a thought in tags begins with a letter."""
    return replace(
        told, turns=tuple(replace(turn, text=turn.text.lstrip() if turn.thought else turn.text) for turn in told.turns)
    )


def _is_text(told: Told) -> bool:
    """No answer is in square brackets, which ToolACE takes for calls."""
    return not any(turn.who == "assistant" and turn.text.strip().startswith("[") for turn in told.turns)


def _whole_answers(told: Told) -> Told:
    """mcp-flow-simple's row: one call of the one tool, perhaps with its result and an answer."""
    turns = told.turns[: 4 if told.turns[3:] and not told.turns[3].calls else 2]
    called = [tool for tool in told.tools or () if tool.name == turns[1].calls[0].name]
    return Told(turns, ("",), tuple(called))


def _calls(told: Told) -> bool:
    return any(turn.calls for turn in told.turns)


_PLAIN = {"beside": False, "thoughts": False}
_ONE = talks(most_calls=1, most_turns=1, **_PLAIN).filter(lambda told: bool(told.turns[1].calls))
LAYOUTS = [
    Layout("openai", talks(after=True), write.openai),
    Layout("anthropic", talks(after=True).filter(lambda told: bool(told.tools)), write.anthropic),
    Layout("openai-responses", talks(), write.openai_responses),
    Layout("sharegpt", talks(beside=False).map(_tight), write.sharegpt),
    Layout("toucan", talks(thoughts=False), write.toucan_teacher),
    Layout("toucan-sft", talks(**_PLAIN), write.toucan_sft, "toucan"),
    Layout("mcpflow-trajectories", talks(most_calls=1, thoughts=False).filter(_calls), write.trajectories),
    Layout("xlam", asked_calls(), write.xlam),
    Layout("expected-calls", asked_calls(), write.expected_calls, "openai-responses"),
    Layout("bfcl", asked_calls().filter(_without_left_out), write.bfcl),
    Layout("mcpflow-simple", _ONE.map(_whole_answers), write.simple),
    Layout("glaive", talks(most_calls=1, thoughts=False).map(_stripped), write.glaive),
    Layout("toolace", talks(**_PLAIN).filter(lambda told: bool(told.tools) and _is_text(told)), write.toolace),
]


def _expected(told: Told, row: Row) -> Told:
    """What was made, with results as they are promised; which system texts are right, only the layout knows."""
    turns = [
        replace(turn, results=tuple(Result((readable(each.texts[0]),), each.name) for each in turn.results))
        for turn in told.turns
    ]
    systems = told.systems if row.told is None else (*told.systems, *row.told.systems[1:])
    return Told(tuple(turns), systems, told.tools)


def _save(folder: Path, records: list[Any], way: str) -> Path:
    """Records as a file: JSON lines, a list in one line or many, under a key, or packed."""
    if way in {"lines", "packed"}:
        text = "".join(json.dumps(record, ensure_ascii=way == "packed") + "\n" for record in records)
        path = folder / ("rows.jsonl.gz" if way == "packed" else "rows.jsonl")
        path.write_bytes(gzip.compress(text.encode()) if way == "packed" else text.encode())
        return path
    value = {"data": records} if way == "under a key" else records
    path = folder / "rows.json"
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2 if way == "indented" else None), encoding="utf-8")
    return path


def _rows(records: list[Any], layout: str, way: str) -> list[Row]:
    has_lines = way in {"lines", "packed"}
    return [
        row_of(Record(number, number if has_lines else None, record), layout)
        for number, record in enumerate(records, 1)
    ]


def judge_made(made: list[tuple[Told, Any]], layout: str, way: str, *options: Any) -> list[str]:
    """What is wrong with a run over these records, by both accounts."""
    records = [json.loads(json.dumps(record)) for _, record in made]
    read = _rows(records, layout, way)
    meant = [
        Row(row.number, row.line, _expected(told, row), doubts=row.doubts)
        for (told, _), row in zip(made, read, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = _save(Path(folder), records, way)
        outcome = run([path], Path(folder) / "out", *options)
        template = options[options.index("--template") + 1] if "--template" in options else ""
        return [
            f"{account}: {wrong}"
            for account, rows in (("as made", meant), ("as read", read))
            for wrong in complaints({str(path): rows}, outcome, template=template)
        ]


WAYS = ["lines", "packed", "one line", "indented", "under a key"]
CASES = [
    (known, way)
    for known in LAYOUTS
    for way in WAYS
    if way == "lines" or known.name != "bfcl"
    if way != "under a key" or known.name != "mcpflow-trajectories"
]


@pytest.mark.parametrize(("known", "way"), CASES, ids=[f"{known.name}, {way}" for known, way in CASES])
def test_a_layout(known: Layout, way: str) -> None:
    @few(20 if way == "lines" else 4)
    @given(st.data(), st.lists(known.talks, min_size=1, max_size=4), st.booleans())
    def judge(data: Any, told: list[Told], is_qwen: bool) -> None:
        made = [(one, known.write(data.draw, one)) for one in told]
        made += made[: data.draw(st.integers(0, 1))]  # the same once more
        options = ["--template", "qwen"] if is_qwen else []
        assert judge_made(made, known.layout or known.name, way, *options) == []

    judge()
