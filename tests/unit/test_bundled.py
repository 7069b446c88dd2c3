"""What ships with lfwrap: found in a checkout, and the data sets are what data/README.md says."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import jsonschema
import pytest

from lfwrap.bundled import bundled_path, find_file

ALPACA = ["animals_zh", "harbour_en"]


def load_jsonl(relative):
    return [json.loads(line) for line in bundled_path(relative).read_text(encoding="utf-8").splitlines()]


def questions(name):
    return bundled_path(f"data/{name}_questions.txt").read_text(encoding="utf-8").split("\n")[:-1]


def test_a_users_own_file_comes_before_the_bundled_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_file("recipes/paper.yaml") == bundled_path("recipes/paper.yaml")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/paper.yaml").touch()
    assert find_file("recipes/paper.yaml") == Path("recipes/paper.yaml")
    assert find_file("recipes/absent.yaml") == Path("recipes/absent.yaml")


@pytest.mark.parametrize("name", ALPACA)
def test_alpaca_sets_are_whole_and_distinct(name):
    rows = load_jsonl(f"data/{name}.jsonl")
    assert 60 <= len(rows) <= 200
    assert all(set(row) == {"instruction", "input", "output"} and row["instruction"] and row["output"] for row in rows)
    assert len({(row["instruction"], row["input"]) for row in rows}) == len(rows)
    assert not {row["instruction"] for row in rows} & set(questions(name))


def test_the_law_set_is_a_csv_as_people_have_it():
    with bundled_path("data/law_zh.csv").open(encoding="utf-8", newline="") as source:
        rows = list(csv.DictReader(source))
    assert 60 <= len(rows) <= 200
    assert all(row["instruction"] and row["output"] and row["category"] for row in rows)
    assert any("\n" in row["output"] for row in rows)
    assert not {row["instruction"] for row in rows} & set(questions("law_zh"))


def test_registered_sets_are_there():
    entries = json.loads(bundled_path("data/dataset_info.json").read_text(encoding="ascii"))
    assert sorted(entries) == [*ALPACA, "law_zh", "mcp", "mcp_new_tools", "mcp_val"]
    assert all(bundled_path(f"data/{entry['file_name']}").is_file() for entry in entries.values())


def mcp_tools():
    servers = json.loads(bundled_path("data/mcp/tools.json").read_text(encoding="utf-8"))
    return {tool["name"]: tool["inputSchema"] for server in servers for tool in server["tools"]}


def test_every_mcp_call_fits_its_tools_schema():
    tools = mcp_tools()
    calls = [row["function_call"] for row in load_jsonl("data/mcp/calls.jsonl")]
    calls += [row["function_call"] for row in load_jsonl("data/mcp_questions.jsonl")]
    assert len(calls) >= 120
    for call in calls:
        jsonschema.validate(call["arguments"], tools[call["name"]])


def test_held_out_mcp_tools_are_not_in_training():
    trained = {row["tool"] for row in load_jsonl("data/mcp/calls.jsonl")}
    held_out = load_jsonl("data/mcp_questions.jsonl")
    assert [row["function_call"]["name"] in trained for row in held_out] == [
        row["tool_seen_in_training"] for row in held_out
    ]
