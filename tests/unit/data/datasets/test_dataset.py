"""Data sets as they stand on disk: entries of every shape that the engine takes, files, and rows that can't be read."""

from __future__ import annotations

import json

import pytest

from lfwrap.data.datasets.dataset import find_dataset
from lfwrap.errors import DataError

TURNS = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
ROW = {"conversations": TURNS, "system": "", "tools": ""}
CUSTOM = {
    "file_name": "x.json",
    "formatting": "sharegpt",
    "columns": {"messages": "talk", "system": "sys"},
    "tags": {"role_tag": "who", "content_tag": "what", "user_tag": "me", "assistant_tag": "you"},
}


def register(folder, entry, content, name="x.json"):
    (folder / name).write_text(content, encoding="utf-8")
    (folder / "dataset_info.json").write_text(json.dumps({"x": entry}), encoding="utf-8")
    return find_dataset("x", folder)


def values(dataset):
    return [row.value for row in dataset.rows()]


@pytest.mark.parametrize(
    ("entry", "record"),
    [
        ({"file_name": "x.json", "formatting": "sharegpt"}, {"conversations": TURNS}),
        (CUSTOM, {"talk": [{"who": "me", "what": "q"}, {"who": "you", "what": "a"}], "other": 3}),
        ({"file_name": "x.json"}, {"instruction": "q", "output": "a"}),
        (
            {"file_name": "x.json", "columns": {"prompt": "ask", "query": "more", "response": "say"}},
            {"ask": "q", "more": "", "say": "a", "output": "another"},
        ),
        (
            {"file_name": "x.json", "formatting": "openai", "columns": {"messages": "talk"}},
            {"talk": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        ),
    ],
    ids=["sharegpt", "other columns and tags", "alpaca", "alpaca by other names", "openai"],
)
def test_entries_of_every_formatting_give_the_engines_rows(tmp_path, entry, record):
    assert values(register(tmp_path, entry, json.dumps([record]))) == [ROW]
    lines = json.dumps(record) + "\n\n" + json.dumps(record)
    assert values(register(tmp_path, entry, "\ufeff" + lines)) == [ROW, ROW]


def test_csv_entries(tmp_path):
    entry = {"file_name": "x.csv", "columns": {"prompt": "ask", "response": "say"}}
    assert values(register(tmp_path, entry, "ask,say\nq,a\n", "x.csv")) == [ROW]


def test_a_folder_of_files(tmp_path):
    (tmp_path / "parts").mkdir()
    for name in ("b.jsonl", "a.jsonl"):
        (tmp_path / "parts" / name).write_text(json.dumps({"instruction": name, "output": "a"}), encoding="utf-8")
    dataset = register(tmp_path, {"file_name": "parts"}, "")
    assert [value["conversations"][0]["value"] for value in values(dataset)] == ["a.jsonl", "b.jsonl"]
    assert [row.number for row in dataset.rows()] == [1, 2]


def test_tools_of_engine_rows_stay_as_they_are(tmp_path):
    row = {"conversations": TURNS, "system": "s", "tools": '[{"name": "f", "parameters": {}}]'}
    (tmp_path / "x.jsonl").write_text(json.dumps(row), encoding="utf-8")
    assert values(find_dataset(str(tmp_path / "x.jsonl"))) == [row]


def test_a_file_is_read_as_its_folder_registers_it(tmp_path):
    register(tmp_path, CUSTOM, json.dumps([{"talk": [{"who": "me", "what": "q"}, {"who": "you", "what": "a"}]}]))
    dataset = find_dataset(str(tmp_path / "x.json"))
    assert (dataset.name, values(dataset)) == ("x", [ROW])


def test_the_template_stands_in_the_report(tmp_path):
    dataset = register(tmp_path, {"file_name": "x.json"}, "[]")
    assert dataset.template == ""
    (tmp_path / "x.report.json").write_text(json.dumps({"options": {"template": "qwen"}}), encoding="utf-8")
    assert find_dataset("x", tmp_path).template == "qwen"


def test_rows_that_cant_be_read_keep_their_number_and_say_why(tmp_path):
    lines = ['{"instruction": "q", "output": "a"}', "{broken", "3", '{"instruction": "", "output": "a"}']
    dataset = register(tmp_path, {"file_name": "x.json"}, "\n".join(lines))
    assert [(row.number, row.value is None) for row in dataset.rows()] == [(1, False), (2, True), (3, True), (4, True)]
    reasons = [row.reason for row in dataset.rows()]
    assert reasons[1].startswith("line 2 is not JSON")
    assert reasons[2:] == [
        "it is not an object",
        "instruction and input are empty: there is nothing to learn from the answer",
    ]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"hf_hub_url": "someone/something"}, "names no file"),
        ({"file_name": "gone.jsonl"}, "no such file"),
        ({"file_name": "x.parquet"}, ".parquet files can't be read here"),
        ({"file_name": "x.json", "ranking": True}, "preferences"),
        ("text", "names no file"),
    ],
)
def test_entries_that_cant_be_read(tmp_path, entry, said):
    (tmp_path / "x.parquet").touch()
    with pytest.raises(DataError, match=said):
        register(tmp_path, entry, "[]")


def test_names_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        find_dataset("harbor_en")
    assert caught.value.hint == "Did you mean 'harbour_en'?"
    (tmp_path / "log.jsonl").write_text('{"some": "thing"}', encoding="utf-8")
    with pytest.raises(DataError, match="holds no rows of a data set"):
        find_dataset("log.jsonl")


def test_the_current_folder_comes_before_what_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dataset_info.json").write_text('{"animals_zh": {"file_name": "mine.json"}}', encoding="utf-8")
    (tmp_path / "mine.json").write_text('[{"instruction": "q", "output": "a"}]', encoding="utf-8")
    assert values(find_dataset("animals_zh")) == [ROW]
