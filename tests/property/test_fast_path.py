"""The fast path and the record path, any number of processes and any cut write the same bytes."""

import csv
import io
import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lfwrap.data.convert import validate
from lfwrap.data.convert.fast_path import convert_block
from lfwrap.data.convert.prefilter import rules_prefilter
from lfwrap.data.convert.record_path import Conversion
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes
from lfwrap.data.prepare import prepare
from lfwrap.data.readers.blocks import Block, CsvBlock, LineBlock
from lfwrap.data.readers.chunk_plan import Chunk, ChunkPlan, Layout
from lfwrap.data.readers.json_files.array_block import ArrayBlock
from lfwrap.data.request import Request
from lfwrap.data.schema.conversation import Conversation, Message, Role, Tool, ToolCall
from lfwrap.data.schema.plain_rows import PlainColumns, plain_line
from lfwrap.engine.chat_templates import chat_template

COLUMNS = PlainColumns("instruction", "input", "output")
PIECES = st.sampled_from(
    ["", " ", "\n", '"', "\\", '", "output": "', '", "input": "', "}, {", '"},{"instruction":"', "/", "é", "问", "😀",
     "<|im_end|>", "{{idx}}", "sk-" + "a1" * 12, "task-", "\x7f", "\t", "a,b", "\u2028", "\r\n", "</s>"]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=5).map("".join)
VALUES = TEXTS | st.none() | st.integers() | st.just([]) | st.just(float("nan"))
ROWS = st.fixed_dictionaries({"instruction": TEXTS, "input": TEXTS, "output": TEXTS}) | st.dictionaries(
    st.sampled_from(["instruction", "input", "output", "system", "extra"]), VALUES
)


def dumps(row: dict[str, Any], style: int) -> str:
    separators = [(", ", ": "), (",", ":"), (" , ", " : ")][style % 3]
    text = json.dumps(row, ensure_ascii=style >= 3, separators=separators)
    if style == 5 and "output" in row:
        text = text[:-1] + ',"output":"again"}'  # a key that appears twice
    return text.replace("/", "\\/") if style == 4 else text


def block_of(layout: Layout, content: bytes) -> Block:
    plan = ChunkPlan(layout, Path(), 0, len(content), header=("instruction", "input", "output"))
    chunk = Chunk(plan, 0, len(content))
    if layout is Layout.LINES:
        return LineBlock(content)
    if layout is Layout.CSV:
        return CsvBlock(content, chunk)
    return ArrayBlock(content, chunk)


def account(block: Block, columns: PlainColumns | None, template: str) -> tuple[Any, ...]:
    rows = convert_block(block, Conversion("alpaca", ConvertOptions(), template), columns)
    notes = {place: (dict(note.repairs), note.warnings) for place, note in rows.notes.items()}
    rejects = {place: (reject.rule, reject.reason) for place, reject in rows.rejects.items()}
    return bytes(rows.output), rows.keys, rows.skipped, rejects, notes, block.size, list(block.blanks)


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(ROWS, st.integers(0, 5)), min_size=1, max_size=6), st.sampled_from(["", "qwen", "llama3"]))
@example(
    [({"instruction": "q", "input": "", "output": '"'}, 5), ({"instruction": "q", "input": "", "output": ""}, 0)], ""
)
@example(
    [({"instruction": "q", "system": "s", "output": "a"}, 1), ({"instruction": "q", "output": "a", "x": 1}, 0)], ""
)
def test_json_paths_agree(rows: list[tuple[dict[str, Any], int]], template: str) -> None:
    texts = [dumps(row, style) for row, style in rows]
    lines = "\n".join(texts).encode()
    assert account(block_of(Layout.LINES, lines), COLUMNS, template) == account(
        block_of(Layout.LINES, lines), None, template
    )
    array = (",\n".join(texts) + "]").encode()
    assert account(block_of(Layout.ARRAY, array), COLUMNS, template) == account(
        block_of(Layout.ARRAY, array), None, template
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(TEXTS, max_size=4), max_size=6))
def test_csv_paths_agree(rows: list[list[str]]) -> None:
    sink = io.StringIO(newline="")
    csv.writer(sink).writerows(rows)
    content = sink.getvalue().encode()
    block = block_of(Layout.CSV, content)
    assert isinstance(block, CsvBlock)
    block.scan()
    expected = list(csv.reader(io.StringIO(sink.getvalue(), newline="")))
    assert block.rows == expected
    assert account(block, COLUMNS, "") == account(block_of(Layout.CSV, content), None, "")


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS, st.sampled_from(["", "qwen", "llama3", "mistral", "glm4", "gemma3"]))
def test_no_rule_speaks_where_the_prefilter_is_silent(question: str, answer: str, template: str) -> None:
    notes = RowNotes()
    conversation = Conversation((Message(Role.USER, question), Message(Role.ASSISTANT, answer)))
    try:
        validate.check(conversation, template, notes)
        silent = not notes.warnings
    except Reject:
        silent = False
    assert silent or rules_prefilter(template).starts_of_lines(plain_line(question, "", answer)) == [0]


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS, st.sampled_from(["", "qwen", "llama3", "mistral", "glm4", "gemma3"]))
def test_the_quick_look_at_a_row_hides_no_finding(question: str, answer: str, template: str) -> None:
    call = ToolCall("find", {"q": question})
    messages = (Message(Role.USER, question), Message(Role.ASSISTANT, answer, thought=question, calls=(call,)))
    conversation = Conversation(messages, system=answer)
    quick = validate.validate(conversation, chat_template(template))
    with mock.patch.object(validate, "may_break_a_rule", return_value=True):
        assert quick == validate.validate(conversation, chat_template(template))


@pytest.mark.parametrize("kind", ["jsonl", "json", "compact", "csv"])
@pytest.mark.parametrize("chunk_bytes", [1, 37, 500])
def test_any_cut_and_any_number_of_jobs_write_the_same(tmp_path: Path, kind: str, chunk_bytes: int) -> None:
    rows = [
        {"instruction": f'q{n} "x", "input": "{{"', "input": "}, {" * (n % 3), "output": f'a\n,\n{n % 40}\r\n""'}
        for n in range(120)
    ]
    rows[7]["output"] = rows[60]["output"] = ""
    if kind == "csv":
        sink = io.StringIO(newline="")
        writer = csv.DictWriter(sink, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        text = sink.getvalue()
    elif kind == "jsonl":
        text = "\n\n".join(json.dumps(row) for row in rows)
    else:
        text = json.dumps(rows, indent=2 if kind == "json" else None)
    source = tmp_path / f"in.{kind if kind != 'compact' else 'json'}"
    source.write_text(text, encoding="utf-8", newline="")
    results = []
    for number, options in enumerate(({}, {"chunk_bytes": chunk_bytes}, {"chunk_bytes": 500, "jobs": 2})):
        out = tmp_path / str(number)
        report = prepare(Request((str(source),), out, "x", **options))
        assert report.balanced
        assert report.rejected == 2
        results.append([(out / name).read_bytes() for name in ("x.jsonl", "x.rejects.jsonl", "x.report.json")])
        results[-1][2] = results[-1][2].replace(str(out).encode(), b"")
    assert results[0] == results[1] == results[2]
    places = [json.loads(line)["line"] for line in results[0][1].splitlines()]
    before = [text[: text.index(f"q{n} ")].count("\n") + 1 for n in (7, 60)]
    offset = 1 if kind == "json" else 0  # the object's brace stands a line above its first key
    assert places == [line - offset for line in before]


def test_workers_may_be_spawned(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"instruction":"q","output":"a"}\n' * 50)
    request = Request((str(tmp_path / "a.jsonl"),), tmp_path, "x", jobs=2, start_method="spawn", chunk_bytes=500)
    report = prepare(request)
    assert (report.rows_in, report.rows_out, report.duplicates) == (50, 1, 49)


@pytest.mark.parametrize("jobs", [1, 2])
def test_tools_reach_every_process(tmp_path: Path, jobs: int) -> None:
    calls = [{"function_call": {"name": "s_t", "arguments": {"n": n}}, "source_instruction": f"do {n}", "tool": "s_t"}
             for n in range(40)]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(calls))
    options = ConvertOptions(tools={name: Tool(name) for name in ("s_t", "other")}, distractors=1)
    request = Request((str(tmp_path / "a.json"),), tmp_path, "x", options, jobs=jobs, chunk_bytes=300)
    assert prepare(request).rows_out == 40
    tools = json.loads((tmp_path / "x.jsonl").read_text().splitlines()[0])["tools"]
    assert "s_t" in tools
    assert "other" in tools
