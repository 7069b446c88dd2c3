"""The bundled data, as a second reader understands it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from oracle_run import judged, judged_rows
from second_reader.files import tool_lists
from second_reader.judge import Offer, complaints
from second_reader.layouts import mcp_log
from second_reader.reading import rows_of
from second_reader.schemas import tool_of
from second_reader.written import read_outcome

from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request

DATA = Path(__file__).parents[2] / "data"
MCP = DATA / "mcp"
TABLES = ("animals_zh.jsonl", "harbour_en.jsonl", "law_zh.csv")


@pytest.mark.parametrize("name", TABLES)
def test_questions_and_answers(tmp_path: Path, name: str) -> None:
    assert judged({DATA / name: "alpaca"}, tmp_path / "out") == []


def test_all_tables_in_one_set_with_duplicates_and_rows_kept_apart(tmp_path: Path) -> None:
    again = tmp_path / "again.jsonl"
    again.write_bytes((DATA / TABLES[0]).read_bytes())
    files = {**{DATA / name: "alpaca" for name in TABLES}, again: "alpaca"}
    assert judged(files, tmp_path / "out", "--val-size", "10%") == []


@pytest.mark.parametrize("template", ["", "qwen"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_calls_and_conversations_of_mcp_servers(tmp_path: Path, template: str, jobs: int) -> None:
    files = {MCP / "calls.jsonl": "mcpflow", MCP / "conversations.jsonl": "openai"}
    options: list[Any] = ["--val-size", 10, "--jobs", jobs, *(["--template", template] if template else [])]
    assert judged(files, tmp_path / "out", *options, tools=[MCP / "tools.json"], distractors=5) == []


@pytest.mark.parametrize("name", ["mcp.jsonl", "mcp_val.jsonl", "mcp_new_tools.jsonl"])
def test_conversations_that_are_rows_already(tmp_path: Path, name: str) -> None:
    assert judged({DATA / name: "sharegpt"}, tmp_path / "out") == []


def test_the_session_of_two_servers(tmp_path: Path) -> None:
    log, instructions = MCP / "session.log", MCP / "session_instructions.jsonl"
    rows = mcp_log.rows(log.read_text(encoding="utf-8"), instructions.read_text(encoding="utf-8"))
    assert sum(row.told is not None for row in rows) == len(rows) > 10
    assert judged_rows({log: rows}, tmp_path / "out", "--instructions", instructions) == []


def test_a_log_without_instructions_is_listed_call_by_call(tmp_path: Path) -> None:
    log = MCP / "session.log"
    rows = mcp_log.rows(log.read_text(encoding="utf-8"), "")
    assert judged_rows({log: rows}, tmp_path / "out") == []


def test_every_row_of_the_bundled_sets_is_understood() -> None:
    for name in TABLES:
        assert all(row.told for row in rows_of(DATA / name, "alpaca"))
    known = tool_lists([MCP / "tools.json"])
    assert Offer({name: tool_of(tool) for name, tool in known.items()}).tools
    assert all(row.told for row in rows_of(MCP / "conversations.jsonl", "openai"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_files_in_small_pieces(tmp_path: Path, jobs: int) -> None:
    """Pieces of 4 KiB, some of them read by another process: rows, lines and duplicates are the same."""
    again = tmp_path / "again.jsonl"
    lines = (DATA / TABLES[0]).read_text(encoding="utf-8").splitlines()
    again.write_text(
        "\n".join(["", lines[0], '{"instruction": "q"}', "no JSON", *lines[5:60], " ", ""]), encoding="utf-8"
    )
    files = {**{DATA / name: "alpaca" for name in TABLES}, again: "alpaca", MCP / "conversations.jsonl": "openai"}
    sources = {str(path): rows_of(path, layout) for path, layout in files.items()}
    request = Request(tuple(sources), tmp_path / "out", "x", max_rejects=1.0, jobs=jobs, chunk_bytes=4096)
    prepare(request)
    assert complaints(sources, read_outcome(tmp_path / "out", "x")) == []
